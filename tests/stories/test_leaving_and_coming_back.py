"""What happens to an answer when its readers leave, as Midstream-Detach asks."""

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import pytest

from tests.reading import ask, read_poll, session
from tests.server import Served, scripted, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[store]\nurl = "embedded"\npath = "data"\n[streams]\nlease_s = 1\n' + scripted(
        "slow", model="slow", events_per_s=100
    )
    with serving(tmp_path_factory.mktemp("detach"), config) as served:
        yield served


async def leave_after_some(http: aiohttp.ClientSession, url: str, detach: str) -> str:
    """Ask, read a little, cut the line; the stream's id."""
    body = {"model": "slow/long", "stream": True, "messages": []}
    headers = {"Midstream-Detach": detach}
    async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status == 200
        await answer.content.readany()
        answer.close()
        return answer.headers["Midstream-Stream"]


async def state(http: aiohttp.ClientSession, url: str, stream: str) -> dict[str, str]:
    async with http.get(f"{url}/v1/streams/{stream}") as answer:
        found: dict[str, str] = await answer.json()
        return found


async def ending_within(
    http: aiohttp.ClientSession, url: str, stream: str, seconds: float
) -> str | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        found = await state(http, url, stream)
        if found["ending"]:
            return found["ending"]
        await asyncio.sleep(0.05)
    return None


def test_finish_runs_on_without_a_reader(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await leave_after_some(http, server.url, "finish")
            journal = await read_poll(http, server.url, stream, 0, None)
            assert journal[-1].data == "[DONE]"

    asyncio.run(scenario())


def test_cancel_stops_within_a_second_of_the_last_reader(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await leave_after_some(http, server.url, "cancel")
            assert await ending_within(http, server.url, stream, 1.0) == "cancelled"

    asyncio.run(scenario())


def test_a_second_reader_keeps_it_alive(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(
                http, server.url, "slow/long", headers={"Midstream-Detach": "cancel"}
            )
            url = f"{server.url}/v1/streams/{stream}/events"
            sse = {"Accept": "text/event-stream"}
            async with http.get(url, headers=sse) as first, http.get(url, headers=sse) as second:
                await first.content.readany()
                await second.content.readany()
                first.close()
                assert await ending_within(http, server.url, stream, 0.7) is None
                second.close()
            assert await ending_within(http, server.url, stream, 1.0) == "cancelled"

    asyncio.run(scenario())


def test_a_period_of_grace_can_be_used_to_come_back(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await leave_after_some(http, server.url, "1")
            assert (await state(http, server.url, stream))["ending"] is None
            url = f"{server.url}/v1/streams/{stream}/events"
            async with http.get(url, headers={"Accept": "text/event-stream"}) as back:
                assert await ending_within(http, server.url, stream, 1.5) is None
                back.close()
            assert await ending_within(http, server.url, stream, 2.5) == "cancelled"

    asyncio.run(scenario())


def test_a_stream_that_nobody_has_read_yet_is_not_detached(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(
                http, server.url, "slow/text", headers={"Midstream-Detach": "cancel"}
            )
            assert await ending_within(http, server.url, stream, 10) == "completed"

    asyncio.run(scenario())


def test_a_poller_counts_until_long_after_its_last_answer(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(
                http, server.url, "slow/long", headers={"Midstream-Detach": "cancel"}
            )
            await read_poll(http, server.url, stream, 0, 3)
            assert await ending_within(http, server.url, stream, 10) == "completed"

    asyncio.run(scenario())


@pytest.mark.parametrize("value", ["", "never", "-1", "1.5", "86401", "cancel,finish"])
def test_a_detach_that_means_nothing_is_refused(server: Served, value: str) -> None:
    async def scenario() -> None:
        async with session() as http:
            body = {"model": "slow/text", "stream": True, "messages": []}
            headers = {"Midstream-Detach": value}
            url = f"{server.url}/v1/chat/completions"
            async with http.post(url, json=body, headers=headers) as answer:
                assert answer.status == 400
                assert json.loads(await answer.text())["error"]["param"] == "Midstream-Detach"

    asyncio.run(scenario())
