"""Servers that keep to no book: what they mean is heard, or refused by name; nothing gets lost."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.errors import ProviderGarbled, ProviderUntranslatable
from proxy.wire.answer import Began, Opened, PartKind, Stop, Stopped
from tests.translation.answers import CHAT, MESSAGES, RESPONSES
from tests.translation.telling import ALL, frames_of, told


def sse(*events: object) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def chat(*deltas: object, reason: str = "stop") -> bytes:
    """A provider's chunks."""
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return sse(*chunks, last) + b"data: [DONE]\n\n"


def call(arguments: str, **fields: object) -> object:
    function = {"name": "find", "arguments": arguments} if fields else {"arguments": arguments}
    return {"tool_calls": [{"function": function, **fields}]}


def message(*blocks: tuple[object, Sequence[object]], end: object = None) -> bytes:
    """A provider's events: of each block how it starts, and its deltas."""
    events: list[object] = [{"type": "message_start", "message": {"usage": {"input_tokens": 1}}}]
    for index, (start, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": end or {"stop_reason": "end_turn"}})
    return sse(*events, {"type": "message_stop"})


def response(*events: object, kind: str = "response.completed", **fields: object) -> bytes:
    """A provider's events."""
    begun = {"type": "response.created", "response": {"model": "theirs"}}
    return sse(begun, *events, {"type": kind, "response": fields})


def item(kind: str, index: int, **fields: object) -> object:
    return {"type": f"response.output_item.{kind}", "output_index": index, "item": fields}


def folded(theirs: str, ours: str, raw: bytes) -> Any:
    return json.loads(ALL[ours].fold(told(theirs, ours, raw)))


def blocks(theirs: str, raw: bytes) -> Any:
    return folded(theirs, MESSAGES, raw)["content"]


def message_of(theirs: str, raw: bytes) -> Any:
    return folded(theirs, CHAT, raw)["choices"][0]["message"]


# --- all ------------------------------------------------------------------------------------------


def test_an_event_that_no_book_knows_is_passed_over_whatever_its_shape() -> None:
    odd = {"type": "hint", "delta": [1], "index": "x", "item": 3, "response": 4}
    text = [{"type": "text_delta", "text": "a"}]
    raw = sse(odd) + message(({"type": "text"}, text))
    assert message_of(MESSAGES, raw)["content"] == "a"
    assert message_of(RESPONSES, response(odd))["content"] is None


def test_halves_of_a_character_in_two_events_are_one_again() -> None:
    raw = chat({"content": "a\ud83d"}, {"content": "\ude00b"})
    assert b"\\ud83d" in raw
    (block,) = blocks(CHAT, raw)
    assert block["text"] == "a\N{GRINNING FACE}b"


@pytest.mark.parametrize(
    ("theirs", "ours", "event"),
    [
        (CHAT, MESSAGES, {"choices": [{"index": "x"}]}),
        (MESSAGES, CHAT, {"type": "content_block_delta", "index": "x"}),
        (RESPONSES, CHAT, {"type": "response.output_text.delta", "delta": 1}),
    ],
)
def test_an_event_of_another_shape_than_it_has_to_have_is_garbage(
    theirs: str, ours: str, event: object
) -> None:
    with pytest.raises(ProviderGarbled, match="another shape"):
        told(theirs, ours, sse(event))


# --- chat -----------------------------------------------------------------------------------------


def test_calls_that_are_all_numbered_0_are_told_apart_by_their_ids() -> None:
    raw = chat(call('{"a":1}', index=0, id="one"), call("{", index=0, id="two"), call("}", index=0))
    got = [(block["id"], block["input"]) for block in blocks(CHAT, raw)]
    assert got == [("one", {"a": 1}), ("two", {})]


@pytest.mark.parametrize("fields", [{"index": 0}, {"index": 0, "id": ""}, {"type": "function"}])
def test_whole_calls_without_ids_or_numbers_are_told_apart_by_their_names(
    fields: dict[str, object],
) -> None:
    raw = chat(call('{"a":1}', **fields), call('{"b":', **fields), call("2}"))
    one, two = blocks(CHAT, raw)
    assert (one["name"], one["input"]) == ("find", {"a": 1})
    assert (two["name"], two["input"]) == ("find", {"b": 2})
    assert one["id"] != two["id"]


def test_a_name_that_is_said_again_begins_no_other_call() -> None:
    raw = chat(call('{"a":', index=0), call("1}", index=0, id=""), call("", index=0, id=""))
    assert [block["input"] for block in blocks(CHAT, raw)] == [{"a": 1}]


def test_a_name_that_comes_late_is_garbage_and_not_lost() -> None:
    late = [{"index": 0, "id": "one", "function": {}}, {"index": 0, "function": {"name": "find"}}]
    with pytest.raises(ProviderGarbled, match="name"):
        told(CHAT, MESSAGES, chat(*({"tool_calls": [said]} for said in late)))


def test_a_call_that_is_cut_short_is_no_complete_item() -> None:
    raw = chat(call('{"a":', index=0, id="one"), reason="length")
    answer = folded(CHAT, RESPONSES, raw)
    assert answer["status"] == answer["output"][0]["status"] == "incomplete"
    assert answer["output"][0]["arguments"] == '{"a":'


def test_a_call_without_number_is_known_by_its_place() -> None:
    raw = chat(call('{"a":', id="one"), call("1}"))
    assert blocks(CHAT, raw)[0]["input"] == {"a": 1}


def test_a_call_without_id_gets_the_same_one_each_time() -> None:
    raw = chat(call("{}", index=0, type="function"))
    first, again = blocks(CHAT, raw), blocks(CHAT, raw)
    assert first == again
    assert first[0]["id"] == "toolu_0123456789abcdefghijklmnop_0"
    (made,) = folded(CHAT, RESPONSES, raw)["output"]
    assert made["call_id"] == "call_0123456789abcdefghijklmnop_0"


def test_a_call_for_the_tool_that_the_client_named_stops_for_the_tool() -> None:
    raw = chat(call("{}", index=0, id="one"), reason="stop")
    assert folded(CHAT, MESSAGES, raw)["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("told_by_vllm", "reason", "sequence"),
    [("###", "stop_sequence", "###"), (128009, "end_turn", None), (None, "end_turn", None)],
)
def test_the_stop_sequence_that_vllm_tells_is_heard(
    told_by_vllm: object, reason: str, sequence: str | None
) -> None:
    choice = {"index": 0, "finish_reason": "stop", "stop_reason": told_by_vllm}
    raw = sse({"choices": [choice]}) + b"data: [DONE]\n\n"
    answer = folded(CHAT, MESSAGES, raw)
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, sequence)


