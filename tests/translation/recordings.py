"""What the recordings are in another dialect: the same, or refused by name."""

from tests.translation.accumulated import Seen
from tests.translation.answers import CHAT, MESSAGES, RESPONSES

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


def said(seen: Seen, beside: str = "") -> object:
    """What was said, whatever the dialect: a refusal is text to Anthropic's."""
    calls = [(p.call_id, p.name, p.arguments) for p in seen.parts if p.kind == "call"]
    words = "".join(p.text for p in seen.parts if p.kind in {"text", "refusal"})
    thoughts = "".join(p.text for p in seen.parts if p.kind == "thinking" and not p.seal)
    sealed = [(p.text, p.seal) for p in seen.parts if p.seal]
    return words + beside, thoughts or "".join(text for text, _ in sealed), sealed, calls
