"""Every recording, in every other dialect: the same to the SDKs, or refused by name."""

from collections.abc import Iterator

import pytest

from proxy.errors import ProviderUntranslatable
from proxy.wire.sse import encode_batch
from tests.translation.accumulated import Clients, Seen
from tests.translation.answers import CHAT, DIALECTS, MESSAGES, RESPONSES
from tests.translation.telling import ALL, told
from tests.wire import recorded

ENDS = {".chat.sse": CHAT, ".responses.sse": RESPONSES, ".messages.sse": MESSAGES}
REFUSED = {
    ("audio", CHAT): "audio",
    ("choices", CHAT): "a second answer",
    ("web_search", MESSAGES): "a block of the type 'server_tool_use'",
    ("other_tools", RESPONSES): "an item of the type 'custom_tool_call'",
    ("web_search", RESPONSES): "an item of the type 'web_search_call'",
    ("unknown", RESPONSES): "an item of the type 'next_thing'",
    ("unknown", MESSAGES): "a block of the type 'fallback'",
}
"""What no other dialect can say, by name."""
BESIDE = {("refusal", MESSAGES): "The request asks for working malware."}
"""What explains a refusal stands beside the content there, and is part of it elsewhere."""


def cases() -> Iterator[tuple[str, str, str]]:
    """The name of a recording, its dialect, and another."""
    for path in sorted(recorded.FOLDER.glob("*.sse")):
        for end, theirs in ENDS.items():
            if path.name.endswith(end):
                for ours in DIALECTS:
                    if ours != theirs:
                        yield path.name.removesuffix(end), theirs, ours


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    all_of_them = Clients()
    yield all_of_them
    all_of_them.close()


def said(seen: Seen, beside: str = "") -> object:
    """What was said, whatever the dialect: a refusal is text to Anthropic's."""
    calls = [(p.call_id, p.name, p.arguments) for p in seen.parts if p.kind == "call"]
    words = "".join(p.text for p in seen.parts if p.kind in {"text", "refusal"})
    thoughts = "".join(p.text for p in seen.parts if p.kind == "thinking" and not p.seal)
    sealed = [(p.text, p.seal) for p in seen.parts if p.seal]
    return words + beside, thoughts or "".join(text for text, _ in sealed), sealed, calls


@pytest.mark.parametrize(("name", "theirs", "ours"), list(cases()))
def test_a_recording_is_the_same_answer_in_another_dialect(
    clients: Clients, name: str, theirs: str, ours: str
) -> None:
    raw = recorded.raw(name + next(end for end, dialect in ENDS.items() if dialect == theirs))
    if what := REFUSED.get((name, theirs)):
        with pytest.raises(ProviderUntranslatable, match=what):
            told(theirs, ours, raw)
        return
    direct = clients.accumulate(theirs, raw)
    events = told(theirs, ours, raw)
    for seen in (
        clients.accumulate(ours, encode_batch(events)),
        clients.read(ours, ALL[ours].fold(events)),
    ):
        assert said(seen) == said(direct, BESIDE.get((name, theirs), ""))
        assert seen.usage == direct.usage
