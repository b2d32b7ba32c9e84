"""What an event adds to its answer, in every dialect: as the folded answer has it."""

import json
from collections import defaultdict
from typing import Any

import pytest

from proxy.wire.deltas import Delta, Kind
from proxy.wire.dialects import all_dialects
from tests.wire import recorded

CHAT = all_dialects()["openai.chat"]
MESSAGES = all_dialects()["anthropic.messages"]


def deltas_of(name: str) -> list[Delta]:
    (dialect,) = (each for key, each in all_dialects().items() if name.split(".")[1] in key)
    return [delta for event in recorded.events(name) for delta in dialect.deltas(event.data)]


def joined(deltas: list[Delta]) -> dict[tuple[Kind, int], str]:
    whole: dict[tuple[Kind, int], str] = defaultdict(str)
    for delta in deltas:
        if delta.choice == 0:
            whole[delta.kind, delta.index if delta.kind is Kind.TOOL else 0] += delta.text
    return whole


def answer(name: str) -> Any:
    return json.loads((recorded.FOLDER / f"{name.removesuffix('.sse')}.json").read_bytes())


@pytest.mark.parametrize("name", recorded.CHAT)
def test_the_pieces_of_a_chat_make_its_message(name: str) -> None:
    message = answer(name)["choices"][0]["message"]

    whole = joined(deltas_of(name))

    audio = message.get("audio") or {}
    said = (message["content"] or "") + (message.get("refusal") or "")
    assert whole[Kind.TEXT, 0] == said + audio.get("transcript", "")
    assert whole[Kind.REASONING, 0] == (message.get("reasoning_content") or "")
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    for index, call in enumerate(calls):
        assert whole[Kind.TOOL, index] == call["arguments"]
    names = [delta.name for delta in deltas_of(name) if delta.name]
    assert names == [call["name"] for call in calls]


@pytest.mark.parametrize("name", recorded.RESPONSES)
def test_the_pieces_of_a_response_make_its_items(name: str) -> None:
    items = answer(name)["output"]

    whole = joined(deltas_of(name))

    parts = [part for item in items for part in item.get("content") or ()]
    texts = [part.get("text") or part.get("refusal") for part in parts]
    thoughts = [part["text"] for part in parts if part["type"] == "reasoning_text"]
    summed = [part["text"] for item in items for part in item.get("summary") or ()]
    assert whole[Kind.TEXT, 0] == "".join(text for text in texts if text not in thoughts)
    assert whole[Kind.REASONING, 0] == "".join([*thoughts, *summed])
    for index, item in enumerate(items):
        given = [item[key] for key in ("arguments", "input", "code") if key in item]
        assert whole[Kind.TOOL, index] == "".join(given)
    names = [delta.name for delta in deltas_of(name) if delta.name]
    calls = [item for item in items if item["type"].endswith("_call")]
    assert names == [call.get("name", call["type"]) for call in calls]


@pytest.mark.parametrize("name", recorded.MESSAGES)
def test_the_pieces_of_a_message_make_its_blocks(name: str) -> None:
    blocks = answer(name)["content"]

    whole = joined(deltas_of(name))

    assert whole[Kind.TEXT, 0] == "".join(b["text"] for b in blocks if b["type"] == "text")
    thought = "".join(b["thinking"] for b in blocks if b["type"] == "thinking")
    assert whole[Kind.REASONING, 0] == thought
    calls = {index: block for index, block in enumerate(blocks) if "input" in block}
    for index, call in calls.items():
        assert json.loads(whole[Kind.TOOL, index] or "{}") == call["input"]
    names = [delta.name for delta in deltas_of(name) if delta.name]
    assert names == [call["name"] for call in calls.values()]


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"choices":[{"delta":{"content":7,"tool_calls":[7,{}],"audio":[]}}]}',
        b'{"type":"content_block_delta","index":"x","delta":{"type":"text_delta","text":7}}',
        b'{"type":"content_block_start","content_block":[]}',
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_says_nothing(dialect: Any, data: bytes) -> None:
    assert list(dialect.deltas(data)) == []


def test_each_of_several_choices_is_told_apart() -> None:
    data = b'{"choices":[{"index":1,"delta":{"content":"b"}},{"delta":{"content":"a"}}]}'

    assert [(d.choice, d.text) for d in CHAT.deltas(data)] == [(1, "b"), (0, "a")]


def test_reasoning_that_is_sent_by_both_its_names_is_said_once() -> None:
    data = b'{"choices":[{"delta":{"reasoning":"so","reasoning_content":"so"}}]}'

    assert list(CHAT.deltas(data)) == [Delta(Kind.REASONING, "so")]


def test_a_call_of_the_old_kind_is_a_call_too() -> None:
    data = b'{"choices":[{"delta":{"function_call":{"name":"f","arguments":"{"}}}]}'

    assert list(CHAT.deltas(data)) == [Delta(Kind.TOOL, "{", 0, "f")]
