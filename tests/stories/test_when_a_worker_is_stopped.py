"""A worker is told to stop: readers go on elsewhere, and nobody takes a part for the whole."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.reading import ask, parse_sse, read_poll, read_sse, session
from tests.server import Served, scripted, start

DRAIN_S = 3.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """One that stays, and one on the same store that is going to be stopped."""
    config = (
        f"[server]\ndrain_s = {DRAIN_S}\n[streams]\nheartbeat_s = 0.5\nlease_s = 2\n"
        + scripted("slow", model="slow", events_per_s=40)
        + scripted("brisk", model="brisk", events_per_s=150)
    )
    both = [start(tmp_path, '[store]\nurl = "embedded"\npath = "data"\n' + config, name="stays")]
    socket = next((tmp_path / "data").glob("*.sock"))
    try:
        both.append(start(tmp_path, f'[store]\nurl = "unix://{socket}"\n' + config, name="goes"))
        yield both[0], both[1]
    finally:
        for served in reversed(both):
            served.kill()


def body(model: str) -> dict[str, object]:
    return {"model": model, "stream": True, "messages": []}


async def stopping(goes: Served) -> float:
    """Tell it to stop; the moment at which it had ended."""
    goes.process.send_signal(signal.SIGTERM)
    while goes.process.poll() is None:
        await asyncio.sleep(0.02)
    assert goes.process.returncode == 0
    return time.monotonic()


def test_a_reader_is_told_when_to_come_back_and_its_stream_waits_for_it(
    pair: tuple[Served, Served],
) -> None:
    stays, goes = pair

    async def scenario() -> None:
        async with session() as http:
            detach = {"Midstream-Detach": "cancel"}
            stream = await ask(http, stays.url, "slow/long", headers=detach)
            address = f"{goes.url}/v1/streams/{stream}/events"
            async with http.get(address, headers={"Accept": "text/event-stream"}) as answer:
                await answer.content.readuntil(b"\n\n")
                begun = time.monotonic()
                ended = asyncio.ensure_future(stopping(goes))
                raw = await answer.read()
            assert time.monotonic() - begun < 1.5, "it had nothing to wait for"
            last = raw.split(b"\n\n")[-2]
            assert last.startswith(b"retry: ")
            assert 250 <= int(last.removeprefix(b"retry: ")) <= 1750
            await ended
            await asyncio.sleep(2.0)  # who was sent away still counts
            head = parse_sse(raw)
            tail = await read_sse(http, stays.url, stream, head[-1].id if head else 1, None)
            assert tail[-1].data == "[DONE]"

    asyncio.run(scenario())


def test_a_poller_is_answered_at_once(pair: tuple[Served, Served]) -> None:
    stays, goes = pair

    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, stays.url, "slow/long")
            address = f"{goes.url}/v1/streams/{stream}/events?after=0&wait=30&limit=1"
            async with http.get(address) as first:
                (event,) = (await first.json())["events"]
            await http.post(f"{stays.url}/v1/streams/{stream}/cancel")
            last = await read_poll(http, stays.url, stream, event["id"], None)
            waiting = await ask(http, stays.url, "slow/long")
            far = f"{goes.url}/v1/streams/{waiting}/events?after=0&wait=30&limit=1000"
            async with http.get(far) as second:
                assert (await second.json())["ended"] is False
            assert "stream_cancelled" in last[-1].data
            await stopping(goes)

    asyncio.run(scenario())


def test_who_asked_it_gets_the_whole_answer(pair: tuple[Served, Served]) -> None:
    _, goes = pair

    async def scenario() -> None:
        async with session() as http:
            asked = http.post(f"{goes.url}/v1/chat/completions", json=body("brisk/long"))
            async with asked as answer:
                await answer.content.readuntil(b"\n\n")
                ended = asyncio.ensure_future(stopping(goes))
                raw = await answer.read()
            assert b"data: [DONE]" in raw
            await ended

    asyncio.run(scenario())


def test_what_is_not_finished_in_time_ends_as_interrupted(pair: tuple[Served, Served]) -> None:
    _, goes = pair

    async def scenario() -> None:
        async with session() as http:
            asked = http.post(f"{goes.url}/v1/chat/completions", json=body("slow/long"))
            async with asked as answer:
                await answer.content.readuntil(b"\n\n")
                begun = time.monotonic()
                ended = asyncio.ensure_future(stopping(goes))
                raw = await answer.read()
            last = parse_sse(raw)[-1]
            assert "stream_interrupted" in last.data
            assert b"[DONE]" not in raw
            assert DRAIN_S - 0.5 < await ended - begun < DRAIN_S + 3

    asyncio.run(scenario())


def test_an_answer_that_goes_on_elsewhere_is_broken_off_and_not_ended(
    pair: tuple[Served, Served],
) -> None:
    """An SDK would take an orderly end for the end of the answer."""
    stays, goes = pair

    async def scenario() -> None:
        async with session() as http:
            key = {"Idempotency-Key": "one"}
            first = http.post(
                f"{stays.url}/v1/chat/completions", json=body("slow/long"), headers=key
            )
            again = http.post(
                f"{goes.url}/v1/chat/completions", json=body("slow/long"), headers=key
            )
            async with first as whole:
                async with again as answer:
                    assert answer.headers["midstream-stream"] == whole.headers["midstream-stream"]
                    await answer.content.readuntil(b"\n\n")
                    ended = asyncio.ensure_future(stopping(goes))
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await answer.read()
                assert b"data: [DONE]" in await whole.read()
            await ended

    asyncio.run(scenario())
    assert "library" not in goes.log.read_text(), "uvicorn had nothing to complain of"
