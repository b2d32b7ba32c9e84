"""What an event of OpenAI Responses adds to its answer."""

from collections.abc import Iterator, Sequence

from proxy.stream import DONE
from proxy.wire.assembly import Object, decode, object_at, objects_at
from proxy.wire.deltas import Delta, Kind

_KINDS = {
    "response.output_text.delta": Kind.TEXT,
    "response.refusal.delta": Kind.TEXT,
    "response.audio.transcript.delta": Kind.TEXT,
    "response.reasoning_text.delta": Kind.REASONING,
    "response.reasoning_summary_text.delta": Kind.REASONING,
    "response.function_call_arguments.delta": Kind.TOOL,
    "response.custom_tool_call_input.delta": Kind.TOOL,
    "response.mcp_call_arguments.delta": Kind.TOOL,
    "response.code_interpreter_call_code.delta": Kind.TOOL,
}
_CONTENT = {"message": Kind.TEXT, "reasoning": Kind.REASONING}
_CALL = "_call"
"""How the types of items end in which a tool is called, the provider's own ones too."""


def read_event(data: bytes) -> Sequence[Delta]:
    """The pieces in it, of an event one or none. What cannot be read says nothing."""
    if data == DONE:
        return ()
    try:
        event = object_at(decode(data))
    except (ValueError, RecursionError):
        return ()
    if event.get("object") == "response" and "type" not in event:  # in one piece
        items = objects_at(event.get("output"))
        return [delta for index, item in enumerate(items) for delta in _read_item(item, index)]
    kind = event.get("type")
    place = event.get("output_index")
    index = place if isinstance(place, int) else 0
    if kind == "response.output_item.added":
        return _begin(object_at(event.get("item")), index)
    said = event.get("delta")
    if kind not in _KINDS or not isinstance(said, str) or not said:
        return ()
    return (Delta(_KINDS[kind], said, index),)


def _begin(item: Object, index: int) -> Sequence[Delta]:
    """Of a tool's call; it begins without arguments."""
    kind, name = item.get("type"), item.get("name")
    if not isinstance(kind, str) or not kind.endswith(_CALL):
        return ()
    return (Delta(Kind.TOOL, "", index, name if isinstance(name, str) else kind),)


def _read_item(item: Object, index: int) -> Iterator[Delta]:
    """Of one that is whole."""
    content = _CONTENT.get(str(item.get("type")))
    for name, kind in (("summary", Kind.REASONING), ("content", content)):
        for part in objects_at(item.get(name)):
            text = part.get("text") or part.get("refusal")
            if kind is not None and isinstance(text, str):
                yield Delta(kind, text, index)
    for call in _begin(item, index):
        given = item.get("arguments") or item.get("input")
        yield Delta(Kind.TOOL, given if isinstance(given, str) else "", index, call.name)
