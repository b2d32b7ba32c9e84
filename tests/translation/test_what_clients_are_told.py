"""How an answer is told in each dialect, where that is more than its words."""

import json
from typing import Any

import msgspec
import pytest

from proxy.errors import ProviderGarbled
from proxy.stream import Frame, Usage
from proxy.wire.answer import (
    Began,
    Cited,
    Closed,
    Counted,
    Making,
    Opened,
    PartKind,
    Said,
    Sealed,
    Step,
    Stop,
    Stopped,
)
from proxy.wire.seals import carried, opened
from tests.translation.answers import CHAT, DIALECTS, MESSAGES, RESPONSES
from tests.translation.telling import ALL, BIRTH, STREAM, numbered

MAKING = Making(STREAM, "mine", BIRTH.created_at, "their.dialect", wants_usage=True)
COUNTED = Counted(Usage(100, 20, 30, 10, 5))
NAME = STREAM.removeprefix("st_")
PREFIXES = {CHAT: "chatcmpl-", RESPONSES: "resp_", MESSAGES: "msg_"}


def told(dialect: str, *steps: Step, making: Making = MAKING) -> list[Frame]:
    """Every frame of a whole answer of these parts."""
    telling = ALL[dialect].telling(making)
    frames: list[Frame] = []
    whole = any(isinstance(step, Stopped) for step in steps)
    for step in (Began("theirs"), *steps, *(() if whole else (COUNTED, Stopped(Stop.END)))):
        frames += telling.tell(step)
    return [*frames, *telling.finish()]


def folded(dialect: str, *steps: Step) -> Any:
    return json.loads(ALL[dialect].fold(numbered(told(dialect, *steps))))


def text(part: int, *pieces: str) -> list[Step]:
    said = [Said(part, piece) for piece in pieces]
    return [Opened(part, PartKind.TEXT), *said, Closed(part)]


def call(part: int, *pieces: str) -> list[Step]:
    said = [Said(part, piece) for piece in pieces]
    return [Opened(part, PartKind.TOOL, f"id{part}", "find"), *said, Closed(part)]


def thought(part: int, *pieces: str) -> list[Step]:
    said = [Said(part, piece) for piece in pieces]
    return [Opened(part, PartKind.REASONING), *said, Closed(part)]


def datas(frames: list[Frame]) -> list[Any]:
    return [json.loads(frame.data) for frame in frames if frame.data != b"[DONE]"]


# --- all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_steps_are_the_same_bytes(dialect: str) -> None:
    steps = [*text(0, "a"), *call(1, "{}"), *thought(2, "b")]
    assert told(dialect, *steps) == told(dialect, *steps)


@pytest.mark.parametrize(("dialect", "prefix"), list(PREFIXES.items()))
def test_an_answer_has_the_name_of_its_stream_and_the_model_that_was_asked_for(
    dialect: str, prefix: str
) -> None:
    answer = folded(dialect, *text(0, "a"))
    assert (answer["id"], answer["model"]) == (prefix + NAME, "mine")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_halves_of_a_character_are_one_again(dialect: str) -> None:
    answer = ALL[dialect].fold(numbered(told(dialect, *text(0, "a\ud83d", "\ude00b"))))
    assert "a😀b" in json.dumps(json.loads(answer), ensure_ascii=False)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_seal_comes_back_byte_for_byte(dialect: str) -> None:
    seal = 'EqQB/+=:: "\\\u2028ü'
    begun, said, closed = thought(0, "Hm.")
    answer = folded(dialect, begun, said, Sealed(0, seal), closed)
    where = {
        CHAT: lambda: answer["choices"][0]["message"]["reasoning_details"][0]["signature"],
        RESPONSES: lambda: answer["output"][0]["encrypted_content"],
        MESSAGES: lambda: answer["content"][0]["signature"],
    }
    assert opened(where[dialect]()) == ("their.dialect", seal)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_usage_is_told_with_what_came_from_the_cache_and_went_into_it(dialect: str) -> None:
    usage = folded(dialect, *text(0, "a"))["usage"]
    cached = {"cached_tokens": 30, "cache_write_tokens": 5}
    wanted = {
        CHAT: {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": cached,
            "completion_tokens_details": {"reasoning_tokens": 10},
        },
        RESPONSES: {
            "input_tokens": 100,
            "input_tokens_details": cached,
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 10},
            "total_tokens": 120,
        },
        MESSAGES: {
            "input_tokens": 65,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 30,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 10},
        },
    }
    assert usage == wanted[dialect]


