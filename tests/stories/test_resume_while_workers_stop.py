"""Every cursor and pair of transports again, while workers drain and are replaced."""

import asyncio
import itertools
import os
import signal
from pathlib import Path

import aiohttp

from tests.reading import READERS, Seen, ask, read_poll, session
from tests.server import Served, scripted, serving
from tests.serving.processes import is_alive, workers_of

EVENTS = 150
PAIRS = list(itertools.product(READERS, READERS))
HELD = scripted("held", model="held", fault="stall", fault_after=EVENTS)


async def read_on(
    http: aiohttp.ClientSession, name: str, url: str, stream: str, after: int, count: int
) -> list[Seen]:
    """`count` events after `after`, however often the reader is sent elsewhere meanwhile."""
    seen: list[Seen] = []
    while len(seen) < count:
        try:
            seen += await READERS[name](http, url, stream, after + len(seen), count - len(seen))
        except (aiohttp.ClientError, aiohttp.WSMessageTypeError):
            await asyncio.sleep(0.02)
    return seen


async def check_cursors(url: str, stream: str, journal: list[Seen], until: asyncio.Event) -> int:
    """Every cursor, once and then again until `until` is set; how many cursors that were."""
    gate = asyncio.Semaphore(12)
    async with session() as http:

        async def check(k: int) -> None:
            left = len(journal) - k
            async with gate:
                heads = {name: await read_on(http, name, url, stream, 0, k) for name in READERS}
                tails = {name: await read_on(http, name, url, stream, k, left) for name in READERS}
            for head, tail in PAIRS:
                assert heads[head] + tails[tail] == journal, f"cursor {k}, {head} then {tail}"

        rounds = 0
        while rounds == 0 or not until.is_set():
            rounds += 1
            await asyncio.gather(*(check(k) for k in range(len(journal) + 1)))
        return rounds * (len(journal) + 1)


def test_during_a_drain_the_one_that_drains_still_serves_whoever_comes(tmp_path: Path) -> None:
    config = "[server]\ndrain_s = 120\n[streams]\nlease_s = 5\n" + HELD
    with serving(tmp_path, '[store]\nurl = "embedded"\npath = "data"\n' + config, name="a") as a:
        socket = next((tmp_path / "data").glob("*.sock"))
        shared = f'[store]\nurl = "unix://{socket}"\n' + config
        with serving(tmp_path, shared, name="b") as b:

            async def scenario() -> None:
                async with session() as http:
                    stream = await ask(http, a.url, "held/long")
                    journal = await read_poll(http, a.url, stream, 0, EVENTS)
                    a.process.send_signal(signal.SIGTERM)
                    while not await is_draining(http, a):
                        await asyncio.sleep(0.02)
                    over = asyncio.Event()
                    over.set()
                    for where in (a, b):
                        checked = await check_cursors(where.url, stream, journal, over)
                        assert checked == EVENTS + 1
                    assert a.process.poll() is None, "it was draining all the while"

            asyncio.run(scenario())


async def is_draining(http: aiohttp.ClientSession, served: Served) -> bool:
    async with http.get(f"{served.url}/readyz") as ready:
        return "draining" in await ready.text()


def test_during_a_rolling_restart_nobody_misses_anything(tmp_path: Path) -> None:
    """Only workers that do not produce the stream are restarted: its own would end it."""
    workers = 4
    config = f'[server]\nworkers = {workers}\ndrain_s = 1\n[store]\npath = "data"\n' + HELD
    with serving(tmp_path, config) as served:

        async def restart_all(stream: str, over: asyncio.Event) -> None:
            (line,) = [
                line
                for line in served.log.read_text().splitlines()
                if "stream_started" in line and stream in line
            ]
            producing = f"midstream-{line.partition('worker=')[2].split()[0]}"
            for _ in range(3):
                for name, pid in workers_of(served).items():
                    if name != producing:
                        os.kill(pid, signal.SIGTERM)
                        while is_alive(pid) or name not in workers_of(served):
                            await asyncio.sleep(0.02)
            over.set()

        async def scenario() -> None:
            async with session() as http:
                stream = await ask(http, served.url, "held/long")
                journal = await read_poll(http, served.url, stream, 0, EVENTS)
                over = asyncio.Event()
                restarting = asyncio.ensure_future(restart_all(stream, over))
                assert await check_cursors(served.url, stream, journal, over) > EVENTS
                await restarting

        asyncio.run(scenario())
        assert served.log.read_text().count("worker_leaves") == 3 * (workers - 1)
        assert "worker_died" not in served.log.read_text()
