"""Conversations as clients really have them, that a provider of another dialect has refused."""

import json

import msgspec
import pytest

from proxy.errors import MalformedRequest
from proxy.wire.dialects import all_dialects
from proxy.wire.translation import translated
from tests.wire.sdk_types import CHAT, MESSAGES, RESPONSES
from tests.wire.translating import BODIES, Object, translates

PNG = "data:image/png;base64,AAAA"
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
}
USES: list[Object] = [
    {"type": "tool_use", "id": name, "name": "f", "input": {}} for name in ("c1", "c2")
]
CALLS = [
    {"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"}
    for name in ("c1", "c2")
]
TWO_TURNS_OF_RESULTS: Object = {
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": USES},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [PICTURE]}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c2", "content": "told"},
                {"type": "text", "text": "go on"},
            ],
        },
    ]
}
WORDS_BETWEEN_RESULTS: Object = {
    "input": [
        {"role": "user", "content": "hi"},
        *CALLS,
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_image", "image_url": PNG}],
        },
        {"role": "user", "content": "go on"},
        {"type": "function_call_output", "call_id": "c2", "output": "told"},
    ]
}


@pytest.mark.parametrize(
    ("ours", "said"), [(MESSAGES, TWO_TURNS_OF_RESULTS), (RESPONSES, WORDS_BETWEEN_RESULTS)]
)
def test_nothing_stands_between_calls_and_their_results_in_chat(ours: str, said: Object) -> None:
    sent = translates(ours, CHAT, {**BODIES[ours], **said})["messages"]
    assert [message["role"] for message in sent[:4]] == ["user", "assistant", "tool", "tool"]
    assert [message["tool_call_id"] for message in sent[2:4]] == ["c1", "c2"]
    assert {message["role"] for message in sent[4:]} == {"user"}
    assert "go on" in json.dumps(sent[4:])
    assert PNG in json.dumps(sent[4:])


def test_a_quota_that_bounds_an_answer_bounds_its_thinking_too() -> None:
    ours, theirs = all_dialects()[CHAT], all_dialects()[MESSAGES]
    body = {**BODIES[CHAT], "max_completion_tokens": 32_000, "reasoning_effort": "high"}
    asked = ours.read_ask(json.dumps(body).encode())
    sent = theirs.bounded(translated(ours, theirs, asked, "claude-3-7-sonnet", 4000), 4000).ask
    fields = msgspec.json.decode(theirs.upstream_body(sent, "claude-3-7-sonnet"))
    assert fields["max_tokens"] == 4000
    assert fields["thinking"] == {"type": "enabled", "budget_tokens": 2000}


def test_a_quota_too_small_to_think_in_is_said_to_be_so() -> None:
    ours, theirs = all_dialects()[CHAT], all_dialects()[MESSAGES]
    body = {**BODIES[CHAT], "reasoning_effort": "high"}
    asked = ours.read_ask(json.dumps(body).encode())
    with pytest.raises(MalformedRequest, match="at least 2048 tokens") as refused:
        translated(ours, theirs, asked, "claude-3-7-sonnet", 1000)
    assert refused.value.param == "reasoning_effort"


@pytest.mark.parametrize(
    ("written", "told"), [("image/jpg", "image/jpeg"), ("image/PNG", "image/png")]
)
def test_a_picture_is_what_its_type_means_however_it_is_written(written: str, told: str) -> None:
    shown = {"type": "image_url", "image_url": {"url": f"data:{written};base64,AAAA"}}
    said = {"messages": [{"role": "user", "content": [shown]}]}
    (message,) = translates(CHAT, MESSAGES, {**BODIES[CHAT], **said})["messages"]
    source = {"type": "base64", "media_type": told, "data": "AAAA"}
    assert message["content"] == [{"type": "image", "source": source}]


def test_an_instruction_between_results_is_told_to_chat_after_them() -> None:
    results = [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name, "content": name}]}
        for name in ("c1", "c2")
    ]
    said = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": USES},
        results[0],
        {"role": "system", "content": "be brief"},
        results[1],
    ]
    sent = translates(MESSAGES, CHAT, {**BODIES[MESSAGES], "messages": said})["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "system"]