def test_blanks_after_a_whole_call_are_passed_over_and_more_is_not_json() -> None:
    begun = [call("{}", index=0, id="one"), call("{}", index=1, id="two")]
    assert len(blocks(CHAT, chat(*begun, call(" ", index=0)))) == 2
    with pytest.raises(ProviderGarbled, match="a call that was whole"):
        told(CHAT, MESSAGES, chat(*begun, call('{"b":2}', index=0)))


def test_a_refusal_of_openai_stops_as_one_for_anthropics_clients() -> None:
    answer = folded(CHAT, MESSAGES, chat({"refusal": "No"}, {"refusal": "."}))
    assert answer["content"] == [{"type": "text", "text": "No."}]
    assert answer["stop_reason"] == "refusal"
    assert answer["stop_details"]["type"] == "refusal"


def test_reasoning_details_come_back_to_their_maker_as_they_were() -> None:
    one = {"type": "reasoning.text", "text": "Hm", "index": 0, "format": "some-v1"}
    two = {"type": "reasoning.text", "text": "m.", "index": 0, "signature": "s=="}
    raw = chat(
        {"reasoning": "Hm", "reasoning_details": [one]},
        {"reasoning": "m.", "reasoning_details": [two]},
        {"content": "Yes."},
    )
    thought, text = blocks(CHAT, raw)
    assert (thought["thinking"], text["text"]) == ("Hmm.", "Yes.")
    maker, _, seal = thought["signature"].removeprefix("midstream:").partition(":")
    assert maker == CHAT
    assert json.loads(seal) == [{**one, "text": "Hmm.", "signature": "s=="}]


