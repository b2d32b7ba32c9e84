"""What an event of Anthropic Messages adds to its answer."""

from collections.abc import Sequence

import msgspec

from proxy.wire.assembly import Object, decode, index_of, object_at, objects_at
from proxy.wire.deltas import Delta, Kind

_FIELDS = {
    "text_delta": ("text", Kind.TEXT),
    "thinking_delta": ("thinking", Kind.REASONING),
    "input_json_delta": ("partial_json", Kind.TOOL),
}


def read_event(data: bytes) -> Sequence[Delta]:
    """The pieces in it, of an event one or none. What cannot be read says nothing."""
    try:
        event = object_at(decode(data))
    except (ValueError, RecursionError):
        return ()
    index = index_of(event) or 0
    match event.get("type"):
        case "content_block_start":
            return _begin(object_at(event.get("content_block")), index)
        case "content_block_delta":
            said = object_at(event.get("delta"))
            field, kind = _FIELDS.get(str(said.get("type")), ("", Kind.TEXT))
            return _piece(said, field, kind, index)
        case "message":  # in one piece
            blocks = objects_at(event.get("content"))
            return [delta for place, block in enumerate(blocks) for delta in _begin(block, place)]
        case _:
            return ()


def _begin(block: Object, index: int) -> Sequence[Delta]:
    match block.get("type"):
        case "text":
            return _piece(block, "text", Kind.TEXT, index)
        case "thinking":
            return _piece(block, "thinking", Kind.REASONING, index)
        case _:
            name, given = block.get("name"), block.get("input")
            if not isinstance(name, str):  # a result, not a call
                return ()
            whole = msgspec.json.encode(given).decode() if given else ""
            return (Delta(Kind.TOOL, whole, index, name),)


def _piece(said: Object, field: str, kind: Kind, index: int) -> Sequence[Delta]:
    text = said.get(field)
    return (Delta(kind, text, index),) if isinstance(text, str) and text else ()
