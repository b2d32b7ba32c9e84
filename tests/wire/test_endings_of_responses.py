"""How a response ends that is not completed: as its SDKs take it, under its own id."""

import json
from typing import Any

import pytest

from proxy.errors import MidstreamError, ProviderRefused, ProviderTruncated, stream_problem
from proxy.stream import Ending, Event, Frame, Problem
from proxy.wire.dialect import SoFar
from proxy.wire.responses import OpenAIResponses
from proxy.wire.responses.ids import response_id
from tests.wire import recorded

RESPONSES = OpenAIResponses()
TEXT = recorded.events("text.responses.sse")
ID = json.loads(TEXT[0].data)["response"]["id"]


def read(frame: Frame) -> Any:
    event = json.loads(frame.data)
    assert event["type"] == frame.name
    return event


def test_a_failure_is_the_response_so_far_with_its_reason_and_the_next_number() -> None:
    problem = ProviderTruncated().problem()
    event = read(recorded.last_frame(RESPONSES, Ending.FAILED, problem, TEXT[:6]))
    assert event["type"] == "response.failed"
    assert event["sequence_number"] == 6
    response = event["response"]
    assert (response["id"], response["status"]) == (ID, "failed")
    assert response["error"] == {"code": "provider_truncated", "message": problem.message}
    assert response["output"][0]["content"][0]["text"] == "Hello there"


@pytest.mark.parametrize(
    ("ending", "kind", "status"),
    [
        (Ending.CANCELLED, "response.incomplete", "cancelled"),
        (Ending.INTERRUPTED, "response.failed", "failed"),
    ],
)
def test_who_stopped_a_response_is_told_by_its_status(
    ending: Ending, kind: str, status: str
) -> None:
    problem = stream_problem(ending, "asked for", recorded.BIRTH.id)
    event = read(recorded.last_frame(RESPONSES, ending, problem, TEXT[:4]))
    assert (event["type"], event["response"]["status"]) == (kind, status)
    error = event["response"]["error"]
    assert error is None if status == "cancelled" else error["code"] == "stream_interrupted"


def test_a_response_that_has_said_nothing_is_named_after_its_stream() -> None:
    event = read(recorded.last_frame(RESPONSES, Ending.FAILED, ProviderTruncated().problem()))
    assert event["sequence_number"] == 0
    assert event["response"]["id"] == response_id(recorded.BIRTH.id)
    assert event["response"]["model"] == recorded.BIRTH.model
    assert event["response"]["output"] == []


def test_of_a_long_response_or_one_that_is_not_at_hand_the_end_holds_only_whose_it_is() -> None:
    problem = ProviderTruncated().problem()
    delta = b'{"type":"response.output_text.delta","delta":"%b"}' % (b"x" * 1024 * 1024)
    long = [*TEXT[:5], Event(6, "", delta)]
    for so_far in (SoFar(recorded.BIRTH, 6, long), SoFar(recorded.BIRTH, 99, TEXT[:5])):
        (frame,) = RESPONSES.last_frames(Ending.FAILED, problem, so_far)
        event = read(frame)
        assert event["sequence_number"] == so_far.last_id
        assert (event["response"]["id"], event["response"]["output"]) == (ID, [])


def end_of(name: str) -> tuple[list[Event], list[Frame]]:
    """The events of a recording that pass, and those with which the stream then ends."""
    listener = RESPONSES.translator(RESPONSES.read_ask(b'{"model":"m"}'))
    heard: list[Frame] = []
    try:
        for frame in recorded.frames(name):
            heard += listener.hear(frame)
    except MidstreamError as error:
        events = recorded.numbered(heard)
        so_far = SoFar(recorded.BIRTH, len(events), events)
        return events, list(RESPONSES.last_frames(Ending.FAILED, error.problem(), so_far))
    raise AssertionError("it fails")


@pytest.mark.parametrize("name", recorded.FAILING)
def test_a_providers_own_failure_keeps_its_bytes_and_comes_before_ours(name: str) -> None:
    events, last = end_of(name)
    theirs = recorded.frames(name)[len(events) :]
    assert last[0] == theirs[0]
    assert read(last[-1])["type"] == "response.failed"
    everything = [event.data for event in events] + [frame.data for frame in last]
    numbers = [json.loads(data)["sequence_number"] for data in everything]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("name", recorded.FAILING)
def test_a_response_that_failed_is_folded_as_failed_with_its_reason(name: str) -> None:
    events, last = end_of(name)
    for count in range(1, len(last) + 1):
        response = json.loads(RESPONSES.fold(recorded.numbered([*_frames(events), *last[:count]])))
        assert response["status"] == "failed"
        assert response["error"]["message"]
        assert bool(response["output"]) == ("early" not in name)


def _frames(events: list[Event]) -> list[Frame]:
    return [Frame(event.name, event.data) for event in events]


def test_the_body_of_an_http_error_is_no_event() -> None:
    body = b'{"type":"error","error":{"type":"api_error","message":"no"}}'
    problem = ProviderRefused("p", 500, body=body).problem()
    event = read(recorded.last_frame(RESPONSES, Ending.FAILED, problem, TEXT[:2]))
    assert event["type"] == "response.failed"
    assert RESPONSES.error_body(problem, "req_1") == body


def test_the_next_number_is_right_even_where_events_before_it_were_lost() -> None:
    body = b'{"type":"response.failed","sequence_number":9,"response":{"id":"resp_1"}}'
    problem = Problem(status=500, code="c", message="m", body=body)
    frame = recorded.last_frame(RESPONSES, Ending.FAILED, problem, TEXT[:3])
    assert frame.data == body.replace(b"9", b"3")


@pytest.mark.parametrize("odd", [b"[" * 900 + b"]" * 900, b"1" * 5000, b'"\\ud83d"'])
def test_what_cannot_be_told_once_more_is_left_out_of_the_end(odd: bytes) -> None:
    events = [Event(1, "", TEXT[0].data.replace(b'"metadata":{}', b'"metadata":%b' % odd))]
    event = read(
        recorded.last_frame(
            RESPONSES, Ending.FAILED, Problem(status=500, code="c", message="m"), events
        )
    )
    assert event["type"] == "response.failed"
