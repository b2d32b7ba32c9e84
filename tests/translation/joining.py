"""Answers of two providers, the second of which goes on with what the first began."""

from collections.abc import Sequence
from typing import Any

from proxy.errors import CannotContinue
from proxy.stream import Event, Frame, Usage
from proxy.wire.answer import Making
from proxy.wire.assembly import decode, object_at
from proxy.wire.dialect import Ask
from proxy.wire.taking_up import Continuation, Finish, TakenUp, take_up
from tests.translation.answers import CHAT, MESSAGES, RESPONSES
from tests.translation.telling import ALL, BIRTH, STREAM, frames_of, numbered, told

BODIES = {
    CHAT: b'{"model":"m","messages":[{"role": "user","content":"x"}],"max_tokens":500}',
    MESSAGES: b'{"model":"m","messages":[{"role": "user","content":"x"}],"max_tokens":500}',
    RESPONSES: b'{"model":"m","input":"x","max_output_tokens":500}',
}
USED = Usage(input_tokens=1000, output_tokens=100, cached_input_tokens=10, reasoning_tokens=1)


def asked(dialect: str, body: bytes = b"") -> Ask:
    return ALL[dialect].read_ask(body or BODIES[dialect])


def heard(first: str, ours: str, raw: bytes) -> list[Event]:
    """What a client of `ours` is told of a whole answer of a provider that speaks `first`."""
    if first != ours:
        return told(first, ours, raw)
    one = ALL[ours].translator(Ask(model="m", is_streamed=True, wants_usage=True, fields={}))
    frames: list[Frame] = []
    for frame in frames_of(raw):
        if not one.is_complete:
            frames += one.hear(frame)
    return numbered(frames)


def taken_up(
    ours: str,
    theirs: str,
    events: Sequence[Event],
    *,
    body: bytes = b"",
    prefill: bool | None = None,
    used: Usage | None = USED,
) -> TakenUp:
    """How a provider of `theirs` goes on."""
    ask = asked(ours, body)
    making = Making(STREAM, "mine", BIRTH.created_at, theirs, wants_usage=True, fields=ask.fields)
    anew = ask if ours == theirs else asked(theirs)
    return take_up(
        ALL[ours],
        ALL[theirs],
        ask,
        anew,
        making,
        "claude-opus-9",
        events,
        prefill=prefill,
        used=used,
    )


def joined(events: Sequence[Event], taken: TakenUp, raw: bytes) -> list[Event]:
    """The journal in the end: these events, and the rest of it."""
    rest: list[Frame] = []
    match taken:
        case Finish(frames):
            rest += frames
        case Continuation(_, translator):
            for frame in frames_of(raw):
                if not translator.is_complete:
                    rest += translator.hear(frame)
            assert translator.is_complete
    return numbered([*(Frame(event.name, event.data) for event in events), *rest])


def taken_or_why_not(
    ours: str, theirs: str, events: Sequence[Event], body: bytes = b""
) -> TakenUp | str:
    """The same, or the reason for which nobody can go on."""
    try:
        return taken_up(ours, theirs, events, body=body)
    except CannotContinue as error:
        return error.reason


def check_events(ours: str, events: Sequence[Event]) -> None:
    """That they are those of one answer, event by event."""
    objects: list[Any] = [
        None if event.data == b"[DONE]" else decode(event.data) for event in events
    ]
    _CHECKS[ours](objects)


def _check_chat(chunks: list[Any]) -> None:
    assert chunks.pop() is None
    said = [chunk for chunk in chunks if chunk["id"]]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in said}) == 1
    reasons = [
        choice["finish_reason"]
        for chunk in chunks
        for choice in chunk["choices"]
        if choice.get("finish_reason")
    ]
    assert len(reasons) == 1


def _check_messages(events: list[Any]) -> None:
    kinds = [event["type"] for event in events]
    assert kinds.count("message_start") == 1
    assert kinds.count("message_stop") == 1
    assert kinds[-2:] == ["message_delta", "message_stop"]
    stops = [event for event in events if object_at(event.get("delta")).get("stop_reason")]
    assert len(stops) == 1
    index, is_open = -1, False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == index + 1
                index, is_open = index + 1, True
            case "content_block_delta":
                assert is_open
                assert event["index"] == index
            case "content_block_stop":
                assert is_open
                assert event["index"] == index
                is_open = False
    assert not is_open


def _check_responses(events: list[Any]) -> None:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    envelopes = [event["response"] for event in events if "response" in event]
    assert len({envelope["id"] for envelope in envelopes}) == 1
    assert events[-1]["type"] in {"response.completed", "response.incomplete"}
    items: dict[int, str] = {}
    contents: dict[int, int] = {}
    for event in events:
        place = event.get("output_index")
        match event["type"]:
            case "response.output_item.added":
                assert place == len(items)
                items[place] = event["item"]["id"]
                contents[place] = 0
            case "response.output_item.done":
                assert event["item"]["id"] == items[place]
            case "response.content_part.added":
                assert event["content_index"] == contents[place]
                contents[place] += 1
            case _ if place is not None:
                assert event["item_id"] == items[place]
    done = [event for event in events if event["type"] == "response.output_item.done"]
    done.sort(key=lambda event: int(event["output_index"]))
    assert [event["item"] for event in done] == events[-1]["response"]["output"]


_CHECKS = {CHAT: _check_chat, MESSAGES: _check_messages, RESPONSES: _check_responses}