# --- chat -----------------------------------------------------------------------------------------


def test_chat_tells_usage_only_to_who_wants_it_and_last() -> None:
    last = datas(told(CHAT, *text(0, "a")))[-1]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 120
    frames = told(CHAT, *text(0, "a"), making=MAKING._replace(wants_usage=False))
    assert not any("usage" in data for data in datas(frames))
    assert frames[-1].data == b"[DONE]"


def test_chat_tells_id_and_name_of_a_call_once() -> None:
    calls = [
        made
        for data in datas(told(CHAT, *call(0, '{"a"', ":1}"), *call(1, "{}")))
        for choice in data["choices"]
        for made in choice["delta"].get("tool_calls", ())
    ]
    assert [made["index"] for made in calls] == [0, 0, 0, 1, 1]
    assert [made.get("id") for made in calls] == ["id0", None, None, "id1", None]
    assert [made["function"].get("name") for made in calls] == ["find", None, None, "find", None]


def test_a_call_without_arguments_is_json_where_arguments_are_text() -> None:
    message = folded(CHAT, *call(0))["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"
    assert folded(RESPONSES, *call(0))["output"][0]["arguments"] == "{}"
    assert folded(MESSAGES, *call(0))["content"][0]["input"] == {}


def test_chat_places_a_citation_in_the_whole_content() -> None:
    cited: list[Step] = [
        *text(0, "four"),
        Opened(1, PartKind.TEXT),
        Cited(1, "https://a", "A", "quoted"),
        Said(1, "sixsix"),
        Cited(1, "https://b", "B", "", 1, 3),
        Closed(1),
    ]
    one, two = folded(CHAT, *cited)["choices"][0]["message"]["annotations"]
    assert one == {
        "type": "url_citation",
        "url_citation": {"start_index": 4, "end_index": 10, "title": "A", "url": "https://a"},
    }
    assert two["url_citation"]["start_index"] == 5
    assert two["url_citation"]["end_index"] == 7


def test_redacted_reasoning_is_told_as_what_nobody_can_read() -> None:
    begun, closed = thought(0)
    steps = [begun, Sealed(0, "data", is_redacted=True), closed]
    seal = carried("their.dialect", "data", is_redacted=True)
    assert folded(MESSAGES, *steps)["content"] == [{"type": "redacted_thinking", "data": seal}]
    (item,) = folded(RESPONSES, *steps)["output"]
    assert (item["summary"], item["encrypted_content"]) == ([], seal)
    message = folded(CHAT, *steps)["choices"][0]["message"]
    detail = {"type": "reasoning.encrypted", "data": seal, "index": 0}
    assert message["reasoning_details"] == [detail]
    assert "reasoning_content" not in message


# --- messages -------------------------------------------------------------------------------------


def test_blocks_are_told_one_after_the_other_though_calls_overlap() -> None:
    one, two = call(0, '{"a"', ":1}"), call(1, "{", "}")
    overlapping = [step for both in zip(one, two, strict=True) for step in both]
    order = [(data["type"], data.get("index")) for data in datas(told(MESSAGES, *overlapping))]
    blocks = [(kind.removeprefix("content_block_"), at) for kind, at in order if at is not None]
    each = ["start", "delta", "delta", "stop"]
    assert blocks == [(kind, index) for index in (0, 1) for kind in each]
    first, second = folded(MESSAGES, *overlapping)["content"]
    assert (first["input"], second["input"]) == ({"a": 1}, {})


def test_what_waits_for_a_call_that_never_ends_has_a_bound() -> None:
    telling = ALL[MESSAGES].telling(MAKING)
    telling.tell(Opened(0, PartKind.TOOL))
    telling.tell(Opened(1, PartKind.TOOL))
    for _ in range(16):
        telling.tell(Said(1, "x" * 2**20))
    with pytest.raises(ProviderGarbled, match="without an end"):
        telling.tell(Said(1, "x"))


def test_a_citation_is_told_to_anthropics_clients_as_of_the_web() -> None:
    (block,) = folded(MESSAGES, Opened(0, PartKind.TEXT), Cited(0, "https://a", "A"), Closed(0))[
        "content"
    ]
    assert block["citations"][0] == {
        "type": "web_search_result_location",
        "cited_text": "",
        "encrypted_index": "",
        "title": "A",
        "url": "https://a",
    }


def test_the_stop_sequence_is_told_where_there_is_a_place_for_it() -> None:
    stopped = (COUNTED, Stopped(Stop.SEQUENCE, "###"))
    answer = folded(MESSAGES, *text(0, "a"), *stopped)
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "###")


