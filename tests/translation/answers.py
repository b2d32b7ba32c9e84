"""An answer of a model, whatever its dialect, and random ones that a provider could give.

What a dialect cannot say is not in an answer of its providers: a signature of thinking is
Anthropic's, a call that overlaps another is chat's.
"""

import itertools
import json
from typing import Any, Literal, NamedTuple

from hypothesis import strategies as st

Kind = Literal["text", "refusal", "thinking", "call"]
Stop = Literal["end", "length", "sequence", "refusal", "pause"]

CHAT, RESPONSES, MESSAGES = "openai.chat", "openai.responses", "anthropic.messages"
DIALECTS = (CHAT, RESPONSES, MESSAGES)
PAIRS = list(itertools.permutations(DIALECTS, 2))
"""A provider's, and a client's."""


class Part(NamedTuple):
    """A piece of an answer. `text` is the arguments of a call, as the model wrote them."""

    kind: Kind
    text: str
    call_id: str = ""
    name: str = ""
    seal: str = ""
    is_redacted: bool = False

    @property
    def arguments(self) -> Any:
        return json.loads(self.text) if self.text.strip() else {}


class Usage(NamedTuple):
    """`input` holds what came from the cache and what went into it."""

    input: int
    output: int
    cached: int
    written: int
    reasoning: int


class Answer(NamedTuple):
    """All of it."""

    parts: list[Part]
    stop: Stop
    sequence: str | None
    explanation: str
    usage: Usage


_texts = st.text(st.characters(codec="utf-8"), max_size=30)
_words = _texts.filter(bool)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_names = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
_seals = st.from_regex(r"[A-Za-z0-9+/]{1,30}={0,2}", fullmatch=True)
_usages = st.builds(
    lambda plain, cached, written, said, thought: Usage(
        plain + cached + written, said + thought, cached, written, thought
    ),
    *[st.integers(0, 10**6)] * 5,
)


@st.composite
def _arguments(draw: st.DrawFn) -> str:
    """As a model writes them; nothing at all for a call without any."""
    if draw(st.integers(0, 4)) == 0:
        return ""
    given = draw(st.dictionaries(_texts, _json, max_size=3))
    return json.dumps(given, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1)))


@st.composite
def _parts(draw: st.DrawFn, dialect: str) -> list[Part]:
    kinds: list[Kind] = ["text", "thinking", "call"]
    if dialect != MESSAGES:
        kinds.append("refusal")
    parts: list[Part] = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(kinds), max_size=6))):
        if kind == "call":
            call_id = f"call_{number}{draw(_names)}"
            parts.append(Part("call", draw(_arguments()), call_id, draw(_names)))
        elif kind != "thinking" or dialect == CHAT:
            parts.append(Part(kind, draw(_words)))
        elif dialect == MESSAGES and draw(st.booleans()):
            parts.append(Part(kind, "", seal=draw(_seals), is_redacted=True))
        else:
            seal = draw(_seals | st.just(""))
            parts.append(Part(kind, draw(_texts if seal else _words), seal=seal))
    return parts


@st.composite
def answers(draw: st.DrawFn, dialect: str) -> Answer:
    """Of a provider that speaks this dialect."""
    stops: list[Stop] = ["end", "length", "refusal"]
    if dialect == MESSAGES:
        stops += ["sequence", "pause"]
    stop = draw(st.sampled_from(stops))
    usage = draw(_usages)
    return Answer(
        draw(_parts(dialect)),
        stop,
        draw(_words) if stop == "sequence" else None,
        draw(_texts) if stop == "refusal" and dialect == MESSAGES else "",
        usage,
    )
