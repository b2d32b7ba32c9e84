"""The same create twice is one stream; a resume never starts work."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.reading import ask, parse_sse, read_poll, session
from tests.server import Served, scripted, serving, start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = (
        '[store]\nurl = "embedded"\npath = "data"\n'
        + scripted("said", model="said")
        + scripted("slow", model="slow", events_per_s=50)
        + scripted("down", model="down", fault="status", fault_status=503)
    )
    with serving(tmp_path_factory.mktemp("idempotency"), config) as served:
        yield served


def body(model: str, *, stream: bool = True, text: str = "hi") -> dict[str, object]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}


async def create(
    http: aiohttp.ClientSession, url: str, asked: dict[str, object], **headers: str
) -> tuple[int, str, bytes]:
    """Status, stream id and body of one POST."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.post(f"{url}/v1/chat/completions", json=asked, headers=sent) as answer:
        return answer.status, answer.headers.get("Midstream-Stream", ""), await answer.read()


def test_a_repeated_create_is_the_same_stream_running_or_ended(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            asked = body("slow/text")
            first, second = await asyncio.gather(
                create(http, server.url, asked, Idempotency_Key="a"),
                create(http, server.url, asked, Idempotency_Key="a"),
            )
            third = await create(http, server.url, asked, Idempotency_Key="a")
            assert first[0] == 200
            assert first == second == third

    asyncio.run(scenario())


def test_many_creates_at_once_with_one_key_make_one_stream(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            asked = body("slow/text")
            answers = await asyncio.gather(
                *(create(http, server.url, asked, Idempotency_Key="many") for _ in range(30))
            )
            assert len(set(answers)) == 1
            assert answers[0][0] == 200

    asyncio.run(scenario())


def test_another_body_or_path_under_the_key_is_422(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            await create(http, server.url, body("said/text"), Idempotency_Key="b")
            other = await create(
                http, server.url, body("said/text", text="ho"), Idempotency_Key="b"
            )
            assert other[0] == 422
            assert json.loads(other[2])["error"]["code"] == "idempotency_mismatch"

    asyncio.run(scenario())


def test_an_unstreamed_answer_can_be_fetched_again(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            asked = body("said/text", stream=False)
            first = await create(http, server.url, asked, Idempotency_Key="c")
            second = await create(http, server.url, asked, Idempotency_Key="c")
            assert first[0] == 200
            assert first == second
            assert json.loads(first[2])["object"] == "chat.completion"

    asyncio.run(scenario())


def test_a_failure_before_content_gives_the_key_back(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            streams = set()
            for _ in range(3):
                status, stream, _ = await create(
                    http, server.url, body("down/text"), Idempotency_Key="d"
                )
                assert status == 503
                streams.add(stream)
            assert len(streams) == 3

    asyncio.run(scenario())


def test_when_a_worker_dies_before_content_the_next_create_is_a_new_try(tmp_path: Path) -> None:
    config = "[streams]\nlease_s = 1\n" + scripted("mute", model="mute", start_s=60)
    store = '[store]\nurl = "embedded"\npath = "data"\n'

    async def scenario(stays: Served, dies: Served) -> None:
        async with session() as http:
            key = {"Idempotency-Key": "g"}
            stream = await ask(http, dies.url, "mute/text", headers=key)
            dies.kill()
            (last,) = await read_poll(http, stays.url, stream, 0, None)
            assert json.loads(last.data)["error"]["code"] == "stream_interrupted"
            again = await ask(http, stays.url, "mute/text", headers=key)
            assert again != stream
            assert await ask(http, stays.url, "mute/text", headers=key) == again

    with serving(tmp_path, store + config, name="stays") as stays:
        socket = next((tmp_path / "data").glob("*.sock"))
        dies = start(tmp_path, f'[store]\nurl = "unix://{socket}"\n' + config, name="dies")
        try:
            asyncio.run(scenario(stays, dies))
        finally:
            dies.kill()


def test_a_post_with_a_cursor_resumes_and_never_creates(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            asked = body("said/text")
            whole = await create(http, server.url, asked, Idempotency_Key="e")
            rest = await create(http, server.url, asked, Idempotency_Key="e", Last_Event_ID="2")
            assert parse_sse(rest[2]) == parse_sse(whole[2])[2:]
            end = str(parse_sse(whole[2])[-1].id)
            done = await create(http, server.url, asked, Idempotency_Key="e", Last_Event_ID=end)
            assert done[0] == 204
            no_key = await create(http, server.url, asked, Last_Event_ID="2")
            assert no_key[0] == 400
            unknown = await create(
                http, server.url, asked, Idempotency_Key="never-used", Last_Event_ID="2"
            )
            assert unknown[0] == 410
            mismatch = await create(
                http,
                server.url,
                body("said/text", text="ho"),
                Idempotency_Key="e",
                Last_Event_ID="2",
            )
            assert mismatch[0] == 422

    asyncio.run(scenario())


def test_everybody_who_asked_with_the_key_hears_of_an_early_failure(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            asked = body("down/text")
            answers = await asyncio.gather(
                *(create(http, server.url, asked, Idempotency_Key="f") for _ in range(10))
            )
            assert {status for status, _, _ in answers} == {503}

    asyncio.run(scenario())
