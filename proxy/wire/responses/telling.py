"""An answer, told as the events of a response.

Owns its events and their `sequence_number`, which is the event's id less one. Words that follow
each other are contents of one message; all else is an item of its own. What surprises: each thing
is said three times, as the dialect wants it: in pieces, whole in its item, and all items together
at the end. So the whole answer is kept here while it is told.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from proxy.stream import Event, Frame, Usage
from proxy.wire.answer import (
    Began,
    Cited,
    Closed,
    Counted,
    Making,
    Opened,
    PartKind,
    Said,
    Sealed,
    Step,
    Stop,
    Stopped,
)
from proxy.wire.json_text import write
from proxy.wire.responses.annotations import annotation_of
from proxy.wire.responses.envelope import envelope, usage_object
from proxy.wire.responses.told import Told, told_output
from proxy.wire.seals import carried

_Object = dict[str, object]
_OWN = "openai.responses"
_INCOMPLETE = {Stop.LENGTH: "max_output_tokens", Stop.REFUSAL: "content_filter"}
"""Why a response is not complete. All other stops complete it."""


class _Words(NamedTuple):
    """How a kind of part is said."""

    event: str
    """Of its pieces with ``.delta``, of the whole with ``.done``."""
    field: str
    """What the whole is called."""
    part_event: str = ""
    """What begins it with ``.added`` and ends it with ``.done``, if that is not its item."""
    part_type: str = ""


_WORDS = {
    PartKind.TEXT: _Words("response.output_text", "text", "response.content_part", "output_text"),
    PartKind.REFUSAL: _Words("response.refusal", "refusal", "response.content_part", "refusal"),
    PartKind.REASONING: _Words(
        "response.reasoning_summary_text", "text", "response.reasoning_summary_part", "summary_text"
    ),
    PartKind.TOOL: _Words("response.function_call_arguments", "arguments"),
}


class _Item(NamedTuple):
    """An item of the output, as it is by now."""

    place: int
    said: _Object


class _Part:
    """A part that is being told, and the bytes around the number and the text of each piece."""

    def __init__(self, kind: PartKind, item: _Item) -> None:
        self.kind = kind
        self.item = item
        self.words = _WORDS[kind]
        self.place: _Object = {"item_id": item.said["id"], "output_index": item.place}
        """Where it is, as every event about it says."""
        contents = item.said.get("content")
        if isinstance(contents, list):
            self.place["content_index"] = len(contents)
        elif kind is PartKind.REASONING:
            self.place["summary_index"] = 0
        self.name = f"{self.words.event}.delta"
        self.before = b'{"type":"%b","sequence_number":' % self.name.encode()
        self.between = b',%b,"delta":' % write(self.place)[1:-1]
        self.after = b',"logprobs":[]}' if kind is PartKind.TEXT else b"}"
        self.has_begun = kind is PartKind.TOOL
        self.pieces: list[str] = []
        self.cited: list[Cited] = []
        self.start = 0
        """Where in it the words of this provider begin, of which alone it knows the places."""

    def go_on(self, text: str) -> None:
        """It has begun with `text`, which another provider said."""
        self.has_begun = True
        self.pieces.append(text)
        self.start = len(text)

    def content(self, whole: str, annotations: Sequence[_Object] = ()) -> _Object:
        """The content or summary that it is."""
        content: _Object = {"type": self.words.part_type, self.words.field: whole}
        if self.kind is PartKind.TEXT:
            content.update(annotations=annotations, logprobs=[])
        return content


class ResponsesTelling:
    """Tells one answer. See `Telling`."""

    def __init__(self, making: Making, so_far: Sequence[Event] = ()) -> None:
        self._maker = making.maker
        self._stream = making.stream.removeprefix("st_")
        told = told_output(so_far) if so_far else Told(envelope(making), [])
        self._response = told.response
        self._output = told.output
        self._told = len(so_far)
        """How many events."""
        self._parts: dict[int, _Part] = {}
        self._message: _Item | None = None
        """The message that is open."""
        self._left: _Part | None = None
        """The text in it that somebody else began."""
        if told.is_open:
            self._message = _Item(len(told.output) - 1, told.output[-1])
        if self._message is not None and told.open_text is not None:
            self._left = _Part(PartKind.TEXT, self._message)
            self._left.go_on(told.open_text)
        self._usage = Usage()

    def tell(self, step: Step) -> Sequence[Frame]:
        """See `Telling`."""
        match step:
            case Said(part, text):
                return self._say(self._parts[part], text)
            case Opened():
                return self._open(step)
            case Closed(part):
                return self._close(self._parts.pop(part))
            case Cited(part):
                self._parts[part].cited.append(step)
            case Sealed(part, seal, is_redacted):
                said = self._parts[part].item.said
                if self._maker != _OWN:
                    seal = carried(self._maker, seal, is_redacted=is_redacted)
                said["encrypted_content"] = seal
            case Counted(usage):
                self._usage = usage
            case Began():
                begun = self._response
                return [
                    self._frame(f"response.{word}", {"response": begun})
                    for word in ("created", "in_progress")
                ]
            case Stopped(reason):
                return self._stop(reason)
        return ()

    def finish(self) -> Sequence[Frame]:
        """See `Telling`."""
        response = self._response
        response.update(output=self._output, usage=usage_object(self._usage))
        return (self._frame(f"response.{response['status']}", {"response": response}),)

    def _frame(self, kind: str, said: _Object) -> Frame:
        event = {"type": kind, "sequence_number": self._told, **said}
        self._told += 1
        return Frame(kind, write(event))

    def _stop(self, reason: Stop) -> Sequence[Frame]:
        why = _INCOMPLETE.get(reason)
        status = "completed" if why is None else "incomplete"
        self._response["status"] = status
        if why is not None:
            self._response["incomplete_details"] = {"reason": why}
        return [*self._close_left(), *self._close_message(status)]

    # --- items --------------------------------------------------------------------------------

    def _open(self, step: Opened) -> list[Frame]:
        if self._left is not None and step.kind is PartKind.TEXT:
            self._parts[step.part], self._left = self._left, None
            return []
        told = self._close_left()
        is_word = step.kind in {PartKind.TEXT, PartKind.REFUSAL}
        if not is_word:
            told += self._close_message("completed")
        item = self._message
        if item is None:
            item = self._new_item(step)
            told.append(self._item_frame("added", item))
            if is_word:
                self._message = item
        part = self._parts[step.part] = _Part(step.kind, item)
        if is_word:
            told.append(self._begin(part))
        return told

    def _new_item(self, step: Opened) -> _Item:
        place = len(self._output)
        number = f"{self._stream}_{place}"
        said: _Object
        match step.kind:
            case PartKind.REASONING:
                said = {"id": f"rs_{number}", "type": "reasoning", "summary": []}
            case PartKind.TOOL:
                call_id = step.call_id or f"call_{number}"
                said = {"id": f"fc_{number}", "type": "function_call", "call_id": call_id}
                said.update(name=step.name, arguments="")
            case _:
                said = {"id": f"msg_{number}", "type": "message", "role": "assistant"}
                said["content"] = []
        said["status"] = "in_progress"
        self._output.append(said)
        return _Item(place, said)

    def _item_frame(self, word: str, item: _Item) -> Frame:
        said: _Object = {"output_index": item.place, "item": item.said}
        return self._frame(f"response.output_item.{word}", said)

    def _close_left(self) -> list[Frame]:
        left, self._left = self._left, None
        return [] if left is None else self._close(left)

    def _close_message(self, status: str) -> Sequence[Frame]:
        item, self._message = self._message, None
        if item is None:
            return ()
        item.said["status"] = status
        return (self._item_frame("done", item),)

    # --- parts --------------------------------------------------------------------------------

    def _begin(self, part: _Part) -> Frame:
        part.has_begun = True
        content = {**part.place, "part": part.content("")}
        return self._frame(f"{part.words.part_event}.added", content)

    def _say(self, part: _Part, text: str) -> Sequence[Frame]:
        begun = [] if part.has_begun else [self._begin(part)]
        part.pieces.append(text)
        data = b"%b%d%b%b%b" % (part.before, self._told, part.between, write(text), part.after)
        self._told += 1
        begun.append(Frame(part.name, data))
        return begun

    def _close(self, part: _Part) -> list[Frame]:
        whole = "".join(part.pieces)
        if part.kind is PartKind.TOOL:
            whole = whole or "{}"  # nothing would be no JSON
        told = self._close_words(part, whole) if part.has_begun else []
        item = part.item
        if item is self._message:
            return told
        item.said["status"] = "completed"
        if part.kind is PartKind.TOOL:
            item.said["arguments"] = whole
            if not _is_json(whole):  # nothing else says that a call was cut short
                item.said["status"] = "incomplete"
        return [*told, self._item_frame("done", item)]

    def _close_words(self, part: _Part, whole: str) -> list[Frame]:
        """The whole of it, in all the places that say it."""
        annotations = [annotation_of(cited, part.start, len(whole)) for cited in part.cited]
        told = [
            self._frame(
                "response.output_text.annotation.added",
                {**part.place, "annotation_index": number, "annotation": annotation},
            )
            for number, annotation in enumerate(annotations)
        ]
        words: _Object = {**part.place, part.words.field: whole}
        if part.kind is PartKind.TEXT:
            words["logprobs"] = []
        told.append(self._frame(f"{part.words.event}.done", words))
        if part.words.part_event:
            content = part.content(whole, annotations)
            kept = part.item.said["content" if "content_index" in part.place else "summary"]
            assert isinstance(kept, list), "of messages and reasoning"
            kept.append(content)
            ended = {**part.place, "part": content}
            told.append(self._frame(f"{part.words.part_event}.done", ended))
        return told


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
