"""Whatever a provider does, the answer ends, says how, and never pretends."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.reading import lower, parse_sse, session
from tests.server import Served, scripted, serving

AFTER = {
    "cut": "provider_truncated",
    "reset": None,
    "stall": "provider_stalled",
    "garbage": "provider_garbled",
    "error": None,
    "huge": "provider_garbled",
}
"""Each fault in the middle, and the code that the client gets, where it is ours to say."""

STATUSES = {429: 429, 500: 500, 503: 503, 529: 529, 401: 502, 403: 502}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[store]\nurl = "memory://"\n[streams]\nheartbeat_s = 1\n'
    for fault in AFTER:
        for after in (0, 20):
            name = f"{fault}{after}"
            config += scripted(
                name, model=name, fault=fault, fault_after=after, idle_s=0.5, first_event_s=0.5
            )
    for status in STATUSES:
        name = f"status{status}"
        config += scripted(name, model=name, fault="status", fault_status=status, retries=0)
    with serving(tmp_path_factory.mktemp("faults"), config) as served:
        yield served


PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}


async def asked(
    http: aiohttp.ClientSession, url: str, dialect: str, model: str, *, stream: bool
) -> tuple[int, dict[str, str], bytes]:
    body = {
        "model": model,
        "stream": stream,
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}],
    }
    async with http.post(url + PATHS[dialect], json=body) as answer:
        return answer.status, lower(answer.headers), await answer.read()


async def ending(http: aiohttp.ClientSession, url: str, stream: str) -> Any:
    async with http.get(f"{url}/v1/streams/{stream}") as answer:
        return await answer.json()


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("fault", AFTER)
def test_a_fault_in_the_middle_ends_the_stream_in_its_dialect(
    server: Served, fault: str, dialect: str
) -> None:
    async def scenario() -> None:
        async with session() as http:
            model = f"{fault}20/long"
            status, headers, raw = await asked(http, server.url, dialect, model, stream=True)
            assert status == 200
            seen = parse_sse(raw)
            assert [each.id for each in seen] == list(range(1, len(seen) + 1))
            assert len(seen) >= 21
            last = json.loads(seen[-1].data)
            assert b"[DONE]" not in raw
            assert b"message_stop" not in raw
            if dialect == "messages":
                assert seen[-1].name == "error"
                assert last["type"] == "error"
            state = await ending(http, server.url, headers["midstream-stream"])
            assert state["ending"] == "failed"
            expected = AFTER[fault]
            if expected is not None:
                assert expected in seen[-1].data
                assert state["error"]["code"] == expected

    asyncio.run(scenario())


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("fault", AFTER)
def test_a_fault_in_the_middle_of_an_unstreamed_answer_names_the_stream(
    server: Served, fault: str, dialect: str
) -> None:
    async def scenario() -> None:
        async with session() as http:
            model = f"{fault}20/long"
            status, headers, raw = await asked(http, server.url, dialect, model, stream=False)
            assert status >= 400
            assert headers["x-should-retry"] == "false"
            assert headers["midstream-stream"].startswith("st_")
            assert "error" in json.loads(raw)
            state = await ending(http, server.url, headers["midstream-stream"])
            assert state["ending"] == "failed"

    asyncio.run(scenario())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("fault", AFTER)
def test_a_fault_before_the_first_event_is_an_http_status(
    server: Served, fault: str, dialect: str, stream: bool
) -> None:
    async def scenario() -> None:
        async with session() as http:
            model = f"{fault}0/long"
            status, headers, raw = await asked(http, server.url, dialect, model, stream=stream)
            assert status >= 400
            assert headers["content-type"] == "application/json"
            assert "error" in json.loads(raw)

    asyncio.run(scenario())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("upstream", STATUSES)
def test_a_providers_status_reaches_the_client_unless_it_is_about_us(
    server: Served, upstream: int, dialect: str, stream: bool
) -> None:
    async def scenario() -> None:
        async with session() as http:
            model = f"status{upstream}/long"
            status, headers, raw = await asked(http, server.url, dialect, model, stream=stream)
            assert status == STATUSES[upstream]
            body = json.loads(raw)
            assert ("type" in body) is (dialect == "messages")
            assert body["error"]["message"]
            retries = "true" if upstream in {429, 500, 503, 529} else "false"
            assert headers["x-should-retry"] == retries

    asyncio.run(scenario())
