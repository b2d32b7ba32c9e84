"""A chat completion of a provider, heard as the steps of an answer.

Owns which fields of a chunk say something. What only accompanies an answer (log probabilities,
obfuscation, filters, fields that no book knows) is passed over. What surprises: nothing says that
a call of a tool is whole. So it counts as whole when its arguments are and something else begins,
and the rest at the end.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled, ProviderUntranslatable
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
from proxy.wire.assembly import Object, encode, grow
from proxy.wire.json_text import read_halves

_STOPS = {
    "stop": Stop.END,
    "eos": Stop.END,
    "end_turn": Stop.END,
    "length": Stop.LENGTH,
    "max_tokens": Stop.LENGTH,
    "stop_sequence": Stop.SEQUENCE,
    "tool_calls": Stop.TOOL,
    "function_call": Stop.TOOL,
    "content_filter": Stop.REFUSAL,
}
"""OpenAI's, and those of servers that keep their own words."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _UrlCitation(msgspec.Struct, gc=False):
    url: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Annotation(msgspec.Struct, gc=False):
    type: str = ""
    url_citation: _UrlCitation | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[object] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Object] | None = None
    tool_calls: list[_Call] | None = None
    annotations: list[_Annotation] | None = None
    function_call: object = None
    audio: object = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM's: the stop sequence that was said, or the number of a token."""


class _Chunk(msgspec.Struct, gc=False):
    model: str | None = None
    choices: list[_Choice] | None = None


_decoder = msgspec.json.Decoder(_Chunk)


