"""OpenAI's WebSocket mode of Responses: lanes, errors, and taking up what a lost line has left."""

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import pytest

from tests.lanes import journal_of, lanes, without_lane
from tests.reading import READERS, read_poll, session
from tests.server import RECORDINGS, Served, scripted, serving

SAID = sorted(
    file.name.removesuffix(".responses.sse") for file in RECORDINGS.glob("*.responses.sse")
)
TEXT_EVENTS = (RECORDINGS / "text.responses.sse").read_text().count("\ndata: ")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[store]\nurl = "memory://"\n' + scripted()
    config += scripted("slow", model="slow", events_per_s=40)
    config += scripted("busy", model="busy", fault="status", fault_status=429)
    config += scripted("cut", model="cut", fault="cut", fault_after=9)
    config += scripted("error", model="error", fault="error", fault_after=0)
    with serving(tmp_path_factory.mktemp("lanes"), config) as served:
        yield served


# --- what comes is the journal --------------------------------------------------------------------


@pytest.mark.parametrize("lane", [None, "a", "x" * 256])
@pytest.mark.parametrize("name", SAID)
def test_what_comes_in_a_lane_is_the_journal_byte_for_byte(
    server: Served, name: str, lane: str | None
) -> None:
    tag = f"{name}-{len(lane or '')}"

    async def scenario() -> None:
        async with session() as http:
            async with lanes(http, server.url, headers={"Midstream-Tag": tag}) as talk:
                await talk.create(f"said/{name}", lane)
                texts = await talk.to_the_end(lane)
            stream = await journal_of(http, server.url, tag)
            journal = await read_poll(http, server.url, stream, 0, None)
            assert [without_lane(text, lane) for text in texts] == [event.data for event in journal]

    asyncio.run(scenario())


