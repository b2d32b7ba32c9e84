"""The neutral meaning of one event: what of the answer it adds, whatever the dialect.

For whoever shows or counts an answer as it comes. Relaying needs none of it: bytes pass.
"""

import enum

import msgspec


class Kind(enum.Enum):
    """What grows."""

    TEXT = "text"
    """What the model says: its refusal too, and the words of what it speaks."""
    REASONING = "reasoning"
    TOOL = "tool"
    """A call of a tool, the provider's own ones too: its name, then its arguments in pieces."""


class Delta(msgspec.Struct, frozen=True, gc=False):
    """A piece of an answer. Pieces of one kind and index, joined in their order, are the whole."""

    kind: Kind
    text: str
    """May hold half of a surrogate pair, whose other half comes next."""
    index: int = 0
    """Which call of a tool."""
    name: str = ""
    """Of the tool, in the piece that begins its call."""
    choice: int = 0
    """Which of several answers to one request."""
