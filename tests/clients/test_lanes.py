"""The openai SDK's WebSocket mode of Responses, as it is shipped: connections, sessions, lanes."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.lib.responses_websocket import (
    AsyncResponsesWebSocketLane,
    AsyncResponsesWebSocketSession,
    ResponsesWebSocketAccumulator,
    ResponsesWebSocketError,
    ResponsesWebSocketLimits,
    ResponsesWebSocketSession,
)
from openai.types.websocket_reconnection import ReconnectingEvent

from tests.clients.node_sdks import FOLDER, need_node
from tests.clients.responding import Responder, running_responder
from tests.lanes import journal_of
from tests.reading import read_poll, session
from tests.server import Served, serving
from tests.serving.processes import workers_of

pytestmark = pytest.mark.filterwarnings(  # the SDK uses websockets as it was before 17.1
    "ignore:connect.. must be used as a context manager:DeprecationWarning"
)
LIMITS = ResponsesWebSocketLimits(
    max_lanes=40,
    max_events_per_lane=10_000,
    max_events=100_000,
    max_bytes_per_lane=2**26,
    max_bytes=2**27,
)


def words(count: int) -> str:
    return "".join(f"word{n} " for n in range(count))


def config_for(responder: Responder, more: str = "") -> str:
    return f"""{more}
