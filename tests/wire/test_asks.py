import json
from itertools import product
from typing import Any

import pytest

from proxy.errors import MalformedRequest
from proxy.wire.dialect import Dialect
from proxy.wire.dialects import all_dialects

CHAT = all_dialects()["openai.chat"]
MESSAGES = all_dialects()["anthropic.messages"]
RESPONSES = all_dialects()["openai.responses"]
BOTH = [CHAT, MESSAGES]
LEAST: dict[str, Any] = {"model": "m", "messages": [], "max_tokens": 1}


def body(**fields: object) -> bytes:
    return json.dumps({**LEAST, **fields}).encode()


def refusal(dialect: Dialect, given: bytes) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as raised:
        dialect.read_ask(given)
    return raised.value


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    "name", ["Model", "MAX_TOKENS", "max_token\u017f", "Stream", "N", "Max_completion_to\u212aens"]
)
def test_a_name_that_some_servers_take_for_another_is_refused(dialect: Dialect, name: str) -> None:
    error = refusal(dialect, body(**{name: 100_000}))
    assert (error.status, error.param) == (400, name)
    assert name.casefold() in str(error)


@pytest.mark.parametrize(
    "name", ["Model", "Max_Output_Tokens", "BACKGROUND", "Input", "previous_re\u017fponse_id"]
)
def test_a_name_that_some_servers_take_for_one_of_responses_is_refused(name: str) -> None:
    given = json.dumps({"model": "m", "input": "hi", name: 100_000}).encode()
    error = refusal(RESPONSES, given)
    assert (error.status, error.param) == (400, name)
    assert name.casefold() in str(error)


@pytest.mark.parametrize("name", ["openai.chat", "anthropic.messages"])
def test_the_registry_knows_each_dialect_by_its_name(name: str) -> None:
    assert all_dialects()[name].name == name


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    "given", [b"", b"{", b"[]", b"null", b'"x"', b"{}x", b'{"model":"\xff"}', b"\xef\xbb\xbf{}"]
)
def test_a_body_that_is_no_json_object_is_refused(dialect: Dialect, given: bytes) -> None:
    assert refusal(dialect, given).status == 400


@pytest.mark.parametrize("dialect", BOTH)
def test_a_body_that_is_nested_without_end_is_refused(dialect: Dialect) -> None:
    given = b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert "nested" in str(refusal(dialect, given))


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *product(["model"], ["", 1, None, ["m"], {}]),
        *product(["messages"], ["hi", None, {}, 1]),
        *product(["stream"], ["true", 1, 0, [], {}]),
    ],
)
def test_a_refusal_names_the_field(dialect: Dialect, field: str, value: object) -> None:
    error = refusal(dialect, body(**{field: value}))
    assert error.param == field
    assert field in str(error)


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_named(dialect: Dialect, field: str) -> None:
    rest = {key: value for key, value in LEAST.items() if key != field}
    assert refusal(dialect, json.dumps(rest).encode()).param == field


@pytest.mark.parametrize("value", [None, 0, -1, 1.5, "1", True, [], {}])
def test_messages_needs_max_tokens_from_one(value: object) -> None:
    assert refusal(MESSAGES, body(max_tokens=value)).param == "max_tokens"
    assert CHAT.read_ask(body(max_tokens=value)).model == "m"


def test_messages_cannot_do_without_max_tokens() -> None:
    assert refusal(MESSAGES, b'{"model":"m","messages":[]}').param == "max_tokens"


@pytest.mark.parametrize("value", [[], "x", 1, True])
def test_stream_options_is_an_object(value: object) -> None:
    assert refusal(CHAT, body(stream=True, stream_options=value)).param == "stream_options"


@pytest.mark.parametrize("value", [[], "true", 1, {}])
def test_include_usage_is_true_or_false(value: object) -> None:
    error = refusal(CHAT, body(stream=True, stream_options={"include_usage": value}))
    assert error.param == "stream_options.include_usage"


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    ("fields", "is_streamed"),
    [({}, False), ({"stream": None}, False), ({"stream": False}, False), ({"stream": True}, True)],
)
def test_an_ask_is_streamed_if_it_says_so(
    dialect: Dialect, fields: dict[str, object], is_streamed: bool
) -> None:
    ask = dialect.read_ask(body(**fields))
    assert ask.model == "m"
    assert ask.is_streamed is is_streamed


@pytest.mark.parametrize(
    ("fields", "wants_usage"),
    [
        ({"stream": True}, False),
        ({"stream": True, "stream_options": None}, False),
        ({"stream": True, "stream_options": {}}, False),
        ({"stream": True, "stream_options": {"include_usage": None}}, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
        ({}, True),
        ({"stream": False, "stream_options": {"include_usage": False}}, True),
    ],
)
def test_usage_is_wanted_if_it_was_asked_for_or_belongs_to_the_answer(
    fields: dict[str, object], wants_usage: bool
) -> None:
    assert CHAT.read_ask(body(**fields)).wants_usage is wants_usage


def test_messages_always_wants_usage() -> None:
    assert MESSAGES.read_ask(body(stream=True)).wants_usage


def test_every_other_field_goes_upstream_as_it_was_written() -> None:
    given = (
        b'{ "seed" : 1.50e0 , "model":"m","max_tokens":7,"x\\u0041":"\\u00e9\\/", "stream":\tfalse,'
        b'"messages":[ {"role": "user",  "content":"\xc5\x81\xf0\x9f\x90\x8d\xe2\x80\xa8"} ],"n":12345678901234567890123}'
    )
    sent = MESSAGES.upstream_body(MESSAGES.read_ask(given), 'gpt "5"')
    assert sent == (
        b'{"seed":1.50e0,"model":"gpt \\"5\\"","max_tokens":7,"xA":"\\u00e9\\/","stream":true,'
        b'"messages":[ {"role": "user",  "content":"\xc5\x81\xf0\x9f\x90\x8d\xe2\x80\xa8"} ],"n":12345678901234567890123}'
    )


def test_a_streamed_answer_is_asked_for_even_if_the_client_did_not() -> None:
    sent = MESSAGES.upstream_body(MESSAGES.read_ask(body()), "target")
    assert json.loads(sent) == {**LEAST, "model": "target", "stream": True}


def test_chat_always_asks_for_usage_and_keeps_other_options() -> None:
    given = (
        b'{"stream_options":{"include_obfuscation": false,"include_usage":false,"x":[ ]},'
        b'"model":"m","messages":[]}'
    )
    sent = CHAT.upstream_body(CHAT.read_ask(given), "target")
    assert sent == (
        b'{"stream_options":{"include_obfuscation":false,"include_usage":true,"x":[ ]},'
        b'"model":"target","messages":[],"stream":true}'
    )


def test_options_that_were_not_given_come_last() -> None:
    sent = CHAT.upstream_body(CHAT.read_ask(b'{"model":"m","messages":[],"stream":true}'), "t")
    assert sent == (
        b'{"model":"t","messages":[],"stream":true,"stream_options":{"include_usage":true}}'
    )


def test_a_field_given_twice_goes_upstream_once() -> None:
    given = b'{"model":"cheap","messages":[],"model":"dear"}'
    ask = CHAT.read_ask(given)
    assert ask.model == "dear"
    assert CHAT.upstream_body(ask, "t").count(b'"model"') == 1
