"""Any answer of any provider is, in any other dialect, the same answer to the real SDKs."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.stream import Event, Frame
from proxy.wire.sse import Parser, encode_batch
from tests.translation.accumulated import Clients, Seen
from tests.translation.answers import CHAT, MESSAGES, PAIRS, RESPONSES, Answer, Part, answers
from tests.translation.providers import said
from tests.translation.telling import ALL, numbered, translator

STOPS = {
    CHAT: {
        "end": "stop",
        "length": "length",
        "sequence": "stop",
        "tool": "tool_calls",
        "refusal": "content_filter",
        "pause": "stop",
    },
    RESPONSES: {
        "end": "completed",
        "length": "max_output_tokens",
        "sequence": "completed",
        "tool": "completed",
        "refusal": "content_filter",
        "pause": "completed",
    },
    MESSAGES: {
        "end": "end_turn",
        "length": "max_tokens",
        "sequence": "stop_sequence",
        "tool": "tool_use",
        "refusal": "refusal",
        "pause": "pause_turn",
    },
}


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    all_of_them = Clients()
    yield all_of_them
    all_of_them.close()


def told_in_pieces(theirs: str, ours: str, raw: bytes, chance: random.Random) -> list[Event]:
    """The events that a client of `ours` gets, however the network cuts the bytes."""
    one, parser = translator(theirs, ours), Parser(1_000_000)
    frames: list[Frame] = []
    while raw:
        size = chance.choice((1, 7, 100, 4096))
        for frame in parser.feed(raw[:size]):
            if not one.is_complete:
                frames += one.hear(frame)
        raw = raw[size:]
    assert one.is_complete
    return numbered(frames)


def merged(parts: list[Part]) -> list[Part]:
    """Without empty words, and words that follow each other as one."""
    made: list[Part] = []
    for part in parts:
        is_word = part.kind in {"text", "refusal"}
        if is_word and not part.text:
            continue
        if is_word and made and made[-1].kind == part.kind:
            made[-1] = made[-1]._replace(text=made[-1].text + part.text)
        else:
            made.append(part)
    return made


def expected(theirs: str, ours: str, answer: Answer) -> Seen:
    """What a client of `ours` has to see."""
    parts = list(answer.parts)
    has_called = any(part.kind == "call" for part in parts)
    stop: str = "tool" if answer.stop == "end" and has_called else answer.stop
    if answer.explanation:
        parts.append(Part("refusal", answer.explanation))
    if theirs == CHAT:  # its reasoning is one text where nothing comes between
        parts = _joined(parts)
    if ours == MESSAGES:
        if stop == "end" and any(part.kind == "refusal" for part in parts):
            stop = "refusal"
        parts = [part._replace(kind="text") if part.kind == "refusal" else part for part in parts]
    if ours == CHAT:
        parts = _as_in_chat(parts)
    sealed = any(part.seal for part in parts)
    return Seen(
        merged(parts),
        STOPS[ours][stop],
        answer.sequence if ours == MESSAGES else None,
        answer.usage,
        theirs if sealed else "",
    )


def _joined(parts: list[Part]) -> list[Part]:
    made: list[Part] = []
    for part in parts:
        if part.kind == "thinking" and made and made[-1].kind == "thinking":
            made[-1] = made[-1]._replace(text=made[-1].text + part.text)
        else:
            made.append(part)
    return made


def _as_in_chat(parts: list[Part]) -> list[Part]:
    def whole(kind: str) -> str:
        return "".join(part.text for part in parts if part.kind == kind)

    return [
        *([Part("thinking", whole("thinking"))] if whole("thinking") else ()),
        *(part for part in parts if part.seal),
        Part("text", whole("text")),
        Part("refusal", whole("refusal")),
        *(part for part in parts if part.kind == "call"),
    ]


def check(seen: Seen, wanted: Seen) -> None:
    """The same, where calls are the same if what they mean is."""
    got, asked = merged(seen.parts), wanted.parts
    assert [part._replace(text="") for part in got] == [part._replace(text="") for part in asked]
    for one, other in zip(got, asked, strict=True):
        if one.kind == "call":
            assert one.arguments == other.arguments
        else:
            assert one.text == other.text
    assert seen._replace(parts=[]) == wanted._replace(parts=[])


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_the_sdks_see_the_answer_of_the_provider(clients: Clients, theirs: str, ours: str) -> None:
    @settings(max_examples=80, deadline=None)
    @given(answers(theirs), st.integers(0, 2**32))
    def compare(answer: Answer, seed: int) -> None:
        chance = random.Random(seed)
        raw = said(theirs, answer, chance)
        events = told_in_pieces(theirs, ours, raw, chance)
        wanted = expected(theirs, ours, answer)
        check(clients.accumulate(ours, encode_batch(events)), wanted)
        check(clients.read(ours, ALL[ours].fold(events)), wanted)

    compare()
