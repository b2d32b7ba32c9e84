"""What is said on a Responses WebSocket, as bytes, and as the SDK's own types read it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import construct_type
from openai.types.responses import ResponsesServerEvent, ResponseSteerFailedEvent
from openai.types.responses.responses_server_event import ResponseWsError

from proxy.downstream.lanes import messages
from proxy.downstream.lanes.messages import (
    Create,
    Resume,
    Steer,
    event_frames,
    lane_tail,
    read_fields,
    read_lane,
    read_message,
)
from proxy.errors import InvalidLane, MalformedRequest
from proxy.stream import DONE, Event, Problem
from proxy.wire.dialects import all_dialects
from tests.downstream.websocket.test_messages import payloads

LANES = st.text("abcXYZ019_.-", min_size=1, max_size=256)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def say(**fields: object) -> messages.Said:
    return read_message(read_fields(json.dumps(fields)))


def sdk_event(frame: bytes) -> Any:
    """The one message of `frame`, as the SDK's connection gives it out."""
    (text,) = payloads(frame)
    return construct_type(type_=ResponsesServerEvent, value=json.loads(text))


# --- what a client says ---------------------------------------------------------------------------


@given(fields=st.dictionaries(st.text().map(lambda name: f"x{name}"), JSON, max_size=5), lane=LANES)
def test_a_create_is_the_body_of_a_post_with_every_field_as_it_was(
    fields: dict[str, object], lane: str
) -> None:
    text = json.dumps({"type": "response.create", "stream_id": lane, "model": "m", **fields})
    found = read_fields(text)
    said = read_message(found)
    assert isinstance(said, Create)
    assert read_lane(found) == lane
    body = json.loads(msgspec.json.encode(said.fields))
    assert body == {"model": "m", **fields, "stream": True}
    for name, raw in said.fields.items():
        if name != "stream":
            assert bytes(raw) in text.encode()


def test_what_belongs_to_the_connection_is_not_part_of_the_body() -> None:
    said = say(
        type="response.create",
        stream_id="a",
        idempotency_key="k",
        stream=True,
        background=False,
        generate=True,
        model="m",
    )
    assert isinstance(said, Create)
    assert said.idempotency_key == "k"
    assert json.loads(msgspec.json.encode(said.fields)) == {"model": "m", "stream": True}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": False}, "stream"),
        ({"background": True}, "background"),
    ],
)
def test_a_create_that_means_something_else_is_refused_by_the_fields_name(
    fields: dict[str, object], param: str
) -> None:
    with pytest.raises(MalformedRequest) as refused:
        say(type="response.create", model="m", **fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"x"',
        "{",
        '{"type":"response.create"} {}',
        "[" * 100_000,
        '{"type":"response.create","x":' + "[" * 100_000,
    ],
    ids=range(8),
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        read_fields(text)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"type": None},
        {"type": "response.cancel"},
        {"type": ["response.create"]},
        {"type": "response.create", "stream": "yes"},
        {"type": "response.create", "idempotency_key": 1},
        {"type": "response.resume"},
        {"type": "response.resume", "response_id": 7},
        {"type": "response.resume", "response_id": "resp_1", "starting_after": -1},
        {"type": "response.resume", "response_id": "resp_1", "starting_after": 1.5},
        {"type": "response.resume", "response_id": "resp_1", "starting_after": 2**53},
        {"type": "response.resume", "response_id": "resp_1", "starting_after": 10**400},
        {"type": "response.resume", "response_id": "resp_1", "after": 3},
        {"type": "response.steer", "input": "x"},
        {"type": "response.steer", "previous_response_id": "resp_1"},
        {"type": "response.steer", "previous_response_id": "r", "input": "x", "stream_id": "a"},
    ],
    ids=range(16),
)
def test_a_message_of_no_known_kind_or_shape_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedRequest):
        say(**fields)


