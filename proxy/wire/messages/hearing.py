"""A message of a provider, heard as the steps of an answer.

Owns which blocks and deltas say something. What only accompanies an answer (pings, events that no
book knows) is passed over; a block or delta that no step can say is not. What surprises: the words
that explain a refusal stand beside the answer. They are heard as a part of it.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled, ProviderUntranslatable
from proxy.stream import Frame
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
from proxy.wire.json_text import read_known, write

_STOPS = {
    "end_turn": Stop.END,
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.LENGTH,
    "stop_sequence": Stop.SEQUENCE,
    "tool_use": Stop.TOOL,
    "pause_turn": Stop.PAUSE,
    "refusal": Stop.REFUSAL,
}
_KINDS = {
    "text": PartKind.TEXT,
    "thinking": PartKind.REASONING,
    "redacted_thinking": PartKind.REASONING,
    "tool_use": PartKind.TOOL,
}

_KNOWN = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
    }
)


class _Citation(msgspec.Struct, gc=False):
    """Of all kinds. Their places are those of what is cited, and no step says those."""

    url: str | None = None
    source: str | None = None
    title: str | None = None
    document_title: str | None = None
    cited_text: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: dict[str, object] | None = None
    citations: list[_Citation] | None = None


class _StopDetails(msgspec.Struct, gc=False):
    explanation: str | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    citation: _Citation | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class _Message(msgspec.Struct, gc=False):
    model: str = ""


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None


_decoder = msgspec.json.Decoder(_Event)


class _Open:
    """The block that is open."""

    def __init__(self, index: int, part: int, whole: str) -> None:
        self.index = index
        self.part = part
        self.whole = whole
        """A tool's input, if it came with the start; what deltas say of it counts instead."""


class MessagesHearing:
    """Hears one answer. See `Hearing`."""

    def __init__(self) -> None:
        self._has_begun = False
        self._parts = 0
        self._open: _Open | None = None
        self._last = _Delta()
        """What was said of its end."""

    def hear(self, frame: Frame) -> Sequence[Step]:
        """See `Hearing`."""
        event = read_known(_decoder, frame.data, _KNOWN)
        if event is None:
            return ()
        match event.type:
            case "content_block_delta":
                return self._hear_delta(self._block_at(event.index), event.delta or _Delta())
            case "content_block_start":
                return self._hear_start(event.index, event.content_block or _Block())
            case "content_block_stop":
                return self._close(event.index)
            case "message_start":
                return self._begin(event.message.model if event.message else "")
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason is not None:
                    self._last = event.delta
        return ()

    def finish(self) -> Sequence[Step]:
        """See `Hearing`."""
        steps = self._close()
        said = self._last
        reason = _STOPS.get(said.stop_reason or "")
        if reason is None:
            raise ProviderUntranslatable(f"the stop reason {(said.stop_reason or '')[:40]!r}")
        if said.stop_details is not None and said.stop_details.explanation:
            part = self._next_part()
            steps += [
                Opened(part, PartKind.REFUSAL),
                Said(part, said.stop_details.explanation),
                Closed(part),
            ]
        steps.append(Stopped(reason, said.stop_sequence))
        return steps

    def _begin(self, model: str = "") -> list[Step]:
        """The answer begins, if it has not yet: servers that forget to say so are heard too."""
        begun: list[Step] = [] if self._has_begun else [Began(model)]
        self._has_begun = True
        return begun

    def _close(self, index: int | None = None) -> list[Step]:
        """Close the open block, if it is this one."""
        block = self._open
        if block is None or index not in {None, block.index}:
            return []
        self._open = None
        rest: list[Step] = [Said(block.part, block.whole)] if block.whole else []
        return [*rest, Closed(block.part)]

    def _block_at(self, index: int) -> _Open:
        if self._open is None or self._open.index != index:
            raise ProviderGarbled("a delta of a block that is not open")
        return self._open

    def _next_part(self) -> int:
        part = self._parts
        self._parts += 1
        return part

    def _hear_start(self, index: int, block: _Block) -> Sequence[Step]:
        kind = _KINDS.get(block.type)
        if kind is None:
            raise ProviderUntranslatable(f"a block of the type {block.type[:40]!r}")
        # Some servers do not end one before they begin the next.
        steps = [*self._begin(), *self._close()]
        part = self._next_part()
        whole = write(block.input).decode() if block.input else ""
        self._open = _Open(index, part, whole)
        steps.append(Opened(part, kind, block.id, block.name))
        if said := block.text or block.thinking:
            steps.append(Said(part, said))
        steps += [_cited(part, citation) for citation in block.citations or ()]
        if block.data:
            steps.append(Sealed(part, block.data, is_redacted=True))
        elif block.signature:
            steps.append(Sealed(part, block.signature))
        return steps

    def _hear_delta(self, block: _Open, delta: _Delta) -> Sequence[Step]:
        part = block.part
        match delta.type:
            case "text_delta":
                said = delta.text
            case "thinking_delta":
                said = delta.thinking
            case "input_json_delta":
                said = delta.partial_json
                if said:
                    block.whole = ""
            case "signature_delta":
                return (Sealed(part, delta.signature),) if delta.signature else ()
            case "citations_delta":
                return (_cited(part, delta.citation or _Citation()),)
            case _:
                raise ProviderUntranslatable(f"a delta of the type {delta.type[:40]!r}")
        return (Said(part, said),) if said else ()


def _cited(part: int, citation: _Citation) -> Cited:
    url = citation.url or citation.source or ""
    title = citation.title or citation.document_title or ""
    return Cited(part, url, title, citation.cited_text or "")
