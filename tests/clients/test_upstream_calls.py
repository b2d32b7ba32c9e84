"""One answer is one call to the provider, however often it is read: aimock's journal proves it."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tests.clients.aimock import Aimock, fixture
from tests.clients.conftest import APP_KEY
from tests.clients.hearing import How, Kind, question
from tests.clients.sdks import KINDS, Sdks
from tests.reading import parse_sse, session
from tests.server import Served

_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
_AUTH = {"authorization": f"Bearer {APP_KEY}"}
_SAID = {"content": "One two three four five six seven eight nine ten."}
_PACE = {"ttft": 1, "tps": 100}
CREATES = 20


async def _post(
    http: aiohttp.ClientSession, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> tuple[int, str, bytes]:
    """Status, stream and body of one create or resume."""
    async with http.post(url, json=body, headers={**_AUTH, **headers}) as answer:
        return answer.status, answer.headers["midstream-stream"], await answer.read()


async def _get(http: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> bytes:
    async with http.get(url, headers={**_AUTH, **headers}) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


@pytest.mark.parametrize("kind", KINDS)
def test_no_way_to_resume_calls_the_provider_again(
    kind: Kind, mocked: Served, aimock: Aimock
) -> None:
    model = f"resumed.{kind}"
    aimock.answers(model, _SAID, chunkSize=5, streamingProfile=_PACE)
    url = mocked.url + _PATHS[kind]
    body = question(kind, "stream", f"mock.{kind}/{model}", stream=True).body
    named = {"idempotency-key": f"resume-{kind}"}

    async def scenario() -> None:
        async with session() as http:
            async with http.post(url, json=body, headers={**_AUTH, **named}) as answer:
                stream = answer.headers["midstream-stream"]
                await answer.content.readuntil(b"\n\n")  # then the line is cut
            events = f"{mocked.url}/v1/streams/{stream}/events"
            sse = {"accept": "text/event-stream"}
            journal = parse_sse(await _get(http, events, sse))
            assert [seen.id for seen in journal] == list(range(1, len(journal) + 1))
            for after in (0, 1, len(journal) - 1):
                resumed = await _get(http, events, {**sse, "last-event-id": str(after)})
                assert parse_sse(resumed) == journal[after:]
                headers = {**named, "last-event-id": str(after)}
                status, same, again = await _post(http, url, body, headers)
                assert (status, same) == (200, stream)
                assert parse_sse(again) == journal[after:]
                await _get(http, f"{events}?after={after}&wait=1", {"accept": "application/json"})
            await _get(http, f"{mocked.url}/v1/streams/{stream}", {})
            await _get(http, f"{mocked.url}/v1/streams/{stream}/response", {})
            status, same, _ = await _post(http, url, body, named)
            assert (status, same) == (200, stream)

    asyncio.run(scenario())
    assert len(aimock.calls(model)) == 1


@pytest.mark.parametrize(("kind", "is_streamed"), list(itertools.product(KINDS, [True, False])))
def test_many_creates_at_once_with_one_idempotency_key_are_one_call(
    kind: Kind, is_streamed: bool, mocked: Served, aimock: Aimock
) -> None:
    model = f"at-once.{kind}.{is_streamed}"
    aimock.answers(model, _SAID, chunkSize=5, streamingProfile=_PACE)
    body = question(kind, "create", f"mock.{kind}/{model}", stream=is_streamed).body
    headers = {"idempotency-key": f"at-once-{kind}-{is_streamed}"}

    async def scenario() -> list[tuple[int, str, bytes]]:
        async with session() as http:
            url = mocked.url + _PATHS[kind]
            return await asyncio.gather(*(_post(http, url, body, headers) for _ in range(CREATES)))

    answers = asyncio.run(scenario())
    assert {status for status, _, _ in answers} == {200}
    assert len({stream for _, stream, _ in answers}) == 1
    if is_streamed:
        first, *others = [parse_sse(raw) for _, _, raw in answers]
        assert len(first) > 5
        assert all(other == first for other in others)
    else:
        assert len({raw for _, _, raw in answers}) == 1
    assert len(aimock.calls(model)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_leaves_and_asks_again_with_its_key_gets_the_one_answer(
    kind: Kind, mocked: Served, aimock: Aimock
) -> None:
    model = f"left.{kind}"
    aimock.answers(model, _SAID, chunkSize=5, streamingProfile=_PACE)
    body = question(kind, "create", f"mock.{kind}/{model}").body
    headers = {"idempotency-key": f"left-{kind}"}
    url = mocked.url + _PATHS[kind]

    async def scenario() -> None:
        async with session() as http:
            impatient = aiohttp.ClientTimeout(total=0.1)
            with pytest.raises(TimeoutError):
                await http.post(url, json=body, headers={**_AUTH, **headers}, timeout=impatient)
            status, _, raw = await _post(http, url, body, headers)
            assert status == 200
            assert _SAID["content"].encode() in raw

    asyncio.run(scenario())
    assert len(aimock.calls(model)) == 1


@pytest.mark.parametrize("sdk", ["sync", "async"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_sdk_that_asks_again_with_its_idempotency_key_hears_the_same(
    kind: Kind, sdk: str, sdks: Sdks, mocked: Served, aimock: Aimock
) -> None:
    ways: tuple[How, ...] = ("stream", "helper", "create")
    models = [f"again.{kind}.{sdk}.{how}" for how in ways]
    aimock.answers_all([fixture(model, _SAID, chunkSize=5) for model in models])
    asked = [
        question(kind, how, f"mock.{kind}/{model}", extra_headers={"Idempotency-Key": model})
        for how, model in zip(ways, models, strict=True)
    ]
    first = sdks[sdk](kind, mocked.url, asked, key=APP_KEY)
    assert all(heard.error is None for heard in first)
    assert sdks[sdk](kind, mocked.url, asked, key=APP_KEY) == first
    assert [len(aimock.calls(model)) for model in models] == [1, 1, 1]