@pytest.mark.parametrize(
    "lane",
    ["", "a b", "ä", "a/b", "x" * 257, "a\n", 7, None, ["a"], {"a": 1}, "\u0661"],
    ids=range(11),
)
def test_a_name_that_no_lane_can_have_is_refused(lane: object) -> None:
    fields = read_fields(json.dumps({"type": "response.create", "stream_id": lane}))
    with pytest.raises(InvalidLane):
        read_lane(fields)


def test_a_resume_follows_after_the_event_with_that_sequence_number() -> None:
    first = say(type="response.resume", response_id="resp_1")
    later = say(type="response.resume", response_id="resp_1", starting_after=0, stream_id="a")
    assert isinstance(first, Resume)
    assert isinstance(later, Resume)
    assert (first.after, later.after) == (0, 1)


# --- what the server says -------------------------------------------------------------------------


@given(datas=st.lists(st.dictionaries(st.text(), JSON, min_size=1, max_size=3), max_size=4))
def test_without_a_lane_a_message_is_the_journals_event_byte_for_byte(
    datas: list[dict[str, object]],
) -> None:
    events = [Event(n, "", json.dumps(data).encode()) for n, data in enumerate(datas, 1)]
    frames = event_frames([*events, Event(len(events) + 1, "", DONE)], lane_tail(None))
    assert [text.encode() for text in payloads(frames)] == [event.data for event in events]


@given(data=st.dictionaries(st.text(), JSON, min_size=1, max_size=3), lane=LANES)
def test_in_a_lane_a_message_is_the_event_with_the_lanes_name_behind_it(
    data: dict[str, object], lane: str
) -> None:
    raw = json.dumps(data).encode() + b" "
    (text,) = payloads(event_frames([Event(1, "", raw)], lane_tail(lane)))
    assert text.encode().startswith(raw.rstrip()[:-1])
    assert json.loads(text) == {**data, "stream_id": lane}


@pytest.mark.parametrize("body", [None, b'{"error":"no object"}', b"[]", b"not JSON"])
def test_an_error_reads_as_the_sdks_error_whatever_a_provider_said(body: bytes | None) -> None:
    problem = Problem(429, "slow_down", "Slow down.", param="x", is_retryable=True, body=body)
    dialect = all_dialects()["openai.responses"]
    frame = messages.error_frame(problem, "a", dialect, [("retry-after", "3")], "req_1")
    event = sdk_event(frame)
    assert isinstance(event, ResponseWsError)
    assert (event.type, event.status, event.stream_id) == ("error", 429, "a")
    assert (event.error.code, event.error.message) == ("slow_down", "Slow down.")
    assert event.error.headers == {"retry-after": "3"}


def test_a_providers_own_error_is_passed_on_with_every_field() -> None:
    said = {"message": "No.", "type": "t", "code": "c", "param": None, "more": {"a": [1]}}
    problem = Problem(400, "c", "No.", body=json.dumps({"error": said}).encode())
    dialect = all_dialects()["openai.responses"]
    (text,) = payloads(messages.error_frame(problem, None, dialect, [], "req_1"))
    told = json.loads(text)
    assert told == {"type": "error", "status": 400, "error": {**said, "headers": {}}}


@pytest.mark.parametrize("given_input", ["more", [{"role": "user", "content": "more"}]])
def test_refused_steering_gives_the_input_back(given_input: object) -> None:
    steer = say(type="response.steer", previous_response_id="resp_1", input=given_input)
    assert isinstance(steer, Steer)
    frame = messages.steer_failed_frame(
        steer, "steering_not_supported", "No.", lane="a", sequence_number=2
    )
    event = sdk_event(frame)
    assert isinstance(event, ResponseSteerFailedEvent)
    assert (event.error.code, event.stream_id) == ("steering_not_supported", "a")
    (text,) = payloads(frame)
    assert json.loads(text)["steer"] == {"previous_response_id": "resp_1", "input": given_input}
