"""The blocks of a message, as far as a client was told them: where the rest of it begins."""

from collections.abc import Iterable
from typing import NamedTuple

from proxy.errors import CannotContinue
from proxy.stream import Event
from proxy.wire.assembly import decode, index_of, object_at


class Told(NamedTuple):
    """What there is."""

    blocks: int
    """The index of the next one."""
    open_text: int | None
    """The index of the text that is not ended."""


def told_blocks(so_far: Iterable[Event]) -> Told:
    """Raises `CannotContinue` for another kind of block that is open.

    Thinking that is cut off has no signature, and a client could not give it back.
    """
    blocks, open_block, kind = 0, None, ""
    for event in so_far:
        said = object_at(decode(event.data))
        index = index_of(said)
        match said.get("type"):
            case "content_block_start" if index is not None:
                blocks, open_block = max(blocks, index + 1), index
                kind = str(object_at(said.get("content_block")).get("type"))
            case "content_block_stop" if index == open_block:
                open_block = None
    if open_block is not None and kind != "text":
        raise CannotContinue("tool_call" if kind == "tool_use" else "reasoning")
    return Told(blocks, open_block)
