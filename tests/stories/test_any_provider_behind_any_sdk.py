"""A server whose providers speak one dialect each, and clients that speak another.

Every recording is asked for in both other dialects, streamed and not, and read again from every
cursor. What the answers have to be is held by `tests/translation`; here they are what really comes.
"""

import asyncio
import itertools
import json
import shutil
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.reading import READERS, Seen, parse_sse, read_sse, session
from tests.server import RECORDINGS, Served, scripted, serving
from tests.translation.accumulated import Clients
from tests.translation.answers import CHAT, DIALECTS, MESSAGES, RESPONSES
from tests.translation.recordings import BESIDE, ENDS, REFUSED, said
from tests.wire import recorded

PATHS = {CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages"}
MESSAGE = {"role": "user", "content": "hi"}
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [MESSAGE], "stream_options": {"include_usage": True}},
    RESPONSES: {"input": "hi"},
    MESSAGES: {"messages": [MESSAGE], "max_tokens": 1024},
}
PAIRS = list(itertools.permutations(DIALECTS, 2))
NAMES = {CHAT: "chat", RESPONSES: "responses", MESSAGES: "messages"}


def recordings_of(theirs: str) -> list[str]:
    end = next(end for end, dialect in ENDS.items() if dialect == theirs)
    return sorted(path.name.removesuffix(end) for path in RECORDINGS.glob(f"*{end}"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A provider for each dialect that has no recording in another."""
    folder = tmp_path_factory.mktemp("any")
    config = '[store]\nurl = "memory://"\n'
    for end, dialect in ENDS.items():
        own = folder / NAMES[dialect]
        own.mkdir()
        for path in RECORDINGS.glob(f"*{end}"):
            shutil.copy(path, own)
        provider = scripted(NAMES[dialect], model=NAMES[dialect])
        config += provider.replace(str(RECORDINGS), str(own))
    with serving(folder, config) as served:
        yield served


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    all_of_them = Clients()
    yield all_of_them
    all_of_them.close()


async def post(
    http: aiohttp.ClientSession, server: Served, ours: str, model: str, *, is_streamed: bool
) -> tuple[int, str, bytes]:
    """Status, stream id and body."""
    body = {**BODIES[ours], "model": model, "stream": is_streamed}
    if not is_streamed:
        body.pop("stream_options", None)
    async with http.post(server.url + PATHS[ours], json=body) as answer:
        return answer.status, answer.headers.get("Midstream-Stream", ""), await answer.read()


def check(clients: Clients, name: str, theirs: str, ours: str, got: tuple[bytes, bytes]) -> None:
    """Streamed and not, it is the answer that the provider's own SDK sees."""
    end = next(end for end, dialect in ENDS.items() if dialect == theirs)
    direct = clients.accumulate(theirs, recorded.raw(name + end))
    for seen in (clients.accumulate(ours, got[0]), clients.read(ours, got[1])):
        assert said(seen) == said(direct, BESIDE.get((name, theirs), "")), name
        assert seen.usage == direct.usage, name


async def check_cursors(
    http: aiohttp.ClientSession, server: Served, stream: str, journal: list[Seen]
) -> None:
    """Read again after each event, over each transport in turn."""
    readers = itertools.cycle(READERS.values())
    for k in range(len(journal) + 1):
        assert await next(readers)(http, server.url, stream, k, None) == journal[k:], k


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_every_recorded_answer_reaches_the_sdks_of_another_dialect(
    server: Served, clients: Clients, theirs: str, ours: str
) -> None:
    async def one(http: aiohttp.ClientSession, name: str) -> None:
        model = f"{NAMES[theirs]}/{name}"
        status, stream, streamed = await post(http, server, ours, model, is_streamed=True)
        assert status == 200, streamed
        status, _, whole = await post(http, server, ours, model, is_streamed=False)
        assert status == 200, whole
        check(clients, name, theirs, ours, (streamed, whole))
        journal = await read_sse(http, server.url, stream, 0, None)
        assert journal == parse_sse(streamed)
        await check_cursors(http, server, stream, journal)

    async def scenario() -> None:
        async with session() as http:
            for name in recordings_of(theirs):
                if (name, theirs) not in REFUSED:
                    await one(http, name)

    asyncio.run(scenario())


@pytest.mark.parametrize("theirs", [CHAT, MESSAGES])
def test_a_translated_response_is_come_back_to_by_its_id(server: Served, theirs: str) -> None:
    async def scenario() -> None:
        async with session() as http:
            model = f"{NAMES[theirs]}/text"
            _, _, streamed = await post(http, server, RESPONSES, model, is_streamed=True)
            journal = parse_sse(streamed)
            last = json.loads(journal[-1].data)["response"]
            address = f"{server.url}/v1/responses/{last['id']}"
            async with http.get(address) as answer:
                assert await answer.json() == last
            async with http.get(f"{address}?stream=true&starting_after=2") as answer:
                assert parse_sse(await answer.read()) == journal[3:]

    asyncio.run(scenario())


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_what_cannot_be_said_fails_by_name_and_is_never_half_a_success(
    server: Served, theirs: str, ours: str
) -> None:
    async def scenario() -> None:
        async with session() as http:
            for name in (name for name, dialect in REFUSED if dialect == theirs):
                model = f"{NAMES[theirs]}/{name}"
                _, _, streamed = await post(http, server, ours, model, is_streamed=True)
                assert b"untranslatable" in streamed, (name, streamed)
                assert b"[DONE]" not in streamed
                assert b"message_stop" not in streamed
                assert b"response.completed" not in streamed
                status, _, whole = await post(http, server, ours, model, is_streamed=False)
                assert status == 502
                assert b"untranslatable" in whole

    asyncio.run(scenario())


def test_what_cannot_be_said_is_not_asked_for_again(server: Served) -> None:
    async def scenario() -> None:
        body = {**BODIES[MESSAGES], "model": f"{NAMES[CHAT]}/choices"}
        async with session() as http, http.post(server.url + PATHS[MESSAGES], json=body) as answer:
            assert answer.status == 502
            assert answer.headers["x-should-retry"] == "false"

    asyncio.run(scenario())
