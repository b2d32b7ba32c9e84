"""The one response that the events of a stream amount to.

Owns what of a response is said once, what grows and what is replaced, over `assembly`. The last
event that holds a whole response is its envelope; a finished item replaces what was heard of it;
and a response that has ended is what its last event says. Of no events it makes a response that
is queued, whose id and model are empty: a stream that has said nothing yet.

What surprises: some servers end with a response without output. It is then what was heard.
"""

from collections.abc import Iterable, Sequence

from proxy.stream import DONE, Birth, Event
from proxy.wire.assembly import Json, Object, Text, decode, encode, folding, object_at
from proxy.wire.responses.ids import response_id

_PLACES_MAX = 10_000
"""Of items, and of the parts of one. Chosen: what a provider numbers further, it does not mean."""
_PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
_GROWING = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("content", "content_index", "refusal"),
    "response.reasoning_text": ("content", "content_index", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "text"),
    "response.function_call_arguments": ("", "", "arguments"),
    "response.custom_tool_call_input": ("", "", "input"),
    "response.mcp_call_arguments": ("", "", "arguments"),
    "response.code_interpreter_call_code": ("", "", "code"),
}
"""Where in its item a text grows: the list of parts and the field that numbers it, and its name,
which is also that of the whole text when it is done."""


def blank() -> Object:
    """A response of which nothing is known, with all that its types call for."""
    return {
        "id": "",
        "object": "response",
        "created_at": 0,
        "status": "queued",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def fold_events(events: Iterable[Event]) -> bytes:
    """The answer so far."""
    with folding():
        return encode(folded(events))


def folded(events: Iterable[Event]) -> Object:
    """The same, not encoded. Raises `RecursionError` and `ValueError`."""
    fold = _Fold()
    for event in events:
        if event.data != DONE:
            fold.add(object_at(decode(event.data)))
    return fold.finished()


def response_of(birth: Birth, events: Sequence[Event]) -> Object:
    """The response in a stream so far, by the name of the stream until it says its own.

    Raises `RecursionError` and `ValueError`.
    """
    response = dict(folded(events))
    if not response.get("id"):
        response |= {"id": response_id(birth.id), "model": birth.model}
        response["created_at"] = int(birth.created_at)
    return response


class _Fold:
    def __init__(self) -> None:
        self._response = blank()
        self._items: dict[int, Object] = {}

    def add(self, event: Object) -> None:
        """One event. What comes without its start is passed over, as the SDK cannot take it."""
        kind = event.get("type")
        if not isinstance(kind, str):
            if event.get("object") == "response":  # in one piece
                self._response = event
            return
        if isinstance(event.get("response"), dict):
            self._response = object_at(event["response"])
        elif kind == "error":
            said = object_at(event.get("error")) or event
            error = {"code": said.get("code"), "message": said.get("message")}
            self._response = {**self._response, "status": "failed", "error": error}
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            index = _place(event, "output_index")
            if index is not None and isinstance(event.get("item"), dict):
                self._items[index] = object_at(event["item"])
        elif (item := self._items.get(_place(event, "output_index") or 0)) is not None:
            _add_to(item, kind, event)

    def finished(self) -> Object:
        """The response, its items in the order of their index."""
        if self._items and not self._response.get("output"):
            output = [self._items[index] for index in sorted(self._items)]
            self._response = {**self._response, "output": output}
        return self._response


def _place(event: Object, name: str) -> int | None:
    place = event.get(name)
    return place if type(place) is int and 0 <= place < _PLACES_MAX else None


def _add_to(item: Object, kind: str, event: Object) -> None:
    what, _, how = kind.rpartition(".")
    if what in _PARTS and how in {"added", "done"}:
        parts, number = _PARTS[what]
        _set_part(item, parts, _place(event, number), event.get("part"))
    elif what in _GROWING and how in {"delta", "done"}:
        parts, number, name = _GROWING[what]
        grown = _part(item, parts, _place(event, number)) if parts else item
        if grown is not None:
            _grow(grown, name, how, event)
    elif kind == "response.output_text.annotation.added":
        part = _part(item, "content", _place(event, "content_index"))
        if part is not None:
            _append(part, "annotations", [event.get("annotation")])


def _grow(made: Object, name: str, how: str, event: Object) -> None:
    if how == "done":
        if isinstance(event.get(name), str):
            made[name] = event[name]
        return
    had, piece = made.get(name), event.get("delta")
    if isinstance(had, Text) and isinstance(piece, str):
        had.append(piece)
    elif isinstance(piece, str):
        made[name] = grown = Text(had if isinstance(had, str) else "")
        grown.append(piece)
    if isinstance(logprobs := event.get("logprobs"), list) and logprobs:
        _append(made, "logprobs", logprobs)


def _append(made: Object, name: str, more: list[Json]) -> None:
    had = made.get(name)
    made[name] = [*had, *more] if isinstance(had, list) else more


def _parts(item: Object, name: str) -> list[Json]:
    parts = item.get(name)
    if not isinstance(parts, list):
        parts = item[name] = []
    return parts


def _part(item: Object, name: str, index: int | None) -> Object | None:
    parts = _parts(item, name)
    part = parts[index] if index is not None and index < len(parts) else None
    return part if isinstance(part, dict) else None


def _set_part(item: Object, name: str, index: int | None, part: Json) -> None:
    parts = _parts(item, name)
    if index is None or index > len(parts):
        return
    parts[index : index + 1] = [part]
