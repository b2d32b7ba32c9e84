"""Anthropic Messages: what its bytes mean.

Owns the dialect's terminator, usage, errors and heartbeat, and what a request must be. Never
changes an event. What surprises: events are understood by the ``type`` in their JSON, because
some servers leave out the name; their bytes pass without one all the same. An error that we
write has its name, without which the SDK would overlook it.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import MalformedRequest, ProviderTruncated
from proxy.stream import Ending, Event, Frame, Particulars, Problem, Usage
from proxy.wire.answer import Making
from proxy.wire.asks import (
    body_for,
    check_messages,
    read_field,
    read_flag,
    read_model,
    whole_body_for,
)
from proxy.wire.bounds import OUTPUT_TOKENS_UNASKED, Count
from proxy.wire.conversation import Conversation
from proxy.wire.deltas import Delta
from proxy.wire.dialect import Ask, Bounded, Continuing, SoFar
from proxy.wire.json_text import ABSENT, Fields, passed_on, read, read_body, says_nothing
from proxy.wire.messages.bounds import bounded
from proxy.wire.messages.deltas import read_event
from proxy.wire.messages.errors import error_fields, reported
from proxy.wire.messages.fold import fold_message
from proxy.wire.messages.hearing import MessagesHearing
from proxy.wire.messages.particulars import particulars
from proxy.wire.messages.reading import read_conversation
from proxy.wire.messages.taking_up import continuing, indivisible
from proxy.wire.messages.telling import MessagesTelling
from proxy.wire.messages.whole import as_events, is_whole
from proxy.wire.messages.writing import write_conversation
from proxy.wire.whole import WholeTranslator, only


class _Kind(msgspec.Struct, gc=False):
    """All that nearly every event is read for."""

    type: str = ""


class _Message(msgspec.Struct, gc=False):
    usage: msgspec.Raw = ABSENT


class _Event(msgspec.Struct, gc=False):
    """The fields of all events that say more."""

    message: _Message | None = None
    content_block: Fields | None = None
    delta: Fields | None = None
    usage: msgspec.Raw = ABSENT


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens: Count | None = None
    output_tokens_details: _OutputDetails | None = None


_kind_decoder = msgspec.json.Decoder(_Kind)
_event_decoder = msgspec.json.Decoder(_Event)
_usage_decoder = msgspec.json.Decoder(_Usage)
_BOUND_UNASKED = msgspec.Raw(b"%d" % OUTPUT_TOKENS_UNASKED)
_TEXT = msgspec.Raw(b'"text"')
_MESSAGE_STOP = Frame("message_stop", b'{"type":"message_stop"}')


class AnthropicMessages:
    """The dialect. Has no state."""

    name = "anthropic.messages"
    path = "/v1/messages"
    heartbeat = b'event: ping\ndata: {"type":"ping"}\n\n'

    translated_headers: Sequence[tuple[str, str]] = (("anthropic-version", "2023-06-01"),)

    def read_ask(self, body: bytes) -> Ask:
        """Checks what a relay must know; the rest is the provider's to judge."""
        fields = read_body(body)
        model = read_model(fields)
        check_messages(fields)
        must_be = "a whole number from 1"
        if read_field(fields, "max_tokens", int, must_be) < 1:
            raise MalformedRequest(f"'max_tokens' must be {must_be}.", param="max_tokens")
        is_streamed = read_flag(fields, "stream")
        return Ask(model=model, is_streamed=is_streamed, wants_usage=True, fields=fields)

    def bounded(self, ask: Ask, at_most: int | None) -> Bounded:
        """See `messages.bounds`."""
        return bounded(ask, at_most)

    def upstream_body(self, ask: Ask, model: str) -> bytes:
        """Streamed; usage is always part of it. The dialect wants a bound, and others do not."""
        fields = dict(ask.fields)
        fields.setdefault("max_tokens", _BOUND_UNASKED)
        return body_for(fields, model)

    def translator(self, ask: Ask) -> "MessagesTranslator":
        """For one answer."""
        del ask
        return MessagesTranslator()

    def whole_body(self, ask: Ask, model: str) -> bytes:
        """See `Dialect.whole_body`."""
        return whole_body_for(dict(ask.fields), model)

    def whole_translator(self, ask: Ask) -> WholeTranslator:
        """For one answer in one piece."""
        del ask
        return WholeTranslator(MessagesTranslator(), as_events)

    def answer_id(self, frame: Frame) -> None:
        """The dialect has no way to ask for an answer by its id."""

    def last_frames(self, ending: Ending, problem: Problem, so_far: SoFar) -> Sequence[Frame]:
        """An error event, and no `message_stop` after it."""
        del so_far
        code = problem.code or f"stream_{ending}"
        body = passed_on(problem.body, one_line=True)
        return (Frame("error", body or msgspec.json.encode(error_fields(problem, code))),)

    def error_body(self, problem: Problem, request_id: str) -> bytes:
        """With the request id, where the dialect has it."""
        own = {**error_fields(problem, problem.code), "request_id": request_id}
        return passed_on(problem.body, one_line=False) or msgspec.json.encode(own)

    def deltas(self, data: bytes) -> Sequence[Delta]:
        """See `messages.deltas`."""
        return read_event(data)

    def particulars(self, events: Sequence[Event]) -> Particulars:
        """See `messages.particulars`."""
        return particulars(events)

    def fold(self, events: Sequence[Event]) -> bytes:
        """The message object. See `messages.fold`."""
        data = only(events)
        return data if data and is_whole(data) else fold_message(events)

    def conversation(self, ask: Ask) -> Conversation:
        """See `messages.reading`."""
        return read_conversation(ask)

    def ask_of(self, conversation: Conversation) -> Ask:
        """See `messages.writing`."""
        return write_conversation(conversation)

    def hearing(self) -> MessagesHearing:
        """See `messages.hearing`."""
        return MessagesHearing()

    def telling(self, making: Making, so_far: Sequence[Event] = ()) -> MessagesTelling:
        """See `messages.telling`."""
        return MessagesTelling(making, so_far)

    def indivisible(self, ask: Ask) -> str | None:
        """See `messages.taking_up`."""
        return indivisible(ask)

    def continuing(self, ask: Ask, model: str, said: str, prefill: bool | None) -> Continuing:
        """See `messages.taking_up`."""
        return continuing(ask, model, said, prefill)


