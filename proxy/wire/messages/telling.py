"""An answer, told as the events of a message.

Owns its events, from `message_start` to `message_stop`. What surprises: blocks follow each other,
so while one is open, what is said of later ones waits. A block of thinking begins only when it is
known whether its words may be read.
"""

from collections import deque
from collections.abc import Sequence

from proxy.errors import ProviderGarbled
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
from proxy.wire.messages.told import told_blocks
from proxy.wire.seals import carried

_WAITING_MAX = 16 * 2**20
"""Characters that wait at most. Chosen: what a provider says of a call that it never ends has to
stop somewhere; a model's whole answer is a fraction of it."""

_OWN = "anthropic.messages"
_DELTAS = {
    PartKind.TEXT: b'"text_delta","text":',
    PartKind.REFUSAL: b'"text_delta","text":',
    PartKind.REASONING: b'"thinking_delta","thinking":',
    PartKind.TOOL: b'"input_json_delta","partial_json":',
}
_REASONS = {
    Stop.END: "end_turn",
    Stop.LENGTH: "max_tokens",
    Stop.SEQUENCE: "stop_sequence",
    Stop.TOOL: "tool_use",
    Stop.REFUSAL: "refusal",
    Stop.PAUSE: "pause_turn",
}


class _Block:
    """A block that is being told."""

    def __init__(self, index: int, opened: Opened) -> None:
        self.index = index
        self.opened = opened
        self.has_begun = False
        head = b'{"type":"content_block_delta","index":%d,"delta":{"type":' % index
        self.before = head + _DELTAS[opened.kind]


class MessagesTelling:
    """Tells one answer. See `Telling`."""

    def __init__(self, making: Making, so_far: Sequence[Event] = ()) -> None:
        self._making = making
        told = told_blocks(so_far)
        self._left: int | None = told.open_text
        """The block that somebody else began, and that is open."""
        self._stream = making.stream.removeprefix("st_")
        self._block: _Block | None = None
        """The one that is open."""
        self._blocks = told.blocks
        self._waiting: dict[int, deque[Step]] = {}
        """What was said of parts that opened while another was told, in their order."""
        self._waiting_chars = 0
        self._has_refused = False
        self._usage = Usage()

    def tell(self, step: Step) -> Sequence[Frame]:
        """See `Telling`."""
        block = self._block
        if (
            isinstance(step, Said)
            and block is not None
            and block.has_begun
            and block.opened.part == step.part
        ):  # as most steps are
            return (Frame("content_block_delta", block.before + write(step.text) + b"}}"),)
        match step:
            case Began():
                return (self._start(),)
            case Counted(usage):
                self._usage = usage
                return ()
            case Stopped():
                return (*self._end_left(), self._stop(step))
            case Opened() if self._left is not None:
                return self._go_on(step, self._left)
            case Opened(part):
                if block is not None:
                    self._waiting[part] = deque([step])
                    return ()
            case Said(part) | Cited(part) | Sealed(part) | Closed(part):
                if part in self._waiting:
                    self._wait(part, step)
                    return ()
        told = self._tell(step)
        while self._block is None and self._waiting:
            part = next(iter(self._waiting))
            for kept in self._waiting.pop(part):
                told += self._tell(kept)
        return told

    def finish(self) -> Sequence[Frame]:
        """See `Telling`."""
        return (Frame("message_stop", b'{"type":"message_stop"}'),)

    def _go_on(self, step: Opened, left: int) -> list[Frame]:
        """With the text that is left open, or else with the next block."""
        if step.kind is not PartKind.TEXT:
            return [*self._end_left(), *self._tell(step)]
        self._left = None
        self._block = _Block(left, step)
        self._block.has_begun = True
        return []

    def _end_left(self) -> Sequence[Frame]:
        left, self._left = self._left, None
        return () if left is None else (_ended(left),)

    def _wait(self, part: int, step: Step) -> None:
        if isinstance(step, Said):
            self._waiting_chars += len(step.text)
            if self._waiting_chars > _WAITING_MAX:
                raise ProviderGarbled("calls of tools that overlap without an end")
        self._waiting[part].append(step)

    def _tell(self, step: Step) -> list[Frame]:
        """A step of the part that is told now."""
        if isinstance(step, Opened):
            self._block = _Block(self._blocks, step)
            self._blocks += 1
            if step.kind is PartKind.REASONING:
                return []
            self._has_refused = self._has_refused or step.kind is PartKind.REFUSAL
            return [self._begin(self._block)]
        block = self._block
        assert block is not None, "a part is said after it opens"
        if isinstance(step, Sealed) and step.is_redacted and not block.has_begun:
            data = self._carried(step)
            block.has_begun = True
            return [_begun(block, {"type": "redacted_thinking", "data": data})]
        told = [] if block.has_begun else [self._begin(block)]
        match step:
            case Said(_, text):
                told.append(Frame("content_block_delta", block.before + write(text) + b"}}"))
            case Sealed():
                signature = self._carried(step)
                told.append(_delta(block, {"type": "signature_delta", "signature": signature}))
            case Cited():
                told.append(_delta(block, _citation(step)))
            case Closed():
                self._block = None
                told.append(_ended(block.index))
        return told

    def _carried(self, step: Sealed) -> str:
        maker, is_redacted = self._making.maker, step.is_redacted
        return step.seal if maker == _OWN else carried(maker, step.seal, is_redacted=is_redacted)

    def _begin(self, block: _Block) -> Frame:
        block.has_begun = True
        opened = block.opened
        if opened.kind is PartKind.REASONING:
            return _begun(block, {"type": "thinking", "thinking": "", "signature": ""})
        if opened.kind is not PartKind.TOOL:
            return _begun(block, {"type": "text", "text": ""})
        call_id = opened.call_id or f"toolu_{self._stream}_{opened.part}"
        return _begun(block, {"type": "tool_use", "id": call_id, "name": opened.name, "input": {}})

    def _start(self) -> Frame:
        message = {
            "id": f"msg_{self._stream}",
            "type": "message",
            "role": "assistant",
            "model": self._making.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(self._usage),
        }
        return _frame({"type": "message_start", "message": message})

    def _stop(self, step: Stopped) -> Frame:
        reason = step.reason
        if reason is Stop.END and self._has_refused:
            reason = Stop.REFUSAL
        delta: dict[str, object] = {
            "stop_reason": _REASONS[reason],
            "stop_sequence": step.sequence,
        }
        if reason is Stop.REFUSAL:
            delta["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
        return _frame({"type": "message_delta", "delta": delta, "usage": _usage(self._usage)})


def _frame(event: dict[str, object]) -> Frame:
    return Frame(str(event["type"]), write(event))


def _begun(block: _Block, content: object) -> Frame:
    return _frame({"type": "content_block_start", "index": block.index, "content_block": content})


def _ended(index: int) -> Frame:
    stop = b'{"type":"content_block_stop","index":%d}' % index
    return Frame("content_block_stop", stop)


def _delta(block: _Block, delta: object) -> Frame:
    return _frame({"type": "content_block_delta", "index": block.index, "delta": delta})


def _citation(step: Cited) -> object:
    citation = {
        "type": "web_search_result_location",
        "cited_text": step.quoted,
        "encrypted_index": "",
        "title": step.title or None,
        "url": step.url,
    }
    return {"type": "citations_delta", "citation": citation}


def _usage(usage: Usage) -> object:
    """Anthropic counts what came from the cache, or went into it, apart from the other input."""
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
