"""What a client can say over a WebSocket, and what it is answered."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.reading import ask, read_poll, read_sse, read_ws, session
from tests.server import Served, scripted, serving
from tests.talking import Talk, talking_openly

UNKNOWN = "st_" + "0" * 26
CHAT = {"model": "said/long", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
MESSAGES = CHAT | {"max_tokens": 100}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = (
        '[store]\nurl = "memory://"\n'
        + scripted()
        + scripted("slow", model="slow", events_per_s=50)
        + scripted("held", model="held", fault="stall", fault_after=3)
        + scripted("cut", model="cut", fault="cut", fault_after=3)
        + scripted("off", model="off", fault="status", fault_status=429)
    )
    with serving(tmp_path_factory.mktemp("talking"), config) as served:
        yield served


def tell(server: Served, story: Callable[[Talk, aiohttp.ClientSession], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with session() as http, talking_openly(http, server.url) as talk:
            await story(talk, http)

    asyncio.run(scenario())


# --- making and reading ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES)]
)
def test_an_answer_that_is_created_comes_whole_with_its_end(
    server: Served, path: str, body: dict[str, Any]
) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        created = await talk.ask("create", ref="mine", path=path, body=body)
        stream = created["stream"]
        assert created == {"type": "created", "ref": "mine", "stream": stream}
        *events, end = await talk.hear_to_the_end()
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))
        assert {event["stream"] for event in events} == {stream}
        assert {event["type"] for event in events} == {"event"}
        assert end == {
            "type": "end",
            "stream": stream,
            "ending": "completed",
            "last_id": len(events),
        }
        async with http.get(f"{server.url}/v1/streams/{stream}") as answer:
            assert (await answer.json())["last_event_id"] == len(events)

    tell(server, story)


def test_ids_and_bytes_are_those_of_the_other_transports_from_every_place(server: Served) -> None:
    async def story(_: Talk, http: aiohttp.ClientSession) -> None:
        for model in ("said/long", "slow/text", "said/unicode", "cut/long"):
            stream = await ask(http, server.url, model)
            journal = await read_sse(http, server.url, stream, 0, None)
            for after in range(0, len(journal), 23):
                over_ws = await read_ws(http, server.url, stream, after, None)
                assert over_ws == await read_poll(http, server.url, stream, after, None)
                assert over_ws == journal[after:]

    tell(server, story)


def test_a_stream_that_fails_ends_with_its_error_event_and_says_so(server: Served) -> None:
    async def story(talk: Talk, _: aiohttp.ClientSession) -> None:
        for model in ("cut/long", "off/long"):
            body = CHAT | {"model": model}
            await talk.ask("create", path="/v1/chat/completions", body=body)
            *events, end = await talk.hear_to_the_end()
            assert "error" in events[-1]["data"]
            assert end["ending"] == "failed"

    tell(server, story)


def test_at_the_end_of_an_ended_stream_there_is_only_the_end(server: Served) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        stream = await ask(http, server.url, "said/long")
        journal = await read_sse(http, server.url, stream, 0, None)
        end = await talk.ask("subscribe", stream=stream, after=journal[-1].id)
        assert end["type"] == "end"
        assert end["last_id"] == journal[-1].id
        await talk.say("subscribe", stream=stream)  # it may be read again
        assert len(await talk.hear_to_the_end()) == len(journal) + 1

    tell(server, story)


def test_an_idempotency_key_makes_one_stream_over_both_transports(server: Served) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        key = "over-both"
        create = {"path": "/v1/chat/completions", "body": CHAT, "idempotency_key": key}
        first = await talk.ask("create", **create)
        whole = await talk.hear_to_the_end()
        again = await talk.ask("create", ref=7, **create)
        assert again == {"type": "created", "ref": 7, "stream": first["stream"]}
        assert await talk.hear_to_the_end() == whole
        raw = json.dumps(CHAT)  # the bytes that aiohttp puts into the message
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        url = f"{server.url}/v1/chat/completions"
        async with http.post(url, data=raw, headers=headers) as posted:
            assert posted.headers["midstream-stream"] == first["stream"]
        other = await talk.ask("create", ref="r", **(create | {"body": MESSAGES}))
        assert other["code"] == "idempotency_mismatch"
        assert other["ref"] == "r"

    tell(server, story)


def test_a_create_that_is_repeated_while_it_is_read_is_read_once(server: Served) -> None:
    async def story(talk: Talk, _: aiohttp.ClientSession) -> None:
        create = {
            "path": "/v1/chat/completions",
            "body": CHAT | {"model": "slow/text"},
            "idempotency_key": "twice",
        }
        first = await talk.ask("create", **create)
        await talk.say("create", **create)
        heard = await talk.hear_to_the_end()
        assert first in heard
        ids = [each["id"] for each in heard if each["type"] == "event"]
        assert ids == list(range(1, len(ids) + 1))

    tell(server, story)


def test_the_wishes_of_a_create_are_those_of_a_post(server: Served) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        tag = "Gespräch 猫"
        create = {"path": "/v1/chat/completions", "body": CHAT}
        created = await talk.ask("create", tag=tag, detach=5, retention_s=60, **create)
        await talk.hear_to_the_end()
        async with http.get(f"{server.url}/v1/streams", params={"tag": tag}) as listed:
            (found,) = (await listed.json())["data"]
        assert found["id"] == created["stream"]
        for name, wrong in [
            ("tag", "a\nb"),
            ("detach", "later"),
            ("detach", 90_000),
            ("retention_s", -1),
            ("retention_s", 10**9),
            ("idempotency_key", "two words"),
            ("path", "/v1/nothing"),
        ]:
            refused = await talk.ask("create", ref=name, **(create | {name: wrong}))
            assert refused["type"] == "error", name
            assert refused["code"] == "invalid_request"
            assert refused["ref"] == name
        unknown = await talk.ask("create", **(create | {"body": CHAT | {"model": "none"}}))
        assert unknown["code"] == "model_not_found"
        assert unknown["param"] == "model"

    tell(server, story)


def test_a_reader_that_leaves_is_counted_as_one_over_sse_is(server: Served) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        body = CHAT | {"model": "held/long"}
        created = await talk.ask("create", path="/v1/chat/completions", body=body, detach="cancel")
        for _ in range(3):
            await talk.hear()
        await talk.ws.close()
        url = f"{server.url}/v1/streams/{created['stream']}"
        async with asyncio.timeout(10):
            while True:
                async with http.get(url) as answer:
                    if (await answer.json())["ending"] == "cancelled":
                        return
                await asyncio.sleep(0.05)

    tell(server, story)


# --- stopping -------------------------------------------------------------------------------------


def test_unsubscribe_stops_the_events_and_is_answered_even_if_there_were_none(
    server: Served,
) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        stream = await ask(http, server.url, "slow/long")
        assert (await talk.ask("subscribe", stream=stream))["id"] == 1
        await talk.say("unsubscribe", stream=stream, ref="u")
        heard = await talk.hear()
        while heard["type"] == "event":
            heard = await talk.hear()
        assert heard == {"type": "unsubscribed", "stream": stream, "ref": "u"}
        assert (await talk.ask("unsubscribe", stream=UNKNOWN))["type"] == "unsubscribed"
        await asyncio.sleep(0.2)
        assert (await talk.ask("ping"))["type"] == "pong"  # nothing came between
        assert (await talk.ask("subscribe", stream=stream, after=1))["id"] == 2

    tell(server, story)


def test_cancel_ends_the_stream_and_its_receipt_says_how(server: Served) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        body = CHAT | {"model": "held/long"}
        created = await talk.ask("create", path="/v1/chat/completions", body=body)
        stream = created["stream"]
        for _ in range(3):
            await talk.hear()
        await talk.say("cancel", stream=stream, ref="c")
        heard = [await talk.hear() for _ in range(3)]
        by_type = {each["type"]: each for each in heard}
        assert by_type.keys() == {"event", "end", "cancelled"}
        assert by_type["end"]["ending"] == by_type["cancelled"]["ending"] == "cancelled"
        receipt = by_type["cancelled"]
        assert receipt["ref"] == "c"
        assert receipt["stream"] == stream
        async with http.post(f"{server.url}/v1/streams/{stream}/cancel") as answer:
            said = await answer.json()
        assert said == {key: receipt[key] for key in said}

    tell(server, story)


# --- everything else ------------------------------------------------------------------------------


def test_a_ping_gets_a_pong_with_its_ref(server: Served) -> None:
    async def story(talk: Talk, _: aiohttp.ClientSession) -> None:
        assert await talk.ask("ping") == {"type": "pong"}
        assert await talk.ask("ping", ref=0) == {"type": "pong", "ref": 0}

    tell(server, story)


@pytest.mark.parametrize(
    ("text", "code", "known"),
    [
        ("no JSON", "invalid_request", {}),
        ("[]", "invalid_request", {}),
        ("[" * 100_000, "invalid_request", {}),
        ('{"ref":1}', "invalid_request", {"ref": 1}),
        (
            '{"type":"nonsense","ref":"r","stream":"s"}',
            "invalid_request",
            {"ref": "r", "stream": "s"},
        ),
        ('{"type":"ping","nonsense":1}', "invalid_request", {}),
        ('{"type":"subscribe"}', "invalid_request", {}),
        (
            '{"type":"subscribe","stream":"x","ref":2}',
            "stream_not_found",
            {"ref": 2, "stream": "x"},
        ),
        (f'{{"type":"subscribe","stream":"{UNKNOWN}"}}', "stream_not_found", {"stream": UNKNOWN}),
        (f'{{"type":"cancel","stream":"{UNKNOWN}"}}', "stream_not_found", {"stream": UNKNOWN}),
        (
            f'{{"type":"subscribe","stream":"{UNKNOWN}","after":-1}}',
            "invalid_event_id",
            {"stream": UNKNOWN},
        ),
        (
            f'{{"type":"subscribe","stream":"{UNKNOWN}","after":"1"}}',
            "invalid_request",
            {"stream": UNKNOWN},
        ),
        ('{"type":"create","path":"/v1/messages","body":[]}', "invalid_request", {}),
    ],
)
def test_what_cannot_be_done_is_an_error_and_the_connection_stays(
    server: Served, text: str, code: str, known: dict[str, object]
) -> None:
    async def story(talk: Talk, _: aiohttp.ClientSession) -> None:
        await talk.ws.send_str(text)
        error = await talk.hear()
        assert error["type"] == "error"
        assert error["code"] == code
        assert error["message"]
        assert {key: error[key] for key in ("ref", "stream") if key in error} == known
        assert (await talk.ask("ping"))["type"] == "pong"

    tell(server, story)


def test_a_place_that_is_ahead_gone_or_taken_is_an_error_as_over_http(server: Served) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        stream = await ask(http, server.url, "held/long")
        await read_sse(http, server.url, stream, 0, 3)
        ahead = await talk.ask("subscribe", stream=stream, after=9, ref="a")
        assert (ahead["code"], ahead["stream"], ahead["ref"]) == ("ahead_of_stream", stream, "a")
        assert (await talk.ask("subscribe", stream=stream, after=2))["id"] == 3
        assert (await talk.ask("subscribe", stream=stream))["code"] == "already_subscribed"
        async with http.delete(f"{server.url}/v1/streams/{stream}") as answer:
            assert answer.status == 204
        heard = await talk.hear()  # the last event and its end, or that all is gone
        while heard["type"] == "event":
            heard = await talk.hear()
        assert heard["type"] == "end" or heard["code"] == "stream_expired"
        gone = await talk.ask("subscribe", stream=stream)
        assert gone["code"] == "stream_expired"

    tell(server, story)


def test_a_hundred_streams_can_be_read_at_a_time_and_not_one_more(server: Served) -> None:
    async def story(talk: Talk, http: aiohttp.ClientSession) -> None:
        streams = [await ask(http, server.url, "held/long") for _ in range(101)]
        for stream in streams[:100]:
            await talk.say("subscribe", stream=stream)
        heard = [await talk.hear() for _ in range(300)]
        assert {each["stream"] for each in heard} == set(streams[:100])
        assert (await talk.ask("subscribe", stream=streams[100]))["code"] == "subscription_limit"
        create = {"path": "/v1/chat/completions", "body": CHAT}
        assert (await talk.ask("create", **create))["code"] == "subscription_limit"
        await talk.ask("unsubscribe", stream=streams[0])
        assert (await talk.ask("subscribe", stream=streams[100]))["type"] == "event"
        for stream in streams:
            async with http.post(f"{server.url}/v1/streams/{stream}/cancel") as answer:
                assert answer.status == 200

    tell(server, story)


def test_the_log_has_a_line_for_a_websocket_when_it_is_over(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        async with session() as http, talking_openly(http, url) as talk:
            await talk.ask("ping")

    with serving(tmp_path, '[store]\nurl = "memory://"\n' + scripted()) as served:
        asyncio.run(scenario(served.url))
        served.stop()
        assert "served method=GET route=/v1/ws status=101 ms=" in served.log.read_text()
