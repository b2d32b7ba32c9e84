"""Workers are killed and clients vanish, at any moment; then the books are read.

``python -m tests.quotas.mortality [KILLS] [CLIENTS]``: a server of eight workers on a store of its own,
and another one every 40 kills, because a post on which workers keep dying is filled ever later.
What must hold is in `Books.check`, which is asked of each server: soon after the last kill nothing
is held by anybody, and what the meters show is what the streams say that they have used.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from proxy.store.embedded import EmbeddedServer
from tests.contracts.backends import RedisBackend
from tests.reading import session
from tests.server import Served, scripted, serving

LEASE_S = 2.0
SLACK_S = 1.0
"""After the lease. Promised."""
BUSY_S = 1.5
"""What a busy machine may take longer."""
_QUIET_S = 0.5
_SOON = aiohttp.ClientTimeout(total=0.3)
_WORKERS = 8
_KILLS_MAX = 40
"""Of one server: after the sixth death a post would stay empty for 10 s."""
TOKENS, STREAMS = 10**9, 300
_CONFIG = (
    scripted("counted", model="counted", events_per_s=400)
    + scripted("cut", model="cut", events_per_s=400, fault="cut", fault_after=40)
    + """
[models.chat]
targets = ["counted/long"]
price = {{input = 1.0, output = 1.0}}
[models.broken]
targets = ["cut/long"]
price = {{input = 1.0, output = 1.0}}
[quotas.main]
concurrent_streams = {streams}
tokens_per_day = {tokens}
usd_per_day = {dollars}
[server]
workers = {workers}
quota = "main"
[streams]
lease_s = {lease_s}
[store]
url = "{url}"
namespace = "{namespace}"
"""
)
_HEADERS = (
    "",
    "Midstream-Detach: cancel\r\n",
    "Prefer: respond-async\r\n",
    "Midstream-Retention: 600\r\n",
)


def config_for(backend: RedisBackend) -> str:
    """The server's config, on that store."""
    return _CONFIG.format(
        streams=STREAMS,
        tokens=TOKENS,
        dollars=TOKENS // 10**6,
        workers=_WORKERS,
        lease_s=LEASE_S,
        url=backend.url,
        namespace=backend.namespace,
    )


class Books(NamedTuple):
    """What is kept of all that happened."""

    holds: int
    running: int
    charged: int
    """Tokens, by the meter."""
    microdollars: int
    used: int
    """Tokens, by the streams' own usage."""
    estimates: int
    endings: Sequence[str]
    took_s: float
    """After the last client, until nothing was held any more."""
    deaths: int
    """Of workers."""

    def check(self) -> None:
        """Raises `AssertionError` if anything is still held, or was not charged, or twice."""
        assert self.took_s < LEASE_S + SLACK_S + BUSY_S, self
        assert (self.holds, self.running) == (0, 0), self
        assert self.charged == self.microdollars == self.used > 0, self
        assert None not in self.endings, self


async def vanish(url: str, dice: random.Random) -> None:
    """Ask for an answer, and be gone at any moment: before the request is whole, or long after."""
    parts = urlsplit(url)
    path, model = "/v1/chat/completions", dice.choice(["chat", "chat", "broken"])
    if dice.random() < 0.3:
        path = "/v1/messages"
    body = (
        f'{{"model":"{model}","stream":true,"max_tokens":4000,'
        f'"messages":[{{"role":"user","content":"{"hi " * dice.randrange(1, 200)}"}}]}}'
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"{dice.choice(_HEADERS)}Content-Length: {len(body)}\r\n\r\n"
    )
    request = (head + body).encode()
    sent = request if dice.random() < 0.9 else request[: dice.randrange(len(request))]
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(sent)
        await asyncio.sleep(dice.choice([0, 0.001, 0.004, 0.02, 0.1, 0.5]) * dice.random())
        if dice.random() < 0.5:
            writer.transport.abort()
        writer.close()


