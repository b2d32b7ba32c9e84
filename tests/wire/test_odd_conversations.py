"""Conversations as clients really have them, that a provider of another dialect has refused."""

import json

import pytest

from tests.wire.sdk_types import CHAT, MESSAGES, RESPONSES
from tests.wire.translating import BODIES, Object, translates

PNG = "data:image/png;base64,AAAA"
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
}
USES = [{"type": "tool_use", "id": name, "name": "f", "input": {}} for name in ("c1", "c2")]
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
