"""What a provider says of its answer, beside what the model says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from proxy.stream import Event, Particulars
from proxy.wire.dialect import Dialect
from proxy.wire.dialects import all_dialects
from proxy.wire.sse import Parser

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*.sse"))
DIALECTS = {
    "chat": all_dialects()["openai.chat"],
    "messages": all_dialects()["anthropic.messages"],
    "responses": all_dialects()["openai.responses"],
}
CHAT, MESSAGES = DIALECTS["chat"], DIALECTS["messages"]
NOTHING = Particulars()


def journal(*data: bytes) -> list[Event]:
    return [Event(place, "", each) for place, each in enumerate(data, 1)]


def recorded(file: Path) -> list[Event]:
    frames = Parser(1 << 20).feed(file.read_bytes())
    return [Event(place, frame.name, frame.data) for place, frame in enumerate(frames, 1)]


@pytest.mark.parametrize("file", RECORDINGS, ids=lambda file: file.name)
def test_they_are_those_of_the_folded_answer(file: Path) -> None:
    dialect = DIALECTS[file.name.split(".")[1]]
    events = recorded(file)

    said = dialect.particulars(events)

    whole = json.loads(dialect.fold(events))
    reasons = [choice["finish_reason"] for choice in whole.get("choices", [])]
    if "status" in whole:
        reasons.append((whole.get("incomplete_details") or {}).get("reason") or whole["status"])
    reasons = [each for each in [*reasons, whole.get("stop_reason")] if each]
    assert said == (whole["id"], whole["model"], tuple(reasons))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "events",
    [
        [],
        journal(b"[DONE]"),
        journal(b"{}", b"[]", b"null", b"7"),
        journal(b'{"error":{"message":"no"}}'),
        journal(b'{"id":7,"model":[],"choices":{},"message":"x","delta":"y"}'),
    ],
    ids=["none", "done", "shapes", "error", "types"],
)
def test_events_that_say_nothing_of_it_are_passed_over(
    dialect: Dialect, events: Sequence[Event]
) -> None:
    assert dialect.particulars(events) == NOTHING


def test_an_answer_that_was_broken_off_has_no_reason() -> None:
    chat = recorded(next(file for file in RECORDINGS if file.name == "text.chat.sse"))

    said = CHAT.particulars(chat[:3])

    assert said.id
    assert said.finish_reasons == ()


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_only_the_ends_of_an_answer_are_looked_at(dialect: Dialect) -> None:
    ends = journal(*[b'{"choices":[]}'] * 20)
    not_to_be_seen = cast("list[Event]", [None] * 1000)

    assert dialect.particulars([*ends, *not_to_be_seen, *ends]) == NOTHING
