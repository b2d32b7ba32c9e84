"""What a client has to see of an answer, and whether it does."""

from tests.translation.accumulated import Seen
from tests.translation.answers import CHAT, MESSAGES, RESPONSES, Answer, Part

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
