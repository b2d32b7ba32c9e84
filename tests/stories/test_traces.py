"""An operator with an OpenTelemetry collector sees every answer in the trace of who asked for it."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collector import CLIENT, SERVER, Collector, Seen, collecting, of_kind
from tests.reading import ask, read_poll, read_sse, session
from tests.server import RECORDINGS, Served, scripted, serving
from tests.talking import talking_openly
from tests.upstream.fake_provider import FakeProvider, streamed

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=7"}
CONFIG = (
    '[store]\nurl = "memory://"\n'
    + scripted("quick", model="quick")
    + scripted("slow", model="slow", events_per_s=40)
    + scripted("refuses", model="refuses", fault="status", fault_status=503)
    + scripted("cut", model="cut", fault="cut", fault_after=20)
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def server(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("traced"), CONFIG, env=collector.env) as served:
        yield served


def call_of(spans: list[Seen], stream: str, name: str) -> Seen:
    """The one span of this name about a stream."""
    (call,) = (span for span in of_kind(spans, SERVER, stream) if span.name == name)
    return call


async def create(url: str, model: str, path: str = "/v1/chat/completions", **headers: str) -> str:
    """An answer, to its end; its stream."""
    body: dict[str, Any] = {"model": model, "stream": True, "max_tokens": 9, "messages": []}
    async with session() as http, http.post(url + path, json=body, headers=headers) as answer:
        await answer.read()
        return answer.headers["midstream-stream"]


def test_an_answer_is_part_of_the_trace_of_the_call_that_made_it(
    server: Served, collector: Collector
) -> None:
    stream = asyncio.run(create(server.url, "quick/usage", **CALLED))

    answer = collector.answer_of(stream)
    spans = collector.wait(lambda spans: bool(of_kind(spans, SERVER, stream)))
    call = call_of(spans, stream, "POST /v1/chat/completions")
    assert (call.trace, call.parent, call.is_error) == (TRACE, CALLER, False)
    assert call.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "midstream.stream": stream,
        "midstream.transport": "sse",
        "midstream.after": 0,
    }
    assert (answer.trace, answer.parent, answer.is_error) == (TRACE, call.span, False)
    assert answer.name == "chat usage"
    first_s = answer.attributes["gen_ai.response.time_to_first_chunk"]
    assert answer.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "usage",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "chatcmpl-CusageAA0002",
        "gen_ai.response.model": "gpt-5.2-2026-02-11",
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.response.time_to_first_chunk": first_s,
        "gen_ai.usage.input_tokens": 2048,
        "gen_ai.usage.cache_read.input_tokens": 1920,
        "gen_ai.usage.output_tokens": 4,
        "midstream.usage.is_estimate": False,
        "midstream.stream": stream,
        "midstream.ending": "completed",
        "midstream.events": 7,
        "midstream.provider": "quick",
        "midstream.model": "quick/usage",
        "midstream.dialect": "openai.chat",
        "midstream.owner": "local",
    }
    assert call.begun_ns <= answer.begun_ns < answer.events["midstream.first_content"]
    assert answer.events["midstream.first_content"] <= answer.ended_ns
    assert 0 < first_s < (answer.ended_ns - answer.begun_ns) / 1e9
    assert answer.resource["service.name"] == "midstream"
    assert answer.resource["service.version"]


def test_whoever_resumes_is_linked_to_the_answer(server: Served, collector: Collector) -> None:
    async def scenario() -> str:
        stream = await create(server.url, "quick/text", **CALLED)
        async with session() as http:
            await read_sse(http, server.url, stream, 3, None)
            await read_poll(http, server.url, stream, 5, 1)
            async with http.get(f"{server.url}/v1/streams/{stream}") as answer:
                await answer.read()
        return stream

    stream = asyncio.run(scenario())

    answer = collector.answer_of(stream)
    spans = collector.wait(lambda spans: len(of_kind(spans, SERVER, stream)) >= 4)
    resumes = [span for span in of_kind(spans, SERVER, stream) if span.links]
    assert len(resumes) == len(of_kind(spans, SERVER, stream)) - 1, "all but the create"
    assert {span.links for span in resumes} == {((TRACE, answer.span),)}
    assert {span.trace for span in resumes}.isdisjoint({TRACE}), "no caller said it was in that"
    path = f"/v1/streams/{stream}"
    assert {span.attributes["url.path"] for span in resumes} == {path, f"{path}/events"}
    read = {
        (span.attributes["midstream.transport"], span.attributes["midstream.after"])
        for span in resumes
        if "midstream.after" in span.attributes
    }
    assert {("sse", 3), ("long_poll", 5)} <= read


def test_whoever_comes_back_to_a_response_by_its_id_is_linked_too(
    server: Served, collector: Collector
) -> None:
    async def scenario() -> str:
        body = {"model": "quick/text", "input": "hi"}
        async with session() as http:
            async with http.post(f"{server.url}/v1/responses", json=body) as answer:
                stream, name = answer.headers["midstream-stream"], (await answer.json())["id"]
            response = f"{server.url}/v1/responses/{name}"
            async with http.get(f"{response}?stream=true&starting_after=4") as answer:
                await answer.read()
            async with http.get(response) as answer:
                await answer.read()
        return stream

    stream = asyncio.run(scenario())

    answer = collector.answer_of(stream)
    spans = collector.wait(lambda spans: len(of_kind(spans, SERVER, stream)) == 3)
    resumes = [span for span in of_kind(spans, SERVER, stream) if span.links]
    assert {span.links for span in resumes} == {((answer.trace, answer.span),)}
    assert {span.attributes["url.path"] for span in resumes} == {"/v1/responses/{name}"}
    assert sorted(span.attributes.get("midstream.after", -1) for span in resumes) == [-1, 5]


def test_an_idempotent_repeat_is_linked_and_makes_no_second_answer(
    server: Served, collector: Collector
) -> None:
    async def scenario() -> tuple[str, str]:
        key = {"idempotency-key": "again-and-again"}
        first = await create(server.url, "quick/text", **key)
        return first, await create(server.url, "quick/text", **key, **CALLED)

    stream, again = asyncio.run(scenario())

    assert again == stream
    answer = collector.answer_of(stream)
    spans = collector.wait(lambda spans: len(of_kind(spans, SERVER, stream)) == 2)
    repeat = next(span for span in of_kind(spans, SERVER, stream) if span.links)
    assert repeat.trace == TRACE
    assert repeat.links == ((answer.trace, answer.span),)


@pytest.mark.parametrize(
    ("model", "ending", "error"),
    [("refuses/text", "failed", "provider_error"), ("cut/long", "failed", "provider_truncated")],
)
def test_a_failure_is_an_error_with_its_code(
    server: Served, collector: Collector, model: str, ending: str, error: str
) -> None:
    stream = asyncio.run(create(server.url, model))

    answer = collector.answer_of(stream)
    assert answer.is_error
    assert answer.attributes["midstream.ending"] == ending
    assert answer.attributes["error.type"] == error
    assert ("midstream.first_content" in answer.events) == (model == "cut/long")


def test_a_refused_create_is_a_span_of_the_call_alone(server: Served, collector: Collector) -> None:
    async def scenario() -> None:
        async with session() as http:
            body = {"model": "nobody", "messages": []}
            headers = {"traceparent": f"00-{'5' * 32}-{CALLER}-01"}
            address = f"{server.url}/v1/chat/completions"
            async with http.post(address, json=body, headers=headers) as answer:
                assert answer.status == 404

    asyncio.run(scenario())

    spans = collector.wait(lambda spans: any(span.trace == "5" * 32 for span in spans))
    (call,) = (span for span in spans if span.trace == "5" * 32)
    assert call.attributes["http.response.status_code"] == 404
    assert not call.is_error, "the caller's fault is none of the server's"


def test_a_cancelled_answer_is_no_error(server: Served, collector: Collector) -> None:
    async def scenario() -> str:
        async with session() as http:
            stream = await ask(http, server.url, "slow/long")
            await read_sse(http, server.url, stream, 0, 2)
            async with http.post(f"{server.url}/v1/streams/{stream}/cancel") as answer:
                assert (await answer.json())["ending"] == "cancelled"
        return stream

    stream = asyncio.run(scenario())

    answer = collector.answer_of(stream)
    assert not answer.is_error
    assert answer.attributes["midstream.ending"] == "cancelled"
    assert "error.type" not in answer.attributes
    assert answer.attributes["midstream.usage.is_estimate"] is True


def test_a_websocket_has_a_span_for_each_create_and_subscription(
    server: Served, collector: Collector
) -> None:
    async def scenario() -> str:
        async with session() as http, talking_openly(http, server.url) as talk:
            body: dict[str, Any] = {"model": "quick/text", "stream": True, "messages": []}
            await talk.say("create", ref=1, path="/v1/chat/completions", body=body)
            stream = str((await talk.hear())["stream"])
            await talk.hear_to_the_end()
            await talk.say("subscribe", stream=stream, after=4)
            await talk.hear_to_the_end()
            body["model"] = "nobody"
            await talk.ask("create", ref=2, path="/v1/chat/completions", body=body)
        return stream

    stream = asyncio.run(scenario())

    answer = collector.answer_of(stream)
    spans = collector.wait(lambda spans: len(of_kind(spans, SERVER, stream)) == 2)
    made = call_of(spans, stream, "WS create")
    assert (answer.trace, answer.parent) == (made.trace, made.span)
    resumed = call_of(spans, stream, "WS subscribe")
    assert resumed.links == ((answer.trace, answer.span),)
    assert resumed.attributes["midstream.after"] == 4
    spans = collector.wait(lambda spans: any(s.attributes.get("midstream.status") for s in spans))
    (refused,) = (span for span in spans if span.attributes.get("midstream.status"))
    assert refused.attributes["midstream.status"] == 404


PROVIDERS = {
    "openai": ("/v1/chat/completions", "text.chat.sse", "/v1"),
    "anthropic": ("/v1/messages", "text.messages.sse", ""),
}


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_provider_is_told_the_span_of_the_answer(
    kind: str, collector: Collector, tmp_path: Path
) -> None:
    path, recording, base = PROVIDERS[kind]

    async def scenario() -> tuple[str, dict[str, str], int]:
        async with FakeProvider.running() as provider:
            provider.always_plays(streamed([(RECORDINGS / recording).read_bytes()]))
            config = (
                '[store]\nurl = "memory://"\n'
                f'[providers.fake]\nkind = "{kind}"\nbase_url = "{provider.url}{base}"\n'
                '[models."*"]\ntargets = ["fake/*"]\n'
            )

            def run() -> str:
                with serving(tmp_path, config, env=collector.env) as served:
                    return asyncio.run(create(served.url, "some-model", path, **CALLED))

            stream = await asyncio.to_thread(run)
            (request,) = provider.requests
            return stream, dict(request.headers), int(provider.url.rpartition(":")[2])

    stream, headers, port = asyncio.run(scenario())

    answer = collector.answer_of(stream)
    assert headers["traceparent"] == f"00-{TRACE}-{answer.span}-01"
    assert headers["tracestate"] == "vendor=7"
    assert answer.name == "chat some-model"
    assert answer.attributes["gen_ai.provider.name"] == kind
    assert answer.attributes["server.address"] == "127.0.0.1"
    assert answer.attributes["server.port"] == port
    assert answer.span == hashlib.sha256(stream.encode()).digest()[:8].hex()


def test_nothing_that_was_said_and_no_key_is_in_a_span(tmp_path: Path) -> None:
    key, prompt, tag = "a-key-of-sixteen-characters", "CANARY-prompt", "CANARY-tag"
    config = '[keys.main]\nsecret = "env:THE_KEY"\n' + CONFIG

    async def scenario(url: str) -> str:
        body = {"model": "quick/text", "messages": [{"role": "user", "content": prompt}]}
        address = f"{url}/v1/chat/completions"
        async with session() as http:
            async with http.post(address, json=body) as answer:
                assert answer.status == 401
            headers = {"x-api-key": key, "midstream-tag": tag, "user-agent": "CANARY-agent"}
            async with http.post(address, json=body, headers=headers) as answer:
                stream = answer.headers["midstream-stream"]
                said = (await answer.json())["choices"][0]["message"]["content"]
            for name in ("CANARY-of-a-path", stream):
                at = f"{url}/v1/streams/{name}/events?after=1&wait=0&x={prompt}"
                async with http.get(at, headers=headers) as answer:
                    assert answer.status in {400, 404}
        return str(said)

    with collecting() as collector:
        with serving(tmp_path, config, env={**collector.env, "THE_KEY": key}) as served:
            said = asyncio.run(scenario(served.url))
        words = [word for word in said.split() if len(word) > 5]
        assert words
        spans = collector.spans
        assert len(spans) == 4, "what came without a key has none"
        for secret in (key, prompt, tag, "CANARY", *words):
            assert secret.encode() not in collector.raw, secret
        assert CLIENT in {span.kind for span in spans}
