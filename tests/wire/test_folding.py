import json
from typing import Any

import pytest

from proxy.errors import ProviderGarbled
from proxy.stream import DONE, Ending, Event, Problem
from proxy.wire.assembly import Text, encode, grow
from proxy.wire.dialects import all_dialects
from tests.wire import recorded

CHAT = all_dialects()["openai.chat"]
MESSAGES = all_dialects()["anthropic.messages"]
START = b'{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":3}}}'


def fold(events: list[Event]) -> Any:
    name = "anthropic.messages" if any(event.name for event in events) else "openai.chat"
    if any(b'"response' in event.data for event in events):
        name = "openai.responses"
    return json.loads(all_dialects()[name].fold(events))


def fold_chat(*data: bytes) -> Any:
    return json.loads(CHAT.fold(recorded.data_events(*data)))


def fold_messages(*data: bytes) -> Any:
    return json.loads(MESSAGES.fold(recorded.data_events(*data)))


def delta(fields: object, index: int = 0) -> bytes:
    return json.dumps({"choices": [{"index": index, "delta": fields}]}).encode()


def message(*deltas: object) -> Any:
    answer = fold_chat(*[delta(one) for one in deltas])
    return answer["choices"][0]["message"]


def start(index: int, block: object) -> bytes:
    event = {"type": "content_block_start", "index": index, "content_block": block}
    return json.dumps(event).encode()


def block_delta(index: int, fields: object) -> bytes:
    event = {"type": "content_block_delta", "index": index, "delta": fields}
    return json.dumps(event).encode()


@pytest.mark.parametrize("name", recorded.ALL)
def test_a_folded_recording_is_the_unstreamed_answer(name: str) -> None:
    twin = recorded.FOLDER / (name.removesuffix(".sse") + ".json")
    assert fold(recorded.events(name)) == json.loads(twin.read_bytes())


@pytest.mark.parametrize("name", recorded.ALL)
def test_an_answer_can_be_folded_after_any_event(name: str) -> None:
    events = recorded.events(name)
    for count in range(0, len(events) + 1, max(1, len(events) // 30)):
        answer = fold(events[:count])
        assert answer["id"] == "" or answer["id"] == fold(events)["id"]


# --- chat --------------------------------------------------------------------------------


def test_of_no_events_chat_makes_an_answer_without_choices() -> None:
    empty = {"id": "", "object": "chat.completion", "created": 0, "model": "", "choices": []}
    assert fold_chat() == fold_chat(DONE) == empty


@pytest.mark.parametrize(
    ("deltas", "content"),
    [
        ([{"role": "assistant"}], None),
        ([{"content": None}], None),
        ([{"content": ""}], ""),
        ([{"content": ""}, {"content": None}, {}], ""),
        ([{"content": None}, {"content": "a"}, {"content": "b"}], "ab"),
    ],
)
def test_content_is_null_until_it_is_said_if_only_to_be_empty(
    deltas: list[object], content: str | None
) -> None:
    assert message(*deltas) == {"role": "assistant", "content": content, "refusal": None}


def test_what_servers_repeat_is_said_once() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"arguments": "x"}}
    folded = message(
        {"role": "assistant", "tool_calls": [call]}, {"role": "", "tool_calls": [call]}
    )
    assert folded["role"] == "assistant"
    assert folded["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"arguments": "xx"}}
    ]


def test_tool_calls_stand_by_their_index_whatever_order_they_came_in() -> None:
    folded = message(
        {"tool_calls": [{"index": 2, "id": "c"}]},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "1"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "2"}}, {"index": 1, "id": "b"}]},
    )
    calls = [{"id": "a", "function": {"arguments": "12"}}, {"id": "b"}, {"id": "c"}]
    assert folded["tool_calls"] == calls


def test_fields_unheard_of_grow_by_their_kind() -> None:
    folded = message(
        {"text": "a", "list": [1], "map": {"x": "1"}, "number": 1, "flag": True, "kind": "a"},
        {"text": "b", "list": [2], "map": {"x": "2", "y": None}, "number": 2.5, "flag": False},
        {"list": [{"a": 1}], "map": None, "kind": ["now a list"], "late": {"z": ["q"]}},
    )
    assert {key: folded[key] for key in ("text", "list", "map", "number", "flag")} == {
        "text": "ab",
        "list": [1, 2, {"a": 1}],
        "map": {"x": "12", "y": None},
        "number": 3.5,
        "flag": False,
    }
    assert folded["kind"] == ["now a list"]
    assert folded["late"] == {"z": ["q"]}


def test_the_last_word_counts_at_the_top() -> None:
    answer = fold_chat(
        b'{"id":"","model":"","created":0,"choices":[],"service_tier":"auto","x":1}',
        b'{"id":"c1","model":"m","created":5,"service_tier":null,"x":2,"obfuscation":"aa"}',
        b'{"id":"","object":"chat.completion.chunk","model":"","created":0,"service_tier":"flex"}',
    )
    assert answer == {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "service_tier": "flex",
        "x": 2,
        "choices": [],
    }


