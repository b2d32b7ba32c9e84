import json
from typing import Any

import pytest

from proxy.errors import (
    MalformedRequest,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderTruncated,
    stream_problem,
)
from proxy.stream import Ending, Problem, StreamId
from proxy.wire.dialect import Dialect
from proxy.wire.dialects import all_dialects
from tests.wire import recorded

CHAT = all_dialects()["openai.chat"]
MESSAGES = all_dialects()["anthropic.messages"]
STREAM = StreamId("st_" + "0" * 26)
CHAT_ERROR = b'{"error":{"message":"no","type":"server_error","param":null,"code":null,"x":1.50}}'
MESSAGES_ERROR = (
    b'{"type":"error", "error":{"type":"overloaded_error","message":"no"},"request_id":"r"}'
)


def problem(status: int, code: str = "c", body: bytes | None = None) -> Problem:
    return Problem(status=status, code=code, message='why "so"?\n', param="p", body=body)


def read(data: bytes) -> Any:
    return json.loads(data)


def test_an_ending_of_chat_is_an_error_chunk_without_a_name() -> None:
    frame = recorded.last_frame(CHAT, Ending.FAILED, ProviderTruncated().problem())
    assert frame.name == ""
    assert read(frame.data) == {
        "error": {
            "message": "The provider stopped in the middle of the answer.",
            "type": "server_error",
            "param": None,
            "code": "provider_truncated",
        }
    }


def test_an_ending_of_messages_is_an_error_event_with_its_name() -> None:
    frame = recorded.last_frame(MESSAGES, Ending.FAILED, ProviderStalled("idle", 5.0).problem())
    assert frame.name == "error"
    assert read(frame.data) == {
        "type": "error",
        "error": {
            "type": "timeout_error",
            "message": "The provider fell silent within 5 s.",
            "details": {"error_code": "provider_stalled"},
        },
    }


@pytest.mark.parametrize("ending", [Ending.CANCELLED, Ending.INTERRUPTED])
def test_who_stopped_a_stream_is_told_by_the_code(ending: Ending) -> None:
    stopped = stream_problem(ending, "asked for", STREAM)
    chat = read(recorded.last_frame(CHAT, ending, stopped).data)["error"]
    messages = read(recorded.last_frame(MESSAGES, ending, stopped).data)["error"]
    assert chat["code"] == messages["details"]["error_code"] == f"stream_{ending}"
    assert STREAM in chat["message"]
    assert STREAM in messages["message"]


def test_without_an_exact_code_the_ending_is_the_code() -> None:
    nameless = problem(500, code="")
    chat = read(recorded.last_frame(CHAT, Ending.FAILED, nameless).data)["error"]
    messages = read(recorded.last_frame(MESSAGES, Ending.FAILED, nameless).data)["error"]
    assert chat["code"] == messages["details"]["error_code"] == "stream_failed"


@pytest.mark.parametrize(("dialect", "body"), [(CHAT, CHAT_ERROR), (MESSAGES, MESSAGES_ERROR)])
def test_a_providers_own_error_passes_byte_for_byte(dialect: Dialect, body: bytes) -> None:
    reported = ProviderReported(body, code="c", message="no", status=500).problem()
    assert recorded.last_frame(dialect, Ending.FAILED, reported).data == body
    assert dialect.error_body(reported, "req_1") == body
    refused = ProviderRefused("p", 500, body=body).problem()
    assert dialect.error_body(refused, "req_1") == body


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"<html>502</html>", b"[]", b"{}", b'{"error":null}', b'{"error":{}}', b'"error"'],
        *[b'{"message":"x"}', b'{"error":"\xff"}', b'{"error":', b'{"error":"\\ud83d"}'],
        b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_an_sdk_would_not_take_for_an_error_is_replaced(dialect: Dialect, body: bytes) -> None:
    for data in (
        recorded.last_frame(dialect, Ending.FAILED, problem(502, body=body)).data,
        dialect.error_body(problem(502, body=body), "req_1"),
    ):
        assert read(data)["error"]["message"] == 'why "so"?\n'


@pytest.mark.parametrize("end", [b"\n", b"\r"])
@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
def test_an_error_of_several_lines_is_a_body_but_no_event(dialect: Dialect, end: bytes) -> None:
    body = b"{" + end + b' "error": {"message": "theirs"}}'
    assert dialect.error_body(problem(500, body=body), "req_1") == body
    data = recorded.last_frame(dialect, Ending.FAILED, problem(500, body=body)).data
    assert read(data)["error"]["message"] == 'why "so"?\n'
    assert b"\n" not in data
    assert b"\r" not in data


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, "invalid_request_error") for status in (400, 401, 404, 409, 410, 413, 422)],
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (499, "request_cancelled"),
        *[(status, "server_error") for status in (500, 502, 504)],
        *[(status, "service_unavailable_error") for status in (503, 529)],
    ],
)
def test_an_error_of_chat_has_the_type_of_its_status(status: int, kind: str) -> None:
    body = read(CHAT.error_body(problem(status), "req_1"))
    assert body == {"error": {"message": 'why "so"?\n', "type": kind, "param": "p", "code": "c"}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, "invalid_request_error") for status in (400, 405, 406, 410, 415, 422)],
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "timeout_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        *[(status, "api_error") for status in (499, 500, 502, 503)],
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_of_messages_has_the_type_of_its_status(status: int, kind: str) -> None:
    body = read(MESSAGES.error_body(problem(status), "req_1"))
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": 'why "so"?\n', "details": {"error_code": "c"}},
        "request_id": "req_1",
    }


def test_a_refused_field_is_named_to_a_client_of_chat() -> None:
    refused = MalformedRequest("'model' is required.", param="model").problem()
    assert read(CHAT.error_body(refused, "req_1"))["error"]["param"] == "model"


def test_a_heartbeat_is_what_the_sdks_survive() -> None:
    assert CHAT.heartbeat == b": ping\n"
    assert MESSAGES.heartbeat == b'event: ping\ndata: {"type":"ping"}\n\n'