class MessagesTranslator:
    """Listens to one answer. The identity."""

    def __init__(self) -> None:
        self.has_content = False
        self.is_complete = False
        self.usage: Usage | None = None
        self._is_started = False
        self._has_stopped = False
        """A stop reason was heard."""
        self._counts = _Usage()
        self._is_output_counted = False

    def hear(self, frame: Frame) -> Sequence[Frame]:
        """See `Translator`."""
        assert not self.is_complete, "nothing is heard after the terminator"
        data = frame.data
        kind = read(_kind_decoder, data).type
        if kind == "error" or frame.name == "error":
            raise reported(data)
        if kind == "content_block_delta":
            if not self.has_content:
                self.has_content = _is_said(read(_event_decoder, data).delta)
        elif kind == "content_block_start":
            block = read(_event_decoder, data).content_block
            self.has_content = self.has_content or _is_begun(block)
        elif kind == "message_start":
            self._is_started = True
            message = read(_event_decoder, data).message
            self._count(message.usage if message else ABSENT)
        elif kind == "message_delta":
            event = read(_event_decoder, data)
            self._has_stopped = not says_nothing((event.delta or {}).get("stop_reason", ABSENT))
            self._count(event.usage, is_of_output=True)
        elif kind == "message_stop":
            if not self._is_started:
                raise ProviderTruncated
            self.is_complete = True
        return (frame,)

    def end_of_body(self) -> Sequence[Frame]:
        """See `Translator`. There must be a stop reason."""
        if not (self._is_started and self._has_stopped):
            raise ProviderTruncated
        self.is_complete = True
        return (_MESSAGE_STOP,)

    def _count(self, raw: msgspec.Raw, *, is_of_output: bool = False) -> None:
        """Each number replaces the one before; what is left out stays. See `_Usage`.

        What a message begins with counts its input, and of its output nothing yet.

        Counts that are none are the provider's own, and not worth failing for.
        """
        if says_nothing(raw):
            return
        try:
            said = _usage_decoder.decode(raw)
        except msgspec.ValidationError:
            return
        counts = self._counts
        for field in said.__struct_fields__:
            value = getattr(said, field)
            if value is not None:
                setattr(counts, field, value)
        if is_of_output and said.output_tokens is not None:
            self._is_output_counted = True
        details = counts.output_tokens_details
        cached = counts.cache_read_input_tokens or 0
        written = counts.cache_creation_input_tokens or 0
        self.usage = Usage(
            input_tokens=(counts.input_tokens or 0) + written + cached,
            output_tokens=counts.output_tokens or 0,
            cached_input_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=(details.thinking_tokens if details else 0) or 0,
            is_estimate=not self._is_output_counted or counts.input_tokens is None,
        )


def _is_said(delta: Fields | None) -> bool:
    return any(not says_nothing(value) for key, value in (delta or {}).items() if key != "type")


def _is_begun(block: Fields | None) -> bool:
    """Any block but one of text says something by beginning."""
    if block is None:
        return False
    return block.get("type", ABSENT) != _TEXT or not says_nothing(block.get("text", ABSENT))
