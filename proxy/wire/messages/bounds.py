"""What an Anthropic message can use at most: its text as in `bounds`, and what is not text.

| part                    | held                                                                   |
| image                   | 4,800 tokens, the most that the largest have                           |
| document, container     | 10,000 tokens; what its pages are more is a debt. Plain text is text   |
| tools                   | 1,000 tokens for what the provider says about them, beside their text  |
| server tools, MCP       | nothing; what they read, and each further turn, is a debt              |
"""

import msgspec

from proxy.wire.bounds import (
    FILE_TOKENS,
    OUTPUT_TOKENS_UNASKED,
    TOKENS_MAX,
    count_in,
    parts,
    text_tokens,
)
from proxy.wire.dialect import Ask, Bounded
from proxy.wire.json_text import ABSENT, Fields, says_nothing, write_object

BUDGET_MIN = 1024
"""Documented: the least that may be thought."""
_IMAGE_TOKENS = 4800
"""Documented: width times height by 750, at most 4,784."""
_TOOLS_TOKENS = 1000
"""Documented: up to some 800 for the tools that a provider defines itself."""
_IN_A_RESULT = 1
"""How deep parts are looked into: a tool's result has parts of its own, and these have none."""


class _Source(msgspec.Struct):
    type: str = ""
    data: msgspec.Raw = ABSENT


class _Part(msgspec.Struct):
    type: str = ""
    source: _Source | None = None
    content: msgspec.Raw = ABSENT


class _Message(msgspec.Struct):
    content: msgspec.Raw = ABSENT


def bounded(ask: Ask, at_most: int | None) -> Bounded:
    """See `Dialect.bounded`. Only a client of another dialect can have said nothing."""
    fields = dict(ask.fields)
    asked = count_in(fields, "max_tokens", TOKENS_MAX)
    if asked is None:
        output = at_most or OUTPUT_TOKENS_UNASKED
    else:
        output = asked if at_most is None else min(asked, at_most)
    if output != asked:
        fields["max_tokens"] = msgspec.Raw(b"%d" % output)
        fields |= _less_thinking(fields, output)
    return Bounded(msgspec.structs.replace(ask, fields=fields), _input_tokens(fields), output)


def _less_thinking(fields: Fields, output: int) -> Fields:
    """Anthropic refuses a budget for thinking that is not less than all of the answer."""
    try:
        thinking = msgspec.json.decode(fields.get("thinking", ABSENT), type=Fields)
        budget = msgspec.json.decode(thinking.get("budget_tokens", ABSENT), type=int)
    except (msgspec.DecodeError, RecursionError):
        return {}
    half = output // 2
    if budget < output or half < BUDGET_MIN:
        return {}
    thinking["budget_tokens"] = msgspec.Raw(b"%d" % half)
    return {"thinking": msgspec.Raw(write_object(thinking))}


def _input_tokens(fields: Fields) -> int:
    tokens = text_tokens(fields)
    if not says_nothing(fields.get("tools", ABSENT)):
        tokens += _TOOLS_TOKENS
    for message in parts(fields["messages"]):
        try:
            content = msgspec.json.decode(message, type=_Message).content
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        tokens += _more_than_text(content, _IN_A_RESULT)
    return tokens


def _more_than_text(content: msgspec.Raw, depth: int) -> int:
    """How many tokens the parts of `content` are more, or fewer, than their bytes."""
    if not bytes(content).startswith(b"["):
        return 0
    tokens = 0
    for raw in parts(content):
        try:
            part = msgspec.json.decode(raw, type=_Part)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if part.type == "tool_result" and depth:
            tokens += _more_than_text(part.content, depth - 1)
        elif part.type in {"image", "document", "container_upload"}:
            tokens += _held_for(part)
    return tokens


def _held_for(part: _Part) -> int:
    source = part.source or _Source()
    if part.type == "document" and source.type in {"text", "content"}:
        return 0
    held = _IMAGE_TOKENS if part.type == "image" else FILE_TOKENS
    return held - (len(source.data) if source.type == "base64" else 0)