async def kill_one(http: aiohttp.ClientSession, url: str, dice: random.Random) -> None:
    """SIGKILL for one of the workers that live."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, ProcessLookupError, TimeoutError):
            async with http.get(f"{url}/v1/workers", timeout=_SOON) as answer:
                workers = (await answer.json())["data"]
            os.kill(dice.choice(workers)["pid"], signal.SIGKILL)
            return
        await asyncio.sleep(0.05)  # it was killed before, and its report, or its socket, is there


async def suffer(url: str, kills: int, clients: int, seed: int) -> None:
    """So many of each, over as long as it takes."""
    dice = random.Random(seed)
    kill_at = {round((n + 1) * clients / (kills + 1)) for n in range(kills)} if kills else set()
    async with session() as http, asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(vanish(url, random.Random(seed * 10**6 + number)))
            await asyncio.sleep(dice.random() * 0.03)
            if number in kill_at:
                await asyncio.sleep(dice.random() * 0.2)
                await kill_one(http, url, dice)
                await asyncio.sleep(0.1)


async def read_books(backend: RedisBackend, served: Served, took_s: float) -> Books:
    """As they are now."""
    keys = await backend.keys()
    running = await backend.say("ZCARD", f"{backend.namespace}:{{ledger}}:running")
    assert isinstance(running, int)
    async with session() as http:
        async with http.get(f"{served.url}/v1/usage") as answer:
            (pool,) = (await answer.json())["data"]
        left = {limit["kind"]: limit for limit in pool["limits"]}
        streams = await _all_streams(http, served.url)
    usages = [stream["usage"] for stream in streams if stream["usage"]]
    return Books(
        holds=sum(":hold:" in key for key in keys)
        + STREAMS
        - left["concurrent_streams"]["remaining"],
        running=running,
        charged=left["tokens_per_day"]["used"],
        microdollars=left["usd_per_day"]["used"],
        used=sum(usage.get("input_tokens", 0) + usage.get("output_tokens", 0) for usage in usages),
        estimates=sum(usage.get("is_estimate", False) for usage in usages),
        endings=[stream["ending"] for stream in streams],
        took_s=took_s,
        deaths=served.log.read_text().count(" worker_died "),
    )


async def _all_streams(http: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    found, cursor = [], ""
    while True:
        async with http.get(f"{url}/v1/streams?limit=100{cursor}") as answer:
            page = await answer.json()
        found += page["data"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


async def hear_all(url: str) -> None:
    """What was sent to a worker that was killed waits in its socket for the next one.

    Each of many new connections is behind that in one worker's queue.
    """
    for _ in range(40):
        async with session() as http, http.get(f"{url}/healthz") as answer:
            assert answer.status == 200


async def until_free(backend: RedisBackend, within_s: float) -> float:
    """Wait until nothing is held for a while, or for that time; how long something was, in s."""
    begun = time.monotonic()
    held_s = 0.0
    while (passed_s := time.monotonic() - begun) < min(within_s, held_s + _QUIET_S):
        if any(":hold:" in key for key in await backend.keys()):
            held_s = passed_s
        await asyncio.sleep(0.05)
    return held_s


def live(folder: Path, backend: RedisBackend, kills: int, clients: int, seed: int) -> Books:
    """All that one server goes through, and its books."""
    with serving(folder, config_for(backend)) as served:
        asyncio.run(suffer(served.url, kills, clients, seed))
        took_s = asyncio.run(until_free(backend, LEASE_S + 10))
        asyncio.run(hear_all(served.url))
        asyncio.run(until_free(backend, LEASE_S + 10))
        return asyncio.run(read_books(backend, served, took_s))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=20)
    parser.add_argument("clients", nargs="?", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    servers = max(1, -(-asked.kills // _KILLS_MAX))
    kills, clients = -(-asked.kills // servers), -(-asked.clients // servers)
    total, endings, slowest_s = Counter[str](), Counter[str](), 0.0
    seeds = range(asked.seed * 10_000, asked.seed * 10_000 + servers)
    for number, seed in enumerate(seeds, start=1):
        books = live_alone(kills, clients, seed)
        books.check()
        endings.update(books.endings)
        total.update(tokens=books.used, estimates=books.estimates, deaths=books.deaths)
        slowest_s = max(slowest_s, books.took_s)
        print(f"{number} of {servers} servers, {total['deaths']:,} killed", flush=True)
    print(f"{total['deaths']:,} workers killed, {servers * clients:,} clients vanished.")
    print(", ".join(f"{count:,} {ending}" for ending, count in endings.most_common()))
    print(f"{total['tokens']:,} tokens charged, each as used; {total['estimates']:,} estimates.")
    print(f"Nothing was held {slowest_s:.1f} s after the last client, at the latest.")


def live_alone(kills: int, clients: int, seed: int) -> Books:
    """On a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "data", on_trouble=print)
        asyncio.run(server.start())
        try:
            return live(Path(folder), RedisBackend(server.url), kills, clients, seed)
        finally:
            asyncio.run(server.stop())


if __name__ == "__main__":
    main()