def test_reasoning_details_after_the_reasoning_are_not_lost() -> None:
    detail = {"type": "reasoning.encrypted", "data": "zzz", "index": 0}
    raw = chat({"content": "Yes."}, {"reasoning_details": [detail]})
    text, thought = blocks(CHAT, raw)
    assert text["text"] == "Yes."
    assert json.loads(thought["signature"].partition(f"{CHAT}:")[2]) == [detail]


@pytest.mark.parametrize(
    ("delta", "what"),
    [
        ({"function_call": {"name": "f"}}, "a function_call"),
        ({"audio": {"id": "a"}}, "audio"),
        ({"content": [{"type": "thinking"}]}, "content that is not text"),
        ({"annotations": [{"type": "file"}]}, "an annotation of the type 'file'"),
        (call("{}", index=0, type="custom"), "a call of the type 'custom'"),
    ],
)
def test_what_no_step_can_say_is_named(delta: object, what: str) -> None:
    with pytest.raises(ProviderUntranslatable, match=what):
        told(CHAT, MESSAGES, chat(delta))


def test_a_second_answer_is_refused() -> None:
    second = {"choices": [{"index": 1, "delta": {"content": "x"}}]}
    with pytest.raises(ProviderUntranslatable, match="a second answer"):
        told(CHAT, MESSAGES, sse(second))


@pytest.mark.parametrize(
    ("theirs", "raw"),
    [
        (CHAT, chat({"content": "x"}, reason="error")),
        (MESSAGES, message(end={"stop_reason": "error"})),
        (
            RESPONSES,
            response(kind="response.incomplete", incomplete_details={"reason": "error"}),
        ),
    ],
)
def test_an_end_for_a_reason_that_nobody_knows_is_no_success(theirs: str, raw: bytes) -> None:
    ours = CHAT if theirs == MESSAGES else MESSAGES
    with pytest.raises(ProviderUntranslatable, match="'error'"):
        told(theirs, ours, raw)


# --- messages -------------------------------------------------------------------------------------


