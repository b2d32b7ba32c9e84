"""The store stands still, dies or restarts in the middle of answers: nothing lost, nothing twice."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reading import Seen, ask, parse_sse, read_poll, session
from tests.server import RECORDINGS, Served, scripted, serving, start

STREAMS = 20


def configured() -> str:
    return (
        '[store]\nurl = "embedded"\npath = "data"\ntimeout_s = 1.0\n'
        "[streams]\nheartbeat_s = 0.5\nlease_s = 2\n"
        "[server]\ndrain_s = 1\n" + scripted("slow", model="slow", events_per_s=40)
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, configured()) as served:
        yield served


def store_of(served: Served) -> int:
    """The process id of its embedded store."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition(") ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "valkey" in name and int(rest.split()[1]) == served.process.pid:
            return int(stat.parent.name)
    raise AssertionError("no embedded store")


def said() -> list[str]:
    raw = (RECORDINGS / "long.chat.sse").read_text()
    return [line[6:] for line in raw.split("\n") if line.startswith("data: ")]


async def read_whole(url: str, stream: str) -> tuple[list[Seen], bytes]:
    """One connection from the first event to the last."""
    async with session() as http:
        headers = {"Accept": "text/event-stream"}
        async with http.get(f"{url}/v1/streams/{stream}/events", headers=headers) as answer:
            assert answer.status == 200
            raw = await answer.read()
            return parse_sse(raw), raw


async def lived_through(served: Served, trouble_s: float, *, kill: bool) -> None:
    async with session() as http:
        streams = [await ask(http, served.url, "slow/long") for _ in range(STREAMS)]
        reading = [asyncio.ensure_future(read_whole(served.url, stream)) for stream in streams]
        await asyncio.sleep(1.0)
        store = store_of(served)
        os.kill(store, signal.SIGKILL if kill else signal.SIGSTOP)
        await asyncio.sleep(trouble_s)
        if not kill:
            os.kill(store, signal.SIGCONT)
        for stream, (seen, raw) in zip(streams, await asyncio.gather(*reading), strict=True):
            assert [each.id for each in seen] == list(range(1, len(seen) + 1))
            assert [each.data for each in seen] == said()
            if not kill:
                assert raw.count(b": ping\n") >= 2, "readers waited with heartbeats"
            assert seen == await read_poll(http, served.url, stream, 0, None)


def test_a_store_that_stands_still_costs_time_and_nothing_else(server: Served) -> None:
    asyncio.run(lived_through(server, 10.0, kill=False))


def test_a_store_that_is_killed_comes_back_and_nothing_is_missing(server: Served) -> None:
    asyncio.run(lived_through(server, 0.5, kill=True))


def test_a_create_while_the_store_is_away_is_503_and_reaches_no_provider(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            store = store_of(server)
            os.kill(store, signal.SIGSTOP)
            try:
                body = {"model": "slow/long", "stream": True, "messages": []}
                async with http.post(f"{server.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 503
                    assert answer.headers["x-should-retry"] == "true"
                    assert (await answer.json())["error"]["code"] == "store_unavailable"
                async with http.get(f"{server.url}/readyz") as answer:
                    assert answer.status == 503
                async with http.get(f"{server.url}/healthz") as answer:
                    assert answer.status == 200
            finally:
                os.kill(store, signal.SIGCONT)

    asyncio.run(scenario())


def test_after_a_kill_and_a_restart_every_stream_has_its_end_and_its_events(
    tmp_path: Path,
) -> None:
    async def before(url: str) -> tuple[str, list[Seen]]:
        async with session() as http:
            stream = await ask(http, url, "slow/long")
            return stream, await read_poll(http, url, stream, 0, 40)

    async def after(url: str, stream: str, read: list[Seen]) -> None:
        rest, _ = await read_whole(url, stream)
        assert rest[: len(read)] == read
        assert [each.id for each in rest] == list(range(1, len(rest) + 1))
        assert [each.data for each in rest[:-1]] == said()[: len(rest) - 1]
        last = json.loads(rest[-1].data)
        assert last["error"]["code"] == "stream_interrupted"

    served = start(tmp_path, configured())
    try:
        stream, read = asyncio.run(before(served.url))
    finally:
        served.kill()
    with serving(tmp_path, configured()) as again:
        asyncio.run(after(again.url, stream, read))


def test_a_worker_that_is_told_to_stop_ends_its_streams_as_interrupted(tmp_path: Path) -> None:
    async def begin(url: str) -> str:
        async with session() as http:
            stream = await ask(http, url, "slow/long")
            await read_poll(http, url, stream, 0, 5)
            return stream

    async def state(url: str, stream: str) -> dict[str, object]:
        async with session() as http, http.get(f"{url}/v1/streams/{stream}") as answer:
            found: dict[str, object] = await answer.json()
            return found

    served = start(tmp_path, configured())
    try:
        stream = asyncio.run(begin(served.url))
        assert served.stop() == 0
    finally:
        served.process.kill()
    with serving(tmp_path, configured()) as again:
        assert asyncio.run(state(again.url, stream))["ending"] == "interrupted"
