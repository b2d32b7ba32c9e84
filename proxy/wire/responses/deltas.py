"""What an event of OpenAI Responses adds to its answer."""

from collections.abc import Sequence

from proxy.stream import DONE
from proxy.wire.assembly import Object, decode, object_at
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
_CALL = "_call"
"""How the types of items end in which a tool is called, the provider's own ones too."""


def read_event(data: bytes) -> Sequence[Delta]:
    """The pieces in it, which are one or none. What cannot be read says nothing."""
    if data == DONE:
        return ()
    try:
        event = object_at(decode(data))
    except (ValueError, RecursionError):
        return ()
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