def test_a_tools_input_that_comes_whole_with_its_start_is_heard() -> None:
    start = {"type": "tool_use", "id": "t", "name": "find", "input": {"a": [1]}}
    (made,) = message_of(MESSAGES, message((start, [])))["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == {"a": [1]}
    pieces = [{"type": "input_json_delta", "partial_json": '{"b":2}'}]
    (made,) = message_of(MESSAGES, message((start, pieces)))["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == {"b": 2}


def test_a_signature_that_comes_with_the_start_is_heard() -> None:
    raw = message(({"type": "thinking", "thinking": "Hm", "signature": "s"}, []))
    (item,) = folded(MESSAGES, RESPONSES, raw)["output"]
    assert item["encrypted_content"] == f"midstream:{MESSAGES}:s"
    assert item["summary"][0]["text"] == "Hm"


def test_a_stop_sequence_is_heard_though_openais_clients_have_no_place_for_it() -> None:
    raw = message(end={"stop_reason": "stop_sequence", "stop_sequence": "###"})
    hearing = ALL[MESSAGES].hearing()
    for frame in frames_of(raw):
        hearing.hear(frame)
    assert list(hearing.finish()) == [Stopped(Stop.SEQUENCE, "###")]


def test_a_block_that_is_not_stopped_ends_where_the_next_begins() -> None:
    raw = message(({"type": "text", "text": "a"}, []), ({"type": "text", "text": "b"}, []))
    unstopped = raw.replace(b'data: {"type": "content_block_stop", "index": 0}\n\n', b"")
    assert unstopped != raw
    assert told(MESSAGES, RESPONSES, unstopped) == told(MESSAGES, RESPONSES, raw)


@pytest.mark.parametrize(
    ("start", "deltas", "what"),
    [
        ({"type": "web_search_tool_result"}, [], "'web_search_tool_result'"),
        ({"type": "text", "text": ""}, [{"type": "compaction_delta"}], "'compaction_delta'"),
    ],
)
def test_blocks_and_deltas_that_no_step_can_say_are_named(
    start: object, deltas: list[object], what: str
) -> None:
    with pytest.raises(ProviderUntranslatable, match=what):
        told(MESSAGES, CHAT, message((start, deltas)))


def test_an_answer_that_forgets_to_begin_is_heard_and_one_that_begins_twice_too() -> None:
    """Its parts are told after a beginning, of which there is one."""
    text = message(({"type": "text", "text": "a"}, []))
    begun, rest = text.split(b"\n\n", 1)
    assert message_of(MESSAGES, begun + b"\n\n" + text)["content"] == "a"
    hearing = ALL[MESSAGES].hearing()
    heard = [step for frame in frames_of(rest) for step in hearing.hear(frame)]
    assert heard[:2] == [Began(), Opened(0, PartKind.TEXT)]
    words = {"type": "response.output_text.delta", "delta": "a"}
    raw = sse(words, {"type": "response.completed", "response": {}})
    assert message_of(RESPONSES, raw)["content"] == "a"


def test_a_delta_of_no_block_is_garbage() -> None:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}
    with pytest.raises(ProviderGarbled, match="not open"):
        told(MESSAGES, CHAT, sse({"type": "message_start", "message": {}}, delta))


# --- responses ------------------------------------------------------------------------------------


def test_what_is_said_only_by_whole_items_is_heard() -> None:
    said = {"type": "output_text", "text": "Yes."}
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    raw = response(
        item("done", 0, type="reasoning", summary=summary, encrypted_content="s"),
        item("done", 2, type="message", content=[said, {"type": "refusal", "refusal": "No."}]),
        item("done", 3, type="function_call", call_id="c", name="f", arguments='{"a":1}'),
    )
    thought, yes, no, made = blocks(RESPONSES, raw)
    assert (thought["thinking"], yes["text"], no["text"]) == ("a\n\nb", "Yes.", "No.")
    assert (made["id"], made["name"], made["input"]) == ("c", "f", {"a": 1})


def test_an_event_without_type_is_known_by_its_name() -> None:
    words = b'event: response.output_text.delta\ndata: {"delta":"a"}\n\n'
    assert message_of(RESPONSES, words + response())["content"] == "a"


def test_a_call_that_is_done_twice_is_one_call() -> None:
    done = item("done", 0, type="function_call", call_id="c", name="f", arguments="{}")
    assert len(blocks(RESPONSES, response(done, done))) == 1


def test_what_is_said_only_by_the_last_event_is_heard_once() -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Yes."}]}]
    assert message_of(RESPONSES, response(output=output))["content"] == "Yes."
    raw = response(item("done", 1, **output[0]), output=output)  # a gap before it
    assert message_of(RESPONSES, raw)["content"] == "Yes."


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (item("added", 0, type="web_search_call"), "'web_search_call'"),
        (item("done", 0, type="custom_tool_call"), "'custom_tool_call'"),
        ({"type": "response.audio.delta", "delta": "AA=="}, "audio"),
        (
            {
                "type": "response.output_text.annotation.added",
                "annotation": {"type": "container_file_citation"},
            },
            "'container_file_citation'",
        ),
    ],
)
def test_items_that_no_step_can_say_are_named(event: object, what: str) -> None:
    with pytest.raises(ProviderUntranslatable, match=what):
        told(RESPONSES, CHAT, response(event))
