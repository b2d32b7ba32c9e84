"""A response of a provider, heard as the steps of an answer.

Owns which events say something. Each thing is said three times: in pieces, whole when it is done,
and whole again in its item; what a server left out of the pieces is heard of the whole. What
surprises: an item that no step can say is found by its type when it is added, so the many events
of such items need no names here.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderUntranslatable
from proxy.stream import DONE, Frame
from proxy.wire.answer import (
    Began,
    Cited,
    Closed,
    Opened,
    PartKind,
    Said,
    Sealed,
    Step,
    Stop,
    Stopped,
)
from proxy.wire.json_text import read_known

_REASONS = {"max_output_tokens": Stop.LENGTH, "content_filter": Stop.REFUSAL}
_SAID = {
    "response.output_text.delta": PartKind.TEXT,
    "response.refusal.delta": PartKind.REFUSAL,
    "response.reasoning_summary_text.delta": PartKind.REASONING,
    "response.reasoning_text.delta": PartKind.REASONING,
    "response.function_call_arguments.delta": PartKind.TOOL,
}
_DONE = {
    "response.output_text.done": PartKind.TEXT,
    "response.refusal.done": PartKind.REFUSAL,
    "response.reasoning_summary_text.done": PartKind.REASONING,
    "response.reasoning_text.done": PartKind.REASONING,
    "response.function_call_arguments.done": PartKind.TOOL,
}
_KNOWN = frozenset(
    {
        *_SAID,
        *_DONE,
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.annotation.added",
        "response.completed",
        "response.incomplete",
    }
)
_ITEMS = frozenset({"message", "reasoning", "function_call"})


class _Annotation(msgspec.Struct, gc=False):
    type: str = ""
    url: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Content(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    refusal: str = ""


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    content: list[_Content] | None = None
    summary: list[_Content] | None = None
    encrypted_content: str | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    model: str = ""
    incomplete_details: _Incomplete | None = None
    output: list[_Item] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str = ""
    text: str = ""
    refusal: str = ""
    arguments: str = ""
    item: _Item | None = None
    annotation: _Annotation | None = None
    response: _Response | None = None


_decoder = msgspec.json.Decoder(_Event)
_Place = tuple[PartKind, int]
"""What is said, and the index of the content or summary that says it."""


class _Heard:
    """An item, as far as it was heard."""

    def __init__(self) -> None:
        self.part: int | None = None
        """The part that is open."""
        self.kind = PartKind.TEXT
        self.chars: dict[_Place, int] = {}
        """How much of each content or summary was said."""
        self.is_done = False


class ResponsesHearing:
    """Hears one answer. See `Hearing`."""

    def __init__(self) -> None:
        self._has_begun = False
        self._parts = 0
        self._items: dict[int, _Heard] = {}
        self._has_called = False
        self._stop = Stop.END

    def hear(self, frame: Frame) -> Sequence[Step]:
        """See `Hearing`."""
        if frame.data == DONE:
            return ()
        event = read_known(_decoder, frame.data, _KNOWN)
        if event is None:
            return ()
        steps: list[Step] = []
        kind = event.type or frame.name
        if kind in _SAID:
            self._say(event.output_index, _place(_SAID[kind], event), event.delta, steps)
        elif kind in _DONE:
            whole = event.text or event.refusal or event.arguments
            self._say_rest(event.output_index, _place(_DONE[kind], event), whole, steps)
        elif kind == "response.output_item.added" and event.item is not None:
            self._add(event.output_index, event.item, steps)
        elif kind == "response.output_item.done" and event.item is not None:
            self._finish(event.output_index, event.item, steps)
        elif kind == "response.output_text.annotation.added":
            self._cite(event, steps)
        elif kind == "response.created":
            self._begin(event.response.model if event.response else "", steps)
        elif kind in {"response.completed", "response.incomplete"}:
            self._end(event.response or _Response(), kind, steps)
        elif kind.startswith("response.audio"):
            raise ProviderUntranslatable("audio")
        return steps

    def finish(self) -> Sequence[Step]:
        """See `Hearing`."""
        calls = self._has_called and self._stop is Stop.END
        return (Stopped(Stop.TOOL if calls else self._stop),)

    def _begin(self, model: str, steps: list[Step]) -> None:
        """The answer begins, if it has not yet: servers that forget to say so are heard too."""
        if not self._has_begun:
            self._has_begun = True
            steps.append(Began(model))

    def _item(self, index: int) -> _Heard:
        if index not in self._items:
            self._items[index] = _Heard()
        return self._items[index]

    def _add(self, index: int, item: _Item, steps: list[Step]) -> _Heard:
        if item.type not in _ITEMS:
            raise ProviderUntranslatable(f"an item of the type {item.type[:40]!r}")
        heard = self._item(index)
        if item.type == "function_call" and not heard.is_done and heard.part is None:
            self._has_called = True
            self._open(heard, PartKind.TOOL, steps, item)
        return heard

    def _open(
        self, heard: _Heard, kind: PartKind, steps: list[Step], item: _Item | None = None
    ) -> int:
        """A part of the item; every other that is open and no call is closed."""
        self._begin("", steps)
        for other in self._items.values():
            if other.kind is not PartKind.TOOL:
                _close(other, steps)
        part = heard.part = self._parts
        self._parts += 1
        heard.kind = kind
        call = item or _Item()
        steps.append(Opened(part, kind, call.call_id, call.name))
        return part

    def _say(self, index: int, place: _Place, text: str, steps: list[Step]) -> None:
        heard = self._item(index)
        if not text or heard.is_done:
            return
        kind = place[0]
        if kind is PartKind.TOOL and heard.part is None:
            raise ProviderUntranslatable("arguments of a call that was not added")
        said = heard.chars.get(place)
        is_new = said is None and kind is not PartKind.REASONING and bool(heard.chars)
        if heard.part is None or heard.kind is not kind or is_new:
            part = self._open(heard, kind, steps)
        else:
            part = heard.part
            if said is None and heard.chars:  # the next paragraph of its reasoning
                steps.append(Said(part, "\n\n"))
        heard.chars[place] = (said or 0) + len(text)
        steps.append(Said(part, text))

    def _say_rest(self, index: int, place: _Place, whole: str, steps: list[Step]) -> None:
        """What the pieces have left out. What was said cannot be taken back."""
        said = self._item(index).chars.get(place, 0)
        self._say(index, place, whole[said:], steps)

    def _finish(self, index: int, item: _Item, steps: list[Step]) -> None:
        heard = self._add(index, item, steps)
        if heard.is_done:
            return
        if item.type == "function_call":
            self._say_rest(index, (PartKind.TOOL, 0), item.arguments, steps)
        for place, content in enumerate(item.summary or ()):
            self._say_rest(index, (PartKind.REASONING, -1 - place), content.text, steps)
        for place, content in enumerate(item.content or ()):
            self._say_rest(index, *_content(item, content, place), steps)
        if item.encrypted_content:
            part = heard.part
            if part is None:
                part = self._open(heard, PartKind.REASONING, steps)
            steps.append(Sealed(part, item.encrypted_content))
        _close(heard, steps)
        heard.is_done = True

    def _cite(self, event: _Event, steps: list[Step]) -> None:
        cited = event.annotation or _Annotation()
        if cited.type != "url_citation":
            raise ProviderUntranslatable(f"an annotation of the type {cited.type[:40]!r}")
        heard = self._item(event.output_index)
        part = heard.part
        if part is None or heard.kind is not PartKind.TEXT:
            part = self._open(heard, PartKind.TEXT, steps)
        title = cited.title or ""
        steps.append(Cited(part, cited.url, title, "", cited.start_index, cited.end_index))

    def _end(self, response: _Response, kind: str, steps: list[Step]) -> None:
        self._begin(response.model, steps)
        if not self._items:  # all of it is said here; else there may be gaps between the indexes
            for index, item in enumerate(response.output or ()):
                self._finish(index, item, steps)
        for heard in self._items.values():
            _close(heard, steps)
        if kind == "response.incomplete":
            details = response.incomplete_details
            reason = (details.reason if details else None) or ""
            if reason not in _REASONS:
                raise ProviderUntranslatable(f"an end for the reason {reason[:40]!r}")
            self._stop = _REASONS[reason]


def _close(heard: _Heard, steps: list[Step]) -> None:
    if heard.part is not None:
        steps.append(Closed(heard.part))
        heard.part = None


def _place(kind: PartKind, event: _Event) -> _Place:
    if kind is PartKind.TOOL:
        return kind, 0
    if event.type.startswith("response.reasoning_summary"):
        return kind, -1 - event.summary_index
    return kind, event.content_index


def _content(item: _Item, content: _Content, place: int) -> tuple[_Place, str]:
    if item.type == "reasoning":
        return (PartKind.REASONING, place), content.text
    if content.type == "refusal":
        return (PartKind.REFUSAL, place), content.refusal
    return (PartKind.TEXT, place), content.text
