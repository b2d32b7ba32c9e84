"""What is asked of a provider that goes on with an answer, and what nobody is asked."""

import json
from typing import Any

import pytest

from proxy.stream import Event, Usage
from proxy.wire.asks import GO_ON
from proxy.wire.dialects import all_dialects
from proxy.wire.taking_up import Continuation, Finish
from tests.translation.answers import CHAT, DIALECTS, MESSAGES, RESPONSES
from tests.translation.joining import BODIES, asked, heard, taken_or_why_not, taken_up
from tests.translation.telling import ALL
from tests.wire import recorded

BEGUN = heard(CHAT, CHAT, recorded.raw("text.chat.sse"))[:5]
SAID = "".join(delta.text for event in BEGUN for delta in ALL[CHAT].deltas(event.data))


def sent(ours: str, theirs: str, events: list[Event], **how: Any) -> dict[str, Any]:
    taken = taken_up(ours, theirs, events, **how)
    assert isinstance(taken, Continuation)
    body: dict[str, Any] = json.loads(all_dialects()[theirs].upstream_body(taken.ask, "m"))
    return body


@pytest.mark.parametrize("theirs", DIALECTS)
def test_the_text_so_far_and_an_instruction_come_last(theirs: str) -> None:
    body = sent(CHAT, theirs, BEGUN)

    said = body["input" if theirs == RESPONSES else "messages"]
    assert said[-2:] == [
        {"role": "assistant", "content": SAID},
        {"role": "user", "content": GO_ON},
    ]
    assert {key: said[0][key] for key in ("role", "content")} == {"role": "user", "content": "x"}
    bounds = {CHAT: "max_tokens", MESSAGES: "max_tokens", RESPONSES: "max_output_tokens"}
    assert body[bounds[theirs]] == 500 - 100


def test_one_finished_choice_of_two_is_not_the_whole_answer() -> None:
    body = b'{"model":"m","messages":[],"n":%d}'
    events = heard(CHAT, CHAT, recorded.raw("text.chat.sse"))
    stopped = next(n for n, event in enumerate(events, 1) if b'"stop"' in event.data)
    assert isinstance(taken_or_why_not(CHAT, CHAT, events[:stopped], body=body % 1), Finish)
    assert taken_or_why_not(CHAT, CHAT, events[:stopped], body=body % 2) == "n"


def test_a_prefill_is_the_beginning_of_the_answer() -> None:
    assert sent(CHAT, CHAT, BEGUN, prefill=True)["messages"][-1] == {
        "role": "assistant",
        "content": SAID,
        "prefix": True,
    }
    body = sent(CHAT, MESSAGES, BEGUN, prefill=True)
    assert body["messages"][-1] == {"role": "assistant", "content": SAID.rstrip()}


@pytest.mark.parametrize(
    ("model", "is_prefilled"),
    [
        ("claude-3-5-haiku-20241022", True),
        ("claude-sonnet-4-5", True),
        ("claude-opus-4-6", False),
        ("claude-sonnet-5", False),
    ],
)
def test_only_older_models_of_anthropic_are_prefilled(model: str, *, is_prefilled: bool) -> None:
    dialect = ALL[MESSAGES]
    assert dialect.continuing(asked(MESSAGES), model, "x", None).is_prefilled is is_prefilled


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","max_tokens":9000,"messages":[],"thinking":{"type":"enabled"}}',
        b'{"model":"m","max_tokens":9000,"messages":[{"role":"assistant","content":"{"}]}',
    ],
)
def test_thinking_and_a_prefill_of_the_client_forbid_another(body: bytes) -> None:
    found = ALL[MESSAGES].continuing(asked(MESSAGES, body), "claude-3-opus", "x", prefill=True)
    assert not found.is_prefilled
    assert json.loads(bytes(found.ask.fields["messages"]))[-1]["content"] == GO_ON


def test_the_clients_messages_keep_their_bytes() -> None:
    body = b'{"model":"m","messages":[ {"role" :"user","content":"\\u0041"} ],"x":1e2}'
    taken = taken_up(CHAT, CHAT, BEGUN, body=body)
    assert isinstance(taken, Continuation)
    fields = taken.ask.fields
    assert bytes(fields["messages"]).startswith(b'[ {"role" :"user","content":"\\u0041"} ,{')
    assert bytes(fields["x"]) == b"1e2"


def test_the_bound_is_never_less_than_a_provider_takes() -> None:
    used = Usage(output_tokens=499)
    assert sent(CHAT, CHAT, BEGUN, used=used)["max_tokens"] == 16
    small = b'{"model":"m","messages":[],"max_tokens":3}'
    assert sent(CHAT, CHAT, BEGUN, used=used, body=small)["max_tokens"] == 3


def test_where_nothing_was_said_the_request_is_the_same() -> None:
    assert sent(CHAT, CHAT, BEGUN[:1])["messages"] == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("ours", "more"),
    [
        (CHAT, {"n": 2}),
        (CHAT, {"response_format": {"type": "json_object"}}),
        (CHAT, {"modalities": ["text", "audio"]}),
        (CHAT, {"logprobs": True}),
        (CHAT, {"web_search_options": {"search_context_size": "low"}}),
        (CHAT, {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
        (CHAT, {"guided_regex": "a+"}),
        (MESSAGES, {"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        (MESSAGES, {"mcp_servers": [{"type": "url", "url": "https://example.com"}]}),
        (RESPONSES, {"text": {"format": {"type": "json_object"}}}),
        (RESPONSES, {"tools": [{"type": "web_search"}]}),
        (RESPONSES, {"include": ["message.output_text.logprobs"]}),
        (RESPONSES, {"conversation": "conv_1"}),
    ],
)
def test_what_one_model_has_to_make_is_named(ours: str, more: dict[str, object]) -> None:
    kind = ours.partition(".")[2]
    events = heard(ours, ours, recorded.raw(f"text.{kind}.sse"))[:5]
    body = json.dumps({**json.loads(BODIES[ours]), **more}).encode()

    assert isinstance(taken_or_why_not(ours, ours, events), Continuation)
    assert taken_or_why_not(ours, ours, events, body) == next(iter(more))


@pytest.mark.parametrize(
    ("ours", "name", "reason"),
    [
        (CHAT, "tool.chat.sse", "tool_call"),
        (MESSAGES, "two_tools.messages.sse", "tool_call"),
        (RESPONSES, "two_tools.responses.sse", "tool_call"),
        (CHAT, "refusal.chat.sse", "refusal"),
        (RESPONSES, "refusal.responses.sse", "refusal"),
        (MESSAGES, "citations.messages.sse", "citations"),
        (MESSAGES, "web_search.messages.sse", "unheard"),
        (RESPONSES, "web_search.responses.sse", "unheard"),
        (CHAT, "audio.chat.sse", "unheard"),
        (CHAT, "choices.chat.sse", "unheard"),
        (MESSAGES, "thinking.messages.sse", "reasoning"),
        (RESPONSES, "reasoning.responses.sse", "reasoning"),
    ],
)
def test_what_an_answer_has_begun_to_say_is_named(ours: str, name: str, reason: str) -> None:
    events = heard(ours, ours, recorded.raw(name))
    assert reason in [taken_or_why_not(ours, ours, events[:cut]) for cut in range(len(events))]


@pytest.mark.parametrize("ours", DIALECTS)
def test_nobody_goes_on_with_an_answer_that_is_whole(ours: str) -> None:
    events = heard(ours, ours, recorded.raw(f"text.{ours.partition('.')[2]}.sse"))
    assert taken_or_why_not(ours, ours, events) == "complete"