# --- responses ------------------------------------------------------------------------------------


def test_events_of_responses_are_numbered_by_their_place() -> None:
    steps = [*text(0, "a", "b"), *call(1, "{}"), *thought(2, "c")]
    for place, frame in enumerate(told(RESPONSES, *steps)):
        data = json.loads(frame.data)
        assert (data["sequence_number"], data["type"]) == (place, frame.name)


def test_words_that_follow_each_other_are_one_message() -> None:
    refusal: list[Step] = [Opened(1, PartKind.REFUSAL), Said(1, "No."), Closed(1)]
    answer = folded(RESPONSES, *text(0, "a"), *refusal, *call(2), *text(3, "b"))
    kinds = [item["type"] for item in answer["output"]]
    assert kinds == ["message", "function_call", "message"]
    assert {item["status"] for item in answer["output"]} == {"completed"}
    said = [content["type"] for content in answer["output"][0]["content"]]
    assert said == ["output_text", "refusal"]
    assert [item["id"] for item in answer["output"]] == [
        f"msg_{NAME}_0",
        f"fc_{NAME}_1",
        f"msg_{NAME}_2",
    ]


def test_a_response_says_its_request_again() -> None:
    fields = {
        "model": msgspec.Raw(b'"mine"'),
        "metadata": msgspec.Raw(b'{"chat": "7"}'),
        "tools": msgspec.Raw(b'[{"type": "function"}]'),
        "input": msgspec.Raw(b'"hi"'),
    }
    for data in datas(told(RESPONSES, *text(0, "a"), making=MAKING._replace(fields=fields))):
        if response := data.get("response"):
            assert response["metadata"] == {"chat": "7"}
            assert response["tools"] == [{"type": "function"}]
            assert response["parallel_tool_calls"] is True
            assert "input" not in response


def test_an_answer_that_nobody_counted_has_zeros_where_the_types_want_numbers() -> None:
    usage = folded(RESPONSES, *text(0, "a"), Stopped(Stop.END))["usage"]
    assert usage["total_tokens"] == 0
    assert usage["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


def test_a_document_that_is_cited_is_a_file_to_openais_clients() -> None:
    begun, said, closed = text(0, "Green")
    (content,) = folded(RESPONSES, begun, Cited(0, "", "Notes", "q"), said, closed)["output"][0][
        "content"
    ]
    cited = {"type": "file_citation", "file_id": "", "filename": "Notes", "index": 5}
    assert content["annotations"] == [cited]


def test_an_answer_cut_short_says_why() -> None:
    answer = folded(RESPONSES, *text(0, "a"), COUNTED, Stopped(Stop.LENGTH))
    assert answer["status"] == answer["output"][0]["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