def test_an_answer_that_breaks_off_ends_as_its_journal_does(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, lanes(http, server.url) as talk:
            await talk.create("cut/text", "a")
            last = json.loads((await talk.to_the_end("a"))[-1])
            assert last["type"] == "response.failed"
            assert last["response"]["error"]["code"]
            await talk.create("said/text", "a")
            assert json.loads((await talk.to_the_end("a"))[-1])["type"] == "response.completed"

    asyncio.run(scenario())


# --- lanes ----------------------------------------------------------------------------------------


def test_each_lane_is_in_order_and_no_lane_waits_for_another(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, lanes(http, server.url) as talk:
            for model in ("slow/text", "said/refusal", "said/text"):
                await talk.create(model, "slow")
            await talk.create("said/long")
            await talk.create("said/unicode", "other")
            order: list[str | None] = []
            while len(order) < 5:
                lane, text = await talk.hear()
                if json.loads(text)["type"] == "response.completed":
                    order.append(lane)
                talk.heard.setdefault(lane, []).append(text)
            assert set(order[:2]) == {None, "other"}, "they did not wait for the slow one"
            kinds = [json.loads(text)["type"] for text in talk.heard["slow"]]
            ends = [at for at, kind in enumerate(kinds) if kind == "response.completed"]
            begins = [at for at, kind in enumerate(kinds) if kind == "response.created"]
            assert begins == [0, ends[0] + 1, ends[1] + 1], "one after the other"

    asyncio.run(scenario())


def test_more_than_sixteen_wait_and_more_names_than_thirty_two_are_refused(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, lanes(http, server.url) as talk:
            for n in range(33):
                await talk.create("slow/text", f"lane{n}")
            error = await talk.error("lane32")
            assert error["status"] == 400
            assert error["error"]["code"] == "websocket_stream_limit_reached"
            assert error["error"]["param"] == "stream_id"
            begun = {lane for lane, texts in talk.heard.items() if texts}
            assert begun <= {f"lane{n}" for n in range(16)}
            for n in range(32):
                assert len(await talk.to_the_end(f"lane{n}")) == TEXT_EVENTS
            await talk.create("said/text", "lane7")
            assert len(await talk.to_the_end("lane7")) == TEXT_EVENTS

    asyncio.run(scenario())


# --- errors ---------------------------------------------------------------------------------------


def test_what_cannot_be_done_is_an_error_in_its_lane_and_ends_nothing(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, lanes(http, server.url) as talk:
            await talk.create("slow/text", "beside")
            for text, code in (
                ("no JSON", "invalid_request"),
                ("[]", "invalid_request"),
                ('{"type":"session.update"}', "invalid_request"),
                ('{"type":"response.create","stream_id":""}', "invalid_stream_id"),
                ('{"type":"response.create","stream_id":"a b","model":"x"}', "invalid_stream_id"),
            ):
                await talk.ws.send_str(text)
                error = await talk.error()
                assert (error["status"], error["error"]["code"]) == (400, code)
            await talk.create("nobody", "a")
            error = await talk.error("a")
            assert (error["status"], error["error"]["code"]) == (404, "model_not_found")
            await talk.say("response.create", "a", input="no model")
            assert (await talk.error("a"))["error"]["param"] == "model"
            await talk.create("said/text", "a", stream=False)
            assert (await talk.error("a"))["error"]["param"] == "stream"
            await talk.create("said/text", "a", background=True)
            assert (await talk.error("a"))["error"]["param"] == "background"
            assert len(await talk.to_the_end("beside")) == TEXT_EVENTS

    asyncio.run(scenario())


@pytest.mark.parametrize(("model", "status"), [("busy/text", 429), ("error/text", 500)])
def test_a_provider_that_fails_before_it_says_anything_is_an_error_with_its_status(
    server: Served, model: str, status: int
) -> None:
    async def scenario() -> None:
        async with session() as http, lanes(http, server.url) as talk:
            await talk.create(model, "a", idempotency_key=model)
            error = await talk.error("a")
            assert error["status"] == status
            headers = error["error"]["headers"]
            assert headers["midstream-stream"].startswith("st_")
            assert ("retry-after" in headers) == (status == 429)
            await talk.create("said/text", "a", idempotency_key=model)  # the key is free again
            assert len(await talk.to_the_end("a")) == TEXT_EVENTS

    asyncio.run(scenario())


def test_steering_is_refused_and_the_input_given_back(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, lanes(http, server.url) as talk:
            await talk.create("slow/text", "a")
            made = await talk.next("a")
            target = made["response"]["id"]
            await talk.say("response.steer", previous_response_id=target, input="shorter")
            while (failed := await talk.next("a"))["type"] != "response.steer.failed":
                pass
            assert failed["error"]["code"] == "steering_not_supported"
            assert failed["steer"] == {"previous_response_id": target, "input": "shorter"}
            await talk.to_the_end("a")
            await talk.say("response.steer", previous_response_id=target, input="shorter")
            failed = await talk.next()
            assert failed["error"]["code"] == "response_not_found"

    asyncio.run(scenario())


# --- coming back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", [None, "a"])
def test_whoever_lost_the_line_goes_on_at_the_next_event_on_another(
    server: Served, lane: str | None
) -> None:
    """At every place where it can break."""

    async def scenario() -> None:
        async with session() as http:
            for take in range(1, TEXT_EVENTS):
                tag = f"lost-{lane}-{take}"
                async with lanes(http, server.url, headers={"Midstream-Tag": tag}) as talk:
                    await talk.create("said/text", lane)
                    texts = [(await talk.hear())[1] for _ in range(take)]
                stream = await journal_of(http, server.url, tag)
                last = json.loads(texts[-1])["sequence_number"]
                async with lanes(http, server.url) as talk:
                    await talk.say("response.resume", lane, response_id=stream, starting_after=last)
                    texts += await talk.to_the_end(lane)
                journal = await read_poll(http, server.url, stream, 0, None)
                assert [without_lane(t, lane) for t in texts] == [event.data for event in journal]

    asyncio.run(scenario())


def test_a_response_goes_on_over_every_other_transport(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            headers = {"Midstream-Tag": "elsewhere"}
            async with lanes(http, server.url, headers=headers) as talk:
                await talk.create("slow/text")
                texts = [(await talk.hear())[1] for _ in range(5)]
            stream = await journal_of(http, server.url, "elsewhere")
            for read in READERS.values():
                rest = await read(http, server.url, stream, 5, None)
                assert len(texts) + len(rest) == TEXT_EVENTS
                assert json.loads(rest[-1].data)["type"] == "response.completed"

    asyncio.run(scenario())


def test_a_create_that_is_repeated_with_its_key_is_the_same_response(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            async with lanes(http, server.url) as talk:
                await talk.create("slow/text", "a", idempotency_key="once")
                first = await talk.next("a")
            async with lanes(http, server.url) as talk:
                await talk.create("slow/text", "b", idempotency_key="once")
                texts = await talk.to_the_end("b")
                assert len(texts) == TEXT_EVENTS
                again = json.loads(texts[0])
                assert again["response"] == first["response"]
                await talk.create("slow/text", "b", idempotency_key="once", input="else")
                assert (await talk.error("b"))["error"]["code"] == "idempotency_mismatch"

    asyncio.run(scenario())


def test_a_resume_waits_its_turn_and_what_is_not_there_is_an_error(server: Served) -> None:
    async def scenario() -> None:
        tagged = {"Midstream-Tag": "turn"}
        async with session() as http, lanes(http, server.url, headers=tagged) as talk:
            await talk.create("slow/text", "a")
            await talk.next("a")
            name = await journal_of(http, server.url, "turn")
            await talk.say("response.resume", "a", response_id=name, starting_after=3)
            first = await talk.to_the_end("a")
            again = await talk.to_the_end("a")
            assert again == first[3:]
            for wanted, more, status in (
                ("resp_none", {}, 404),
                ("st_" + "0" * 26, {}, 404),
                (name, {"starting_after": TEXT_EVENTS + 5}, 409),
            ):
                await talk.say("response.resume", "a", response_id=wanted, **more)
                assert (await talk.error("a"))["status"] == status

    asyncio.run(scenario())


def test_a_stream_of_another_dialect_is_not_read_here(server: Served) -> None:
    async def scenario() -> None:
        body = {"model": "said/text", "stream": True, "messages": []}
        async with session() as http, lanes(http, server.url) as talk:
            async with http.post(f"{server.url}/v1/chat/completions", json=body) as answer:
                stream = answer.headers["midstream-stream"]
            await talk.say("response.resume", response_id=stream)
            assert (await talk.error())["error"]["param"] == "response_id"

    asyncio.run(scenario())


# --- warming --------------------------------------------------------------------------------------


def test_a_create_that_generates_nothing_reaches_no_provider_and_can_be_followed(
    server: Served,
) -> None:
    async def scenario() -> None:
        tagged = {"Midstream-Tag": "warm"}
        async with session() as http, lanes(http, server.url, headers=tagged) as talk:
            await talk.create("said/text", "a", generate=False, input="context")
            begun, done = await talk.next("a"), await talk.next("a")
            assert (begun["type"], done["type"]) == ("response.created", "response.completed")
            assert (begun["sequence_number"], done["sequence_number"]) == (0, 1)
            assert done["response"]["output"] == []
            name = done["response"]["id"]
            async with http.get(f"{server.url}/v1/streams?tag=warm") as answer:
                assert (await answer.json())["data"] == []
            await talk.create("said/text", "a", previous_response_id=name)
            assert len(await talk.to_the_end("a")) == TEXT_EVENTS
            await talk.create("said/text", "a", generate=False, previous_response_id="resp_no")
            assert (await talk.error("a"))["error"]["code"] == "previous_response_not_found"
            await talk.create("nobody", "a", generate=False)
            assert (await talk.error("a"))["error"]["code"] == "model_not_found"

    asyncio.run(scenario())


# --- the handshake --------------------------------------------------------------------------------


def test_a_get_that_is_no_handshake_is_told_so(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            async with http.get(f"{server.url}/v1/responses") as answer:
                assert answer.status == 426
            for headers in ({"Idempotency-Key": "k"}, {"Midstream-Retention": "no"}):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    async with lanes(http, server.url, headers=headers):
                        pass
                assert refused.value.status == 400
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"{server.url}/v1/responses", protocols=["midstream.v1"])
            assert refused.value.status == 400

    asyncio.run(scenario())
