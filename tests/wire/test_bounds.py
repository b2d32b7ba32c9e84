"""What a request can use at most, and how that is written into it."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import MalformedRequest
from proxy.wire.dialect import Bounded
from proxy.wire.dialects import all_dialects

CHAT, MESSAGES = "openai.chat", "anthropic.messages"
DATA = base64.b64encode(bytes(30_000)).decode()


def bounded(name: str, at_most: int | None = None, **fields: object) -> Bounded:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    if name == MESSAGES:
        body = {"max_tokens": 100, **body}
    dialect = all_dialects()[name]
    return dialect.bounded(dialect.read_ask(json.dumps(body).encode()), at_most)


def sent(name: str, found: Bounded) -> Any:
    return json.loads(all_dialects()[name].upstream_body(found.ask, "m"))


@pytest.mark.parametrize(
    ("fields", "at_most", "written", "output"),
    [
        ({}, None, {"max_completion_tokens": 4096}, 4096),
        ({}, 300, {"max_completion_tokens": 300}, 300),
        ({"max_tokens": 100}, 300, {"max_tokens": 100}, 100),
        ({"max_tokens": 1000}, 300, {"max_tokens": 300}, 300),
        ({"max_completion_tokens": 1000}, 300, {"max_completion_tokens": 300}, 300),
        ({"max_completion_tokens": 1000}, None, {"max_completion_tokens": 1000}, 1000),
        ({"max_tokens": None}, 300, {"max_tokens": None, "max_completion_tokens": 300}, 300),
        ({"max_tokens": 200, "n": 3}, None, {"max_tokens": 200}, 600),
        (
            {"max_tokens": 9, "max_completion_tokens": 900},
            300,
            {"max_tokens": 9, "max_completion_tokens": 300},
            300,
        ),
        ({"n_predict": 9}, 300, {"n_predict": 9, "max_completion_tokens": 300}, 300),
        ({"max_tokens": 9, "n_predict": 900}, 300, {"max_tokens": 9, "n_predict": 300}, 300),
        ({"max_tokens": 9, "n_predict": 900}, None, {"max_tokens": 9, "n_predict": 900}, 900),
    ],
)
def test_a_chat_is_bounded_in_the_field_that_its_client_uses(
    fields: Mapping[str, object], at_most: int | None, written: Mapping[str, object], output: int
) -> None:
    found = bounded(CHAT, at_most, **fields)

    body = sent(CHAT, found)
    assert {
        name: body[name] for name in body if name in written or name.startswith("max_")
    } == written
    assert found.output_tokens == output


@pytest.mark.parametrize(("asked", "at_most", "written"), [(9, None, 9), (9, 5, 5), (5, 9, 5)])
def test_a_message_is_bounded_to_its_own_or_to_what_is_allowed(
    asked: int, at_most: int | None, written: int
) -> None:
    found = bounded(MESSAGES, at_most, max_tokens=asked)

    assert sent(MESSAGES, found)["max_tokens"] == found.output_tokens == written


@pytest.mark.parametrize("name", [CHAT, MESSAGES])
def test_a_bound_that_changes_nothing_leaves_every_byte(name: str) -> None:
    dialect = all_dialects()[name]
    body = b'{"max_tokens" : 1e2 ,"model":"m","messages": [ {"content":"\\u00e9"} ],"x":1.0}'
    ask = dialect.read_ask(body.replace(b"1e2", b"100"))

    assert dialect.upstream_body(dialect.bounded(ask, 100).ask, "m") == dialect.upstream_body(
        ask, "m"
    )


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "9", True, 10**30])
def test_a_bound_that_is_none_is_refused_by_name(wrong: object) -> None:
    for field in ("max_tokens", "max_completion_tokens", "n_predict", "n"):
        with pytest.raises(MalformedRequest, match=f"'{field}' must be a whole number from 1"):
            bounded(CHAT, None, **{field: wrong})


@given(text=st.text(), is_ascii=st.booleans(), name=st.sampled_from([CHAT, MESSAGES]))
def test_every_byte_of_every_text_is_counted_however_it_is_spelled(
    text: str, name: str, is_ascii: bool
) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]}] * 3
    body = {"model": "m", "messages": messages, "tools": [{"name": text}], "max_tokens": 1}
    raw = json.dumps(body, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    dialect = all_dialects()[name]

    found = dialect.bounded(dialect.read_ask(raw), None)

    assert found.input_tokens >= 4 * len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("name", "part", "least", "most"),
    [
        (CHAT, {"type": "image_url", "image_url": {"url": f"data:;base64,{DATA}"}}, 4000, 4500),
        (CHAT, {"type": "image_url", "image_url": {"url": "http://a", "detail": "low"}}, 85, 500),
        (CHAT, {"type": "input_audio", "input_audio": {"data": DATA}}, 400, 900),
        (CHAT, {"type": "file", "file": {"file_data": DATA}}, 10_000, 10_500),
        (MESSAGES, {"type": "image", "source": {"type": "base64", "data": DATA}}, 4800, 5300),
        (MESSAGES, {"type": "document", "source": {"type": "base64", "data": DATA}}, 9999, 10_500),
        (MESSAGES, {"type": "document", "source": {"type": "text", "data": DATA}}, 40_000, 41_000),
        (
            MESSAGES,
            {
                "type": "tool_result",
                "content": [{"type": "image", "source": {"type": "base64", "data": DATA}}],
            },
            4800,
            5300,
        ),
    ],
)
def test_what_is_not_text_is_counted_by_its_table(
    name: str, part: object, least: int, most: int
) -> None:
    found = bounded(name, messages=[{"role": "user", "content": [part]}])

    assert least <= found.input_tokens <= most


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (CHAT, {"type": "text", "text": "hi", "input_audio": {"data": DATA}}),
        (MESSAGES, {"type": "text", "text": DATA, "source": {"type": "base64", "data": ""}}),
        (
            MESSAGES,
            {"type": "tool_use", "input": {"type": "image", "source": {"data": DATA}}},
        ),
        (MESSAGES, {"type": "image", "source": {"type": "url", "url": DATA}}),
    ],
)
def test_a_text_that_looks_like_a_picture_is_counted_as_text(name: str, part: object) -> None:
    found = bounded(name, messages=[{"role": "user", "content": [part]}])

    assert found.input_tokens >= len(DATA)


def test_a_predicted_output_is_output_for_each_answer() -> None:
    prediction = {"type": "content", "content": "x" * 1000}

    found = bounded(CHAT, max_tokens=10, n=2, prediction=prediction)

    assert found.output_tokens >= 2 * 1010


@pytest.mark.parametrize(
    ("at_most", "budget"), [(None, 10_000), (16_000, 10_000), (4000, 2000), (1500, 10_000)]
)
def test_a_bound_that_is_lowered_takes_the_thinking_with_it_where_there_is_room(
    at_most: int | None, budget: int
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 10_000, "display": "omitted"}
    found = bounded(MESSAGES, at_most, max_tokens=20_000, thinking=thinking)
    told = sent(MESSAGES, found)
    assert told["thinking"] == {**thinking, "budget_tokens": budget}