class _Tool:
    """A call that is being said."""

    def __init__(self, part: int, call_id: str, name: str) -> None:
        self.part = part
        self.call_id = call_id
        self.name = name
        self.pieces: list[str] = []
        self.is_open = True

    def is_whole(self) -> bool:
        """Nothing but blanks can follow."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode("".join(self.pieces))
        except (msgspec.DecodeError, UnicodeEncodeError):
            return False
        return True


class ChatHearing:
    """Hears one answer. See `Hearing`."""

    def __init__(self) -> None:
        self._has_begun = False
        self._parts = 0
        self._open: tuple[PartKind, int] | None = None
        """The part that is open and no call."""
        self._calls: dict[int, _Tool] = {}
        self._details: Object = {}
        """`reasoning_details`, as far as they were said and not yet sealed."""
        self._finish_reason = ""
        self._sequence: str | None = None

    def hear(self, frame: Frame) -> Sequence[Step]:
        """See `Hearing`."""
        if frame.data == DONE:
            return ()
        chunk = read_halves(_decoder, frame.data)
        steps: list[Step] = []
        if not self._has_begun:
            self._has_begun = True
            steps.append(Began(chunk.model or ""))
        for choice in chunk.choices or ():
            if choice.index:
                raise ProviderUntranslatable("a second answer beside the first")
            if choice.delta is not None:
                self._hear(choice.delta, steps)
            if choice.finish_reason:
                self._finish_reason = choice.finish_reason
                if isinstance(choice.stop_reason, str):
                    self._sequence = choice.stop_reason
        return steps

    def finish(self) -> Sequence[Step]:
        """See `Hearing`."""
        steps: list[Step] = []
        self._close(steps)
        steps += [Closed(call.part) for call in self._calls.values() if call.is_open]
        if self._details:  # those that came after the reasoning
            self._open_as(PartKind.REASONING, steps)
            self._close(steps)
        reason = _STOPS.get(self._finish_reason)
        if reason is None:
            raise ProviderUntranslatable(f"the finish reason {self._finish_reason[:40]!r}")
        if reason is Stop.END and self._calls:  # OpenAI's reason where the client named the tool
            reason = Stop.TOOL
        elif reason is Stop.END and self._sequence is not None:
            reason = Stop.SEQUENCE
        steps.append(Stopped(reason, self._sequence))
        return steps

    def _hear(self, delta: _Delta, steps: list[Step]) -> None:
        if delta.reasoning_details:
            grow(self._details, {"reasoning_details": delta.reasoning_details})
        if thought := delta.reasoning_content or delta.reasoning:
            self._say(PartKind.REASONING, thought, steps)
        if text := delta.content:
            if not isinstance(text, str):
                raise ProviderUntranslatable("content that is not text")
            self._say(PartKind.TEXT, text, steps)
        if delta.refusal:
            self._say(PartKind.REFUSAL, delta.refusal, steps)
        for place, call in enumerate(delta.tool_calls or ()):
            self._hear_call(call, place, steps)
        for annotation in delta.annotations or ():
            self._cite(annotation, steps)
        if delta.function_call:
            raise ProviderUntranslatable("a function_call, in whose place tool_calls have come")
        if delta.audio:
            raise ProviderUntranslatable("audio")

    def _say(self, kind: PartKind, text: str, steps: list[Step]) -> None:
        steps.append(Said(self._open_as(kind, steps), text))

    def _open_as(self, kind: PartKind, steps: list[Step]) -> int:
        """The part of this kind that is open, from now on if not yet."""
        if self._open is not None and self._open[0] is kind:
            return self._open[1]
        self._close(steps)
        part = self._next_part()
        self._open = (kind, part)
        steps.append(Opened(part, kind))
        return part

    def _close(self, steps: list[Step]) -> None:
        """Close all that is whole, because something else begins."""
        if self._open is not None:
            kind, part = self._open
            self._open = None
            if kind is PartKind.REASONING and self._details:
                details = self._details.pop("reasoning_details")
                steps.append(Sealed(part, encode(details).decode()))
            steps.append(Closed(part))
        for call in self._calls.values():
            if call.is_open and call.is_whole():
                call.is_open = False
                steps.append(Closed(call.part))

    def _next_part(self) -> int:
        part = self._parts
        self._parts += 1
        return part

    def _hear_call(self, said: _Call, place: int, steps: list[Step]) -> None:
        index = place if said.index is None else said.index
        function = said.function or _Function()
        call = self._calls.get(index)
        if call is not None and _is_another(call, said, function):
            # Some servers number all their calls 0.
            if call.is_open:
                call.is_open = False
                steps.append(Closed(call.part))
            call = None
        if call is None:
            if said.type and said.type != "function":
                raise ProviderUntranslatable(f"a call of the type {said.type[:40]!r}")
            self._close(steps)
            name = function.name or ""
            call = self._calls[index] = _Tool(self._next_part(), said.id or "", name)
            steps.append(Opened(call.part, PartKind.TOOL, call.call_id, name))
        if function.arguments:
            if call.is_open:
                call.pieces.append(function.arguments)
                steps.append(Said(call.part, function.arguments))
            elif not function.arguments.isspace():
                raise ProviderGarbled("more arguments of a call that was whole")

    def _cite(self, annotation: _Annotation, steps: list[Step]) -> None:
        cited = annotation.url_citation
        if cited is None:
            raise ProviderUntranslatable(f"an annotation of the type {annotation.type[:40]!r}")
        part = self._open_as(PartKind.TEXT, steps)
        title = cited.title or ""
        steps.append(Cited(part, cited.url, title, "", cited.start_index, cited.end_index))


def _is_another(call: _Tool, said: _Call, function: _Function) -> bool:
    """Whether another call is said under the number of one: by its id, or else by its name.

    Some servers say the name in every chunk. Raises `ProviderGarbled` for one that comes late.
    """
    if said.id and call.call_id:
        return said.id != call.call_id
    is_other_name = bool(function.name) and function.name != call.name
    says_more = bool(function.name) and bool((function.arguments or "").strip())
    if not call.call_id and (is_other_name or says_more) and call.is_whole():
        return True
    if is_other_name:
        raise ProviderGarbled("another name of a call that has one, or has begun without")
    return False