[store]
path = "data"
[providers.made]
kind = "openai"
base_url = "{responder.url}/v1"
api_key = "env:UPSTREAM_KEY"
dialects = ["openai.responses"]
[models."made/*"]
targets = ["made/*"]
"""


@pytest.fixture(scope="module")
def responder() -> Iterator[Responder]:
    with running_responder() as made:
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, responder: Responder) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("lanes")
    with serving(folder, config_for(responder), env={"UPSTREAM_KEY": "k"}) as server:
        yield server


def create(model: str, **fields: object) -> Any:
    return {"type": "response.create", "model": f"made/{model}", "input": "hi", **fields}


# --- lanes ----------------------------------------------------------------------------------------


def test_the_async_session_runs_sixteen_lanes_at_once(served: Served) -> None:
    async def scenario() -> None:
        async with (
            openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any") as client,
            client.responses.connect() as connection,
            AsyncResponsesWebSocketSession(connection, limits=LIMITS) as talk,
        ):
            lanes = [talk.default, *(talk.lane(f"lane-{n}") for n in range(15))]
            begun = time.monotonic()
            for n, lane in enumerate(lanes):
                await lane.send(create(f"words-{100 + n}"))
            responses = await asyncio.gather(*(lane.get_final_response() for lane in lanes))
            took_s = time.monotonic() - begun
            texts = [response.output_text for response in responses]
            assert texts == [words(100 + n) for n in range(16)]
            assert took_s < 8, "one after the other they would take 17 s"

    asyncio.run(scenario())


def test_the_sync_session_takes_turns_in_a_lane_and_its_accumulator_sees_all(
    served: Served,
) -> None:
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="any") as client,
        client.responses.connect() as connection,
        ResponsesWebSocketSession(connection, limits=LIMITS) as talk,
    ):
        lane = talk.lane("a")
        for count in (3, 5):
            accumulator = ResponsesWebSocketAccumulator()
            lane.send(create(f"words-{count}"))
            kinds: list[str] = []
            while not kinds or kinds[-1] != "response.completed":
                event = lane.recv(timeout=20)
                kinds.append(event.type)
                accumulator.add_event(event)
            assert accumulator.snapshot().output_text == words(count)
            assert accumulator.get_final_response().output_text == words(count)
            assert lane.get_final_response(timeout=20).output_text == words(count)


def test_every_message_that_the_sdk_gets_is_the_journals(served: Served) -> None:
    async def scenario() -> None:
        async with (
            openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any") as client,
            client.responses.connect(extra_headers={"Midstream-Tag": "same"}) as connection,
        ):
            await connection.response.create(model="made/words-20", input="hi")
            texts = []
            while b'"response.completed"' not in (text := await connection.recv_bytes()):
                texts.append(text.decode())
            texts.append(text.decode())
        async with session() as http:
            stream = await journal_of(http, served.url, "same")
            journal = await read_poll(http, served.url, stream, 0, None)
            assert texts == [event.data for event in journal]

    asyncio.run(scenario())


# --- errors ---------------------------------------------------------------------------------------


def test_errors_reach_their_lane_as_the_sdks_errors(served: Served) -> None:
    async def scenario() -> None:
        async with (
            openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any") as client,
            client.responses.connect() as connection,
            AsyncResponsesWebSocketSession(connection, limits=LIMITS) as talk,
        ):
            lane = talk.lane("a")
            asked: Any
            for asked, status, code in (
                ({**create("x"), "model": "nobody"}, 404, "model_not_found"),
                (
                    create("words-3", previous_response_id="resp_gone"),
                    400,
                    "previous_response_not_found",
                ),
                (create("words-3", background=True), 400, "invalid_request"),
            ):
                await lane.send(asked)
                with pytest.raises(ResponsesWebSocketError) as raised:
                    await lane.get_final_response()
                event: Any = raised.value.event
                assert (event.status, event.stream_id) == (status, "a")
                assert event.error.code == code
            await lane.send(create("words-3"))
            assert (await lane.get_final_response()).output_text == words(3)
            for n in range(32):
                await talk.lane(f"lane-{n}").send(create("words-3"))
            last = talk.lane("lane-too-many")
            await last.send(create("words-3"))
            with pytest.raises(ResponsesWebSocketError) as raised:
                await last.get_final_response()
            event = raised.value.event
            assert event.error.code == "websocket_stream_limit_reached"

    asyncio.run(scenario())


# --- following ------------------------------------------------------------------------------------


def test_a_tool_turn_that_nobody_stores_follows_from_what_the_connection_remembers(
    served: Served, responder: Responder
) -> None:
    async def scenario() -> None:
        async with (
            openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any") as client,
            client.responses.connect() as connection,
            AsyncResponsesWebSocketSession(connection, limits=LIMITS) as talk,
        ):
            main, fork = talk.lane("main"), talk.lane("fork")
            await main.send(create("words-0", generate=False, input="You are brief."))
            warm = await main.get_final_response()
            asked = create("tool", store=False, previous_response_id=warm.id, input="Paris?")
            await main.send(asked)
            first = await main.get_final_response()
            (call,) = first.output
            assert call.type == "function_call"
            given = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
            follow = create("tool", store=False, previous_response_id=first.id, input=[given])
            await main.send(follow)
            await fork.send(follow)
            texts = [(await lane.get_final_response()).output_text for lane in (main, fork)]
            assert texts == [words(3)] * 2
        for body in responder.asked[-2:]:
            assert "previous_response_id" not in body
            roles = [item.get("role") or item["type"] for item in body["input"]]
            assert roles == ["user", "user", "function_call", "function_call_output"]
            assert body["input"][2].items() <= call.to_dict().items()

    asyncio.run(scenario())


def test_a_turn_that_follows_is_repeated_with_its_key_where_nothing_is_remembered(
    served: Served, responder: Responder
) -> None:
    async def scenario() -> None:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any") as client:
            async with client.responses.connect() as connection:
                await connection.send(create("words-1", store=False))
                async for event in connection:
                    if event.type == "response.completed":
                        first = event.response.id
                        break
                follow = create("words-5", previous_response_id=first, idempotency_key="follow")
                await connection.send(follow)
                made = json.loads(await connection.recv_bytes())
            asked = len(responder.asked)
            async with (
                client.responses.connect() as connection,
                AsyncResponsesWebSocketSession(connection, limits=LIMITS) as talk,
            ):
                await talk.default.send(follow)
                response = await talk.default.get_final_response()
                assert (response.id, response.output_text) == (made["response"]["id"], words(5))
                follow["input"] = "else"
                await talk.default.send(follow)
                with pytest.raises(ResponsesWebSocketError):
                    await talk.default.get_final_response()
            assert len(responder.asked) == asked

    asyncio.run(scenario())


# --- coming back ----------------------------------------------------------------------------------


def test_a_session_goes_on_in_its_lanes_after_its_worker_was_replaced(
    tmp_path: Path, responder: Responder
) -> None:
    """The SDK reconnects by itself; all that the application says is where it was."""
    config = config_for(responder, "[server]\nworkers = 2\n")

    async def scenario(server: Served) -> None:
        is_cut = asyncio.Event()
        async with (
            openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any") as client,
            client.responses.connect(on_reconnecting=lambda _: is_cut.set()) as connection,
            AsyncResponsesWebSocketSession(connection, limits=LIMITS) as talk,
        ):
            lanes = [talk.default, talk.lane("a"), talk.lane("b")]
            seen: list[list[Any]] = [[] for _ in lanes]
            for n, lane in enumerate(lanes):
                await lane.send(create(f"words-{150 + n}"))
            for lane, events in zip(lanes, seen, strict=True):
                while len(events) < 20:
                    events.append(await lane.recv())
            os.kill(worker_that_serves(server), signal.SIGTERM)
            await asyncio.wait_for(is_cut.wait(), 20)
            for name, lane, events in zip((None, "a", "b"), lanes, seen, strict=True):
                with suppress(TimeoutError):  # what came before the line was cut
                    while True:
                        events.append(await asyncio.wait_for(lane.recv(), 0.1))
                await resume(lane, name, events)
            for n, (lane, events) in enumerate(zip(lanes, seen, strict=True)):
                while events[-1].type != "response.completed":
                    events.append(await lane.recv())
                numbers = [event.sequence_number for event in events]
                assert numbers == list(range(len(events))), "none is lost, none comes twice"
                deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
                assert "".join(deltas) == words(150 + n)
                assert (await lane.get_final_response()).output_text == words(150 + n)

    with serving(tmp_path, config, env={"UPSTREAM_KEY": "k"}) as server:
        asyncio.run(scenario(server))


async def resume(lane: AsyncResponsesWebSocketLane, name: str | None, seen: list[Any]) -> None:
    """As soon as the SDK has a connection again."""
    where: Any = {
        "type": "response.resume",
        "response_id": seen[0].response.id,
        "starting_after": seen[-1].sequence_number,
    }
    where |= {} if name is None else {"stream_id": name}
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(RuntimeError):  # it is reconnecting still
            await lane.send(where)
            return
        await asyncio.sleep(0.02)


def worker_that_serves(server: Served) -> int:
    """The process that has made the newest stream."""
    lines = [line for line in server.log.read_text().splitlines() if "stream_started" in line]
    name = lines[-1].partition("worker=")[2].split()[0]
    return workers_of(server)[f"midstream-{name}"]


def test_a_connection_that_reconnects_says_where_it_was_in_the_callback_that_the_sdk_has(
    tmp_path: Path, responder: Responder
) -> None:
    """What is sent while the SDK reconnects goes out first on the new connection."""
    config = config_for(responder, "[server]\nworkers = 2\n")
    seen: list[Any] = []
    closes: list[int] = []

    with (
        serving(tmp_path, config, env={"UPSTREAM_KEY": "k"}) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="any") as client,
    ):

        def on_reconnecting(event: ReconnectingEvent) -> None:
            closes.append(event.close_code)
            where: Any = {
                "type": "response.resume",
                "response_id": seen[0].response.id,
                "starting_after": seen[-1].sequence_number,
            }
            connection.send(where)

        with client.responses.connect(on_reconnecting=on_reconnecting) as connection:
            connection.response.create(model="made/words-150", input="hi")
            for event in connection:
                seen.append(event)
                if len(seen) == 20:
                    os.kill(worker_that_serves(server), signal.SIGTERM)
                if event.type == "response.completed":
                    break
    assert closes == [1001]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].response.output_text == words(150)


# --- Node -----------------------------------------------------------------------------------------


def start_node(url: str, **question: object) -> "subprocess.Popen[str]":
    need_node()
    process = subprocess.Popen(
        ["node", "--experimental-websocket", "--no-warnings", "lanes.mjs"],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"url": url, "key": "any", **question}))
    process.stdin.close()
    process.stdin = None
    return process


def texts_of(messages: list[dict[str, Any]]) -> dict[str, str]:
    """The text that came in each lane, of which every event has come once and in order."""
    texts: dict[str, str] = {}
    numbers: dict[str, list[int]] = {}
    for message in messages:
        lane = message.get("stream_id", "")
        numbers.setdefault(lane, []).append(message["sequence_number"])
        texts[lane] = texts.get(lane, "") + message.get("delta", "")
    assert all(found == list(range(len(found))) for found in numbers.values())
    return texts


def test_the_node_sdk_has_lanes_and_errors_too(served: Served) -> None:
    creates = [
        {"model": "made/words-20", "input": "hi"},
        {"model": "made/words-30", "input": "hi", "stream_id": "a"},
        {"model": "nobody", "input": "hi", "stream_id": "b"},
    ]
    with start_node(served.url, creates=creates) as process:
        told, _ = process.communicate(timeout=60)
    heard = json.loads(told)
    assert texts_of(heard["messages"]) == {"": words(20), "a": words(30)}
    (error,) = heard["errors"]
    assert (error["status"], error["stream_id"]) == (404, "b")
    assert error["error"]["code"] == "model_not_found"
    assert heard["closes"] == []


def test_the_node_sdk_goes_on_in_its_lanes_after_its_worker_was_replaced(
    tmp_path: Path, responder: Responder
) -> None:
    config = config_for(responder, "[server]\nworkers = 2\n")
    creates = [
        {"model": "made/words-150", "input": "hi"},
        {"model": "made/words-151", "input": "hi", "stream_id": "a"},
    ]
    with (
        serving(tmp_path, config, env={"UPSTREAM_KEY": "k"}) as server,
        start_node(server.url, creates=creates, resumes=40) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "cut\n"
        os.kill(worker_that_serves(server), signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    heard = json.loads(told)
    assert texts_of(heard["messages"]) == {"": words(150), "a": words(151)}
    assert heard["closes"][:1] == [1001]
    assert heard["errors"] == []