@pytest.mark.parametrize(
    "odd",
    [
        b'{"choices":null}',
        b'{"choices":[null,1]}',
        b'{"choices":[{"index":0,"delta":null}]}',
        b'{"choices":[{"index":0,"delta":{"tool_calls":[null,{"index":"x"}]}}]}',
        b'{"choices":[{"index":0,"delta":{"tool_calls":"x"}}]}',
        b'{"choices":[{"index":null,"delta":{"content":[{"type":"text"}]}}]}',
        b'{"choices":[{"index":true,"delta":{"audio":1},"logprobs":[]}]}',
    ],
)
def test_an_odd_chunk_does_not_spoil_the_answer(odd: bytes) -> None:
    answer = fold_chat(delta({"tool_calls": [{"index": 0, "id": "a"}]}), odd, delta({"x": "y"}))
    assert answer["choices"][0]["message"]["x"] == "y"


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
def test_how_a_stream_failed_is_no_part_of_the_answer(dialect: Any) -> None:
    before = recorded.events("text.chat.sse" if dialect is CHAT else "text.messages.sse")[:5]
    ends = [
        recorded.last_frame(dialect, Ending.CANCELLED, Problem(status=499, code="c", message="m")),
        recorded.last_frame(
            dialect,
            Ending.FAILED,
            Problem(
                status=500,
                code="c",
                message="m",
                body=b'{"type":"error","error":{"type":"t","message":"m"},"request_id":"r"}',
            ),
        ),
    ]
    for end in ends:
        assert dialect.fold([*before, Event(6, end.name, end.data)]) == dialect.fold(before)


# --- messages ----------------------------------------------------------------------------


def test_of_no_events_messages_makes_an_answer_without_content() -> None:
    assert fold_messages() == {
        "id": "",
        "type": "message",
        "role": "assistant",
        "model": "",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


@pytest.mark.parametrize(
    "pieces", [['{"a"'], ['{"a":', "NaN}"], ['{"a":1}', "}"], ['{"a":"\ud83d']]
)
def test_an_input_that_is_not_whole_stays_text_to_be_added_to(pieces: list[str]) -> None:
    answer = fold_messages(
        START,
        start(0, {"type": "tool_use", "id": "t", "name": "n", "input": {}}),
        *[block_delta(0, {"type": "input_json_delta", "partial_json": one}) for one in pieces],
    )
    assert answer["content"] == [
        {"type": "tool_use", "id": "t", "name": "n", "input": {}, "partial_json": "".join(pieces)}
    ]


def test_a_late_joiner_can_go_on_from_the_text() -> None:
    pieces = ['{"ci', 'ty":"Łó', 'dź"', "}"]
    begin = [START, start(0, {"type": "tool_use", "input": {}})]
    more = [block_delta(0, {"type": "input_json_delta", "partial_json": one}) for one in pieces]
    for count in range(len(pieces)):
        block = fold_messages(*begin, *more[:count])["content"][0]
        rest = "".join(pieces[count:])
        assert json.loads(block.get("partial_json", "") + rest) == {"city": "Łódź"}
    assert fold_messages(*begin, *more)["content"][0] == {
        "type": "tool_use",
        "input": {"city": "Łódź"},
    }


def test_an_input_given_whole_at_the_start_stays() -> None:
    empty = block_delta(0, {"type": "input_json_delta", "partial_json": ""})
    answer = fold_messages(START, start(0, {"type": "tool_use", "input": {"a": 1}}), empty)
    assert answer["content"] == [{"type": "tool_use", "input": {"a": 1}}]


def test_blocks_stand_by_their_index() -> None:
    answer = fold_messages(
        START,
        start(1, {"type": "text", "text": "b"}),
        start(0, {"type": "text", "text": ""}),
        block_delta(0, {"type": "text_delta", "text": "a"}),
    )
    assert [block["text"] for block in answer["content"]] == ["a", "b"]


@pytest.mark.parametrize(
    "odd",
    [
        block_delta(7, {"type": "text_delta", "text": "x"}),
        b'{"type":"content_block_delta","delta":{"text":"x"}}',
        b'{"type":"content_block_start","index":"0","content_block":{"type":"text"}}',
        b'{"type":"content_block_start","index":null,"content_block":null}',
        b'{"type":"message_delta","delta":null,"usage":null}',
        b'{"type":"novelty","index":0,"delta":{"text":"x"}}',
        b'{"text":"x"}',
    ],
)
def test_what_has_no_place_in_a_message_is_passed_over(odd: bytes) -> None:
    assert fold_messages(START, odd) == fold_messages(START)


def test_citations_may_start_out_as_null() -> None:
    cited = {"type": "citations_delta", "citation": {"type": "char_location"}}
    answer = fold_messages(
        START, start(0, {"type": "text", "text": "", "citations": None}), block_delta(0, cited)
    )
    assert answer["content"][0]["citations"] == [{"type": "char_location"}]


# --- both --------------------------------------------------------------------------------


def test_halves_of_a_character_in_two_deltas_become_one() -> None:
    halves = [
        b'{"choices":[{"delta":{"content":"%b"}}]}' % half for half in (b"\\ud83d", b"\\ude00")
    ]
    assert fold_chat(*halves)["choices"][0]["message"]["content"] == "😀"
    assert CHAT.fold(recorded.data_events(halves[0])).count(b"\\ud83d") == 1


@pytest.mark.parametrize("number", [b"12345678901234567890123", b"1e999", b"-0.0", b"1.5e-7"])
def test_numbers_of_any_size_fold_into_json(number: bytes) -> None:
    answer = fold_chat(b'{"choices":[],"x":%b,"y":"\\ud83d"}' % number)
    assert answer["x"] == pytest.approx(max(-1.8e308, min(1.7976931348623157e308, float(number))))


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
@pytest.mark.parametrize("odd", [b"[" * 100_000 + b"]" * 100_000, b"1" * 5000])
def test_what_cannot_be_folded_is_said_to_be_the_providers_fault(dialect: Any, odd: bytes) -> None:
    with pytest.raises(ProviderGarbled):
        dialect.fold(recorded.data_events(b'{"x":' + odd + b"}"))


def test_a_growing_string_is_joined_once() -> None:
    made: dict[str, object] = {}
    for _ in range(1000):
        grow(made, {"text": "ab"})
    text = made["text"]
    assert isinstance(text, Text)
    assert encode(made) == b'{"text":"' + b"ab" * 1000 + b'"}'
