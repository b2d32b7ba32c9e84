"""The config's file is changed while everything runs: over three workers, without a signal."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from proxy.policy.keys import digest
from tests.reading import Seen, ask, parse_sse, read_sse, session
from tests.server import Served, scripted, serving
from tests.talking import talking

T = TypeVar("T")

WORKERS = 3
CHANGED_S = 2.0
SILENT_S = 5.0
ANN, BOB, OPS = "ann-secret-000000", "bob-secret-000000", "ops-secret-000000"


def key(name: str, secret: str, more: str = "") -> str:
    return f'[keys.{name}]\nsha256 = "{digest(secret).hex()}"\n{more}\n'


CONFIG = (
    f'[server]\nworkers = {WORKERS}\n[store]\npath = "data"\n[streams]\nheartbeat_s = 0.5\n'
    + scripted("slow", model="slow", events_per_s=20)
    + scripted("stalls", model="stalls", fault="stall", fault_after=5)
    + scripted("quick", model="quick")
    + key("bob", BOB)
    + key("ops", OPS, 'role = "operator"')
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, CONFIG + key("ann", ANN)) as served:
        yield served


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def everywhere(ask_one: Callable[[aiohttp.ClientSession], Awaitable[T]]) -> set[T]:
    """What many new connections are told: the kernel deals them out to all workers."""
    told: set[T] = set()
    for _ in range(8 * WORKERS):
        async with session() as http:
            told.add(await ask_one(http))
    return told


def status_of(url: str, secret: str) -> Callable[[aiohttp.ClientSession], Awaitable[int]]:
    async def ask_one(http: aiohttp.ClientSession) -> int:
        async with http.get(f"{url}/v1/streams", headers=bearer(secret)) as answer:
            return answer.status

    return ask_one


def readiness(
    url: str, secret: str = ""
) -> Callable[[aiohttp.ClientSession], Awaitable[tuple[int, str]]]:
    async def ask_one(http: aiohttp.ClientSession) -> tuple[int, str]:
        headers = bearer(secret) if secret else {}
        async with http.get(f"{url}/readyz", headers=headers) as answer:
            return answer.status, (await answer.json()).get("config", "")

    return ask_one


# --- what is noticed ------------------------------------------------------------------------------


def test_a_changed_file_is_in_force_on_every_worker_within_two_seconds(
    server: Served, tmp_path: Path
) -> None:
    cora = "cora-secret-0000000"

    async def scenario() -> None:
        assert await everywhere(status_of(server.url, cora)) == {401}
        (tmp_path / "server.toml").write_text(CONFIG + key("cora", cora))
        await asyncio.sleep(CHANGED_S)
        assert await everywhere(status_of(server.url, cora)) == {200}
        assert await everywhere(status_of(server.url, ANN)) == {401}

    asyncio.run(scenario())
    assert server.log.read_text().count(" reloaded ") == WORKERS


def test_a_file_that_is_put_in_its_place_counts_and_one_that_only_was_touched_does_not(
    server: Served, tmp_path: Path
) -> None:
    file, other = tmp_path / "server.toml", tmp_path / "other.toml"

    os.utime(file)
    time.sleep(CHANGED_S)
    assert " reloaded " not in server.log.read_text()

    other.write_text(CONFIG)
    other.replace(file)
    time.sleep(CHANGED_S)
    assert server.log.read_text().count(" reloaded ") == WORKERS


def test_a_secret_in_a_file_of_its_own_is_noticed_too(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(ANN)
    config = f'[server]\nworkers = 2\n[store]\npath = "data"\n[keys.k]\nsecret = "file:{secret}"\n'

    async def scenario(url: str) -> None:
        assert await everywhere(status_of(url, ANN)) == {200}
        secret.write_text(BOB)
        await asyncio.sleep(CHANGED_S)
        assert await everywhere(status_of(url, BOB)) == {200}
        assert await everywhere(status_of(url, ANN)) == {401}

    with serving(tmp_path, config) as served:
        asyncio.run(scenario(served.url))


def test_an_invalid_file_changes_nothing_and_says_why_until_it_is_mended(
    server: Served, tmp_path: Path
) -> None:
    file = tmp_path / "server.toml"
    broken = CONFIG + "[streams.nonsense]\n"
    line = broken.count("\n")

    async def scenario() -> None:
        url = server.url
        assert await everywhere(readiness(url)) == {(200, "")}

        file.write_text(broken)
        await asyncio.sleep(CHANGED_S)
        told = await everywhere(readiness(url, OPS))
        assert len(told) == 1
        ((status, what),) = told
        assert status == 200
        assert what.startswith("invalid since 20")
        assert what.partition(": ")[2].startswith(f"line {line}: [streams] nonsense: unknown key")
        assert all(
            says.startswith("invalid since 20") and "nonsense" not in says
            for _, says in await everywhere(readiness(url))
        )
        assert await everywhere(status_of(url, ANN)) == {200}

        file.write_text(CONFIG)
        await asyncio.sleep(CHANGED_S)
        assert await everywhere(readiness(url)) == {(200, "")}
        assert await everywhere(status_of(url, ANN)) == {401}

    asyncio.run(scenario())
    assert server.log.read_text().count("config_refused") == 1


def test_a_file_without_keys_opens_no_server_that_others_can_reach(tmp_path: Path) -> None:
    """It would be valid for loopback, but where this one listens cannot be changed."""
    start = f'[store]\nurl = "memory://"\n[server]\nhost = "0.0.0.0"\n{key("ann", ANN)}'

    async def scenario(url: str) -> None:
        (tmp_path / "server.toml").write_text('[store]\nurl = "memory://"\n')
        await asyncio.sleep(CHANGED_S)
        assert await everywhere(status_of(url, "")) == {401}
        assert await everywhere(status_of(url, ANN)) == {200}
        ((_, says),) = await everywhere(readiness(url))
        assert says.startswith("invalid since 20")

    with serving(tmp_path, start) as served:
        asyncio.run(scenario(served.url.replace("0.0.0.0", "127.0.0.1")))
    assert "listens on 0.0.0.0" in served.log.read_text()


# --- what runs meanwhile --------------------------------------------------------------------------


def test_fifty_reloads_under_load_touch_no_stream_that_runs(server: Served, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    reloads = 50

    async def read(http: aiohttp.ClientSession, stream: str) -> list[Seen]:
        async with http.get(
            f"{server.url}/v1/streams/{stream}/events",
            headers={"Accept": "text/event-stream", **bearer(BOB)},
        ) as answer:
            assert answer.status == 200
            return parse_sse(await answer.read())

    async def scenario() -> None:
        async with session() as http:
            streams = [
                await ask(http, server.url, "slow/long", headers=bearer(BOB)) for _ in range(12)
            ]
            reading = [asyncio.create_task(read(http, stream)) for stream in streams]
            for number in range(reloads):
                file.write_text(f"# {number}\n" + CONFIG + (key("ann", ANN) if number % 2 else ""))
                server.process.send_signal(signal.SIGHUP)  # sooner than the file is looked at
                await ask(http, server.url, "quick/text", headers=bearer(BOB))
                await asyncio.sleep(0.05)
            for stream, task in zip(streams, reading, strict=True):
                seen = await task
                async with http.get(
                    f"{server.url}/v1/streams/{stream}", headers=bearer(BOB)
                ) as answer:
                    state = await answer.json()
                assert (state["ending"], len(seen)) == ("completed", state["last_event_id"])
                assert [each.id for each in seen] == list(range(1, len(seen) + 1))

    asyncio.run(scenario())
    log = server.log.read_text()
    assert log.count(" reloaded ") >= reloads * WORKERS * 0.8  # signals at one moment are one
    assert "worker_died" not in log
    assert "internal_error" not in log


# --- a key that is gone ---------------------------------------------------------------------------

Silenced = Callable[[aiohttp.ClientSession, str, str], Awaitable[None]]
"""Reads until it is silenced, which it checks is told as it should be."""


async def over_sse(http: aiohttp.ClientSession, url: str, stream: str) -> None:
    """The connection is cut, as is no answer that is whole; the one that follows gets a 401."""
    headers = {"Accept": "text/event-stream", **bearer(ANN)}
    address = f"{url}/v1/streams/{stream}/events"
    async with http.get(address, headers=headers) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    async with http.get(address, headers=headers) as answer:
        assert answer.status == 401


async def over_the_post_that_made_it(http: aiohttp.ClientSession, url: str, _: str) -> None:
    body = {"model": "stalls/long", "stream": True, "messages": []}
    path = f"{url}/v1/chat/completions"
    async with http.post(path, json=body, headers=bearer(ANN)) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def over_long_poll(http: aiohttp.ClientSession, url: str, stream: str) -> None:
    address = f"{url}/v1/streams/{stream}/events?after=5&wait=30"
    async with http.get(address, headers=bearer(ANN)) as answer:
        assert answer.status == 401
        assert "x-should-retry" not in answer.headers or answer.headers["x-should-retry"] == "false"


async def over_a_folded_answer(http: aiohttp.ClientSession, url: str, _: str) -> None:
    body: dict[str, Any] = {"model": "stalls/long", "messages": []}
    path = f"{url}/v1/chat/completions"
    async with http.post(path, json=body, headers=bearer(ANN)) as answer:
        assert answer.status == 401


async def over_a_websocket(http: aiohttp.ClientSession, url: str, stream: str) -> None:
    async with talking(http, url, headers=bearer(ANN)) as talk:
        await talk.say("subscribe", stream=stream, after=0)
        assert await talk.closed() == 4401


TRANSPORTS: list[Silenced] = [
    over_sse,
    over_the_post_that_made_it,
    over_long_poll,
    over_a_folded_answer,
    over_a_websocket,
]


@asynccontextmanager
async def readers_of_a_silent_stream(url: str) -> AsyncIterator[list[asyncio.Task[float]]]:
    """A few on each transport. What each gives is when it was silenced."""

    async def read(transport: Silenced, http: aiohttp.ClientSession, stream: str) -> float:
        await transport(http, url, stream)
        return time.monotonic()

    async with session() as http:
        stream = await ask(http, url, "stalls/long", headers=bearer(ANN))
        reading = [
            asyncio.create_task(read(transport, http, stream))
            for transport in TRANSPORTS
            for _ in range(WORKERS)
        ]
        await asyncio.sleep(0.7)
        assert not any(task.done() for task in reading)
        yield reading


def test_a_key_that_is_taken_out_of_the_file_falls_silent_on_every_transport(
    server: Served, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with readers_of_a_silent_stream(server.url) as reading, session() as http:
            bobs = await ask(http, server.url, "slow/long", headers=bearer(BOB))
            http.headers.update(bearer(BOB))
            whole = asyncio.create_task(read_sse(http, server.url, bobs, 0, None))
            gone_at = time.monotonic()
            (tmp_path / "server.toml").write_text(CONFIG)
            silenced = await asyncio.gather(*reading)
            assert max(silenced) - gone_at < SILENT_S
            assert (await whole)[-1].data == "[DONE]"

    asyncio.run(scenario())


def test_a_key_that_expires_falls_silent_on_every_transport(tmp_path: Path) -> None:
    lives_s = 3.0
    expires = datetime.now(UTC) + timedelta(seconds=lives_s + 3)
    config = CONFIG.replace(f"workers = {WORKERS}", "workers = 1")

    async def scenario(url: str) -> None:
        async with readers_of_a_silent_stream(url) as reading:
            await asyncio.gather(*reading)
            late_s = (datetime.now(UTC) - expires).total_seconds()
            assert 0 <= late_s < SILENT_S + 0.5

    with serving(tmp_path, config + key("ann", ANN, f"expires = {expires.isoformat()}")) as served:
        asyncio.run(scenario(served.url))
