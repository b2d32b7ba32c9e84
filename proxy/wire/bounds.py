"""How many tokens a request can be at most, before anybody has counted them.

Pure, and strict for text: a token of a byte-level tokenizer is one byte or more, and JSON spells
no text in fewer bytes than UTF-8 has. So the bytes of a request's fields are more than its tokens,
and their quotes and names more than what a chat template puts around a message. Whatever is more
in the end (pages of files, what a provider's own tools read) becomes a debt when it is counted.
What surprises: an English text is a quarter of its bound. The rest comes back when it is settled.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from proxy.errors import MalformedRequest
from proxy.wire.json_text import NULL, Fields

OUTPUT_TOKENS_UNASKED = 4096
"""Of an answer that nobody bounds (the contract)."""

TOKENS_MAX = 1_000_000_000
"""The highest bound that a client may name. Chosen: above every model, and exact in the store."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
"""Of tokens, by a provider. Some say -1 for what they do not know, which would be given back."""

TEMPLATE_TOKENS = 128
"""What a server says before the first message. Chosen: gpt-oss's header has some 70 tokens."""

FILE_TOKENS = 10_000
"""Held for a document whose pages nobody has read. Chosen: a few pages; the rest is a debt."""


def text_tokens(fields: Fields) -> int:
    """The most tokens that all of it can be, if nothing in it is anything but text."""
    return TEMPLATE_TOKENS + sum(map(len, fields.values()))


def count_in(fields: Fields, name: str, high: int) -> int | None:
    """A whole number from 1 to `high`; None if it is absent or null. Else `MalformedRequest`."""
    value = fields.get(name, NULL)
    if value == NULL:
        return None
    try:
        count = msgspec.json.decode(value, type=int)
    except (msgspec.DecodeError, UnicodeDecodeError):
        count = 0
    if not 1 <= count <= high:
        raise MalformedRequest(f"'{name}' must be a whole number from 1 to {high}.", param=name)
    return count


def parts(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The elements of an array; none of anything else, which the provider judges."""
    try:
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
