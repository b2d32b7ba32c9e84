"""OpenAI Responses: what its bytes mean.

Owns the dialect's terminator, usage, errors and heartbeat, and what a request must be. Never
changes an event, but for one number (see `numbers`). What surprises: an answer that is cut short by
`max_output_tokens` or a filter is whole, and completed, as the provider ends it so; a ``[DONE]``
that some servers send after their terminator is not heard any more; and `background` never goes
on to a provider, because every stream runs without a reader anyway.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import MalformedRequest, ProviderTruncated
from proxy.stream import DONE, Ending, Event, Frame, Particulars, Problem, Usage
from proxy.wire.answer import Making
from proxy.wire.asks import body_for, read_field, read_flag, read_model, whole_body_for
from proxy.wire.bounds import Count
from proxy.wire.conversation import Conversation
from proxy.wire.deltas import Delta
from proxy.wire.dialect import Ask, Bounded, Continuing, SoFar
from proxy.wire.json_text import (
    ABSENT,
    NULL,
    Fields,
    passed_on,
    read,
    read_body,
    says_nothing,
)
from proxy.wire.openai_errors import error_object
from proxy.wire.responses.bounds import bounded
from proxy.wire.responses.deltas import read_event
from proxy.wire.responses.errors import failure, last_frames
from proxy.wire.responses.fold import fold_events
from proxy.wire.responses.hearing import ResponsesHearing
from proxy.wire.responses.ids import is_name
from proxy.wire.responses.numbers import numbered
from proxy.wire.responses.particulars import particulars
from proxy.wire.responses.reading import read_conversation
from proxy.wire.responses.taking_up import continuing, indivisible
from proxy.wire.responses.telling import ResponsesTelling
from proxy.wire.responses.whole import as_events, is_whole
from proxy.wire.responses.writing import write_conversation
from proxy.wire.whole import WholeTranslator, only

_WHOLE = frozenset({"response.completed", "response.incomplete"})
_FAILED = frozenset({"response.failed", "error"})
_BEGUN = frozenset({"message", "reasoning"})
"""Items that say nothing by beginning; any other is a tool's call, or what it gave."""


class _Head(msgspec.Struct, gc=False):
    """All that nearly every event is read for."""

    type: str = ""
    sequence_number: msgspec.Raw = ABSENT


class _Item(msgspec.Struct, gc=False):
    type: str = ""


class _Said(msgspec.Struct, gc=False):
    """Where a model says something."""

    delta: msgspec.Raw = ABSENT
    item: _Item | None = None


class _Response(msgspec.Struct, gc=False):
    id: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT


class _Whole(_Response, gc=False):
    """An event that holds the response, or the response itself in one piece."""

    object: str = ""
    response: _Response | None = None


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens: Count | None = None
    output_tokens_details: _OutputDetails | None = None


_head_decoder = msgspec.json.Decoder(_Head)
_said_decoder = msgspec.json.Decoder(_Said)
_whole_decoder = msgspec.json.Decoder(_Whole)
_usage_decoder = msgspec.json.Decoder(_Usage)


class OpenAIResponses:
    """The dialect. Has no state."""

    name = "openai.responses"
    path = "/v1/responses"
    heartbeat = b": ping\n"

    translated_headers: Sequence[tuple[str, str]] = ()

    def read_ask(self, body: bytes) -> Ask:
        """Checks what a relay must know; the rest is the provider's to judge."""
        fields = read_body(body)
        model = read_model(fields)
        if fields.get("input", NULL) != NULL:
            read_field(fields, "input", str | list[msgspec.Raw], "a string or an array")  # type: ignore[arg-type]
        return Ask(
            model=model,
            is_streamed=read_flag(fields, "stream"),
            wants_usage=True,
            fields=fields,
            is_background=read_flag(fields, "background"),
            previous=_previous(fields),
        )

    def bounded(self, ask: Ask, at_most: int | None) -> Bounded:
        """See `responses.bounds`."""
        return bounded(ask, at_most)

    def upstream_body(self, ask: Ask, model: str) -> bytes:
        """Streamed, in the foreground; usage is always part of it."""
        fields = {name: value for name, value in ask.fields.items() if name != "background"}
        return body_for(fields, model)

    def translator(self, ask: Ask) -> "ResponsesTranslator":
        """For one answer."""
        del ask
        return ResponsesTranslator()

    def whole_body(self, ask: Ask, model: str) -> bytes:
        """See `Dialect.whole_body`."""
        fields = {name: value for name, value in ask.fields.items() if name != "background"}
        return whole_body_for(fields, model)

    def whole_translator(self, ask: Ask) -> WholeTranslator:
        """For one answer in one piece."""
        del ask
        return WholeTranslator(ResponsesTranslator(), as_events)

    def answer_id(self, frame: Frame) -> str | None:
        """The `id` of the response that the first events hold. What cannot be read gives none."""
        try:
            said = _whole_decoder.decode(frame.data)
            response = said if said.object == "response" else said.response
            name = msgspec.json.decode(response.id, type=str) if response else ""
        except msgspec.DecodeError:
            return None
        return name if is_name(name) else None

    def last_frames(self, ending: Ending, problem: Problem, so_far: SoFar) -> Sequence[Frame]:
        """See `responses.errors`."""
        return last_frames(ending, problem, so_far)

    def error_body(self, problem: Problem, request_id: str) -> bytes:
        """The dialect has no place for `request_id` in a body: it is a header."""
        del request_id
        return passed_on(problem.body, one_line=False) or error_object(problem, problem.code)

    def deltas(self, data: bytes) -> Sequence[Delta]:
        """See `responses.deltas`."""
        return read_event(data)

    def particulars(self, events: Sequence[Event]) -> Particulars:
        """See `responses.particulars`."""
        return particulars(events)

    def fold(self, events: Sequence[Event]) -> bytes:
        """The response object. See `responses.fold`."""
        data = only(events)
        return data if data and is_whole(data) else fold_events(events)

    def conversation(self, ask: Ask) -> Conversation:
        """See `responses.reading`."""
        return read_conversation(ask)

    def ask_of(self, conversation: Conversation) -> Ask:
        """See `responses.writing`."""
        return write_conversation(conversation)

    def hearing(self) -> ResponsesHearing:
        """See `responses.hearing`."""
        return ResponsesHearing()

    def telling(self, making: Making, so_far: Sequence[Event] = ()) -> ResponsesTelling:
        """See `responses.telling`."""
        return ResponsesTelling(making, so_far)

    def indivisible(self, ask: Ask) -> str | None:
        """See `responses.taking_up`."""
        return indivisible(ask)

    def continuing(self, ask: Ask, model: str, said: str, prefill: bool | None) -> Continuing:
        """See `responses.taking_up`."""
        del model, prefill
        return continuing(ask, said)


class ResponsesTranslator:
    """Listens to one answer. The identity, but for numbers that are not the event's place."""

    def __init__(self) -> None:
        self.has_content = False
        self.is_complete = False
        self.usage: Usage | None = None
        self._heard = 0

    def hear(self, frame: Frame) -> Sequence[Frame]:
        """See `Translator`."""
        assert not self.is_complete, "nothing is heard after the terminator"
        data = frame.data
        if data.startswith(DONE) and data.strip() == DONE:
            raise ProviderTruncated
        head = read(_head_decoder, data)
        kind = head.type or frame.name
        if bytes(head.sequence_number) != b"%d" % self._heard:
            data = numbered(data, head.sequence_number, self._heard)
            frame = Frame(frame.name, data)
        if kind in _FAILED:
            self._count(data)
            raise failure(data)
        self._heard += 1
        if kind in _WHOLE:
            self._count(data)
            self.has_content = self.is_complete = True
        elif not self.has_content:
            self.has_content = _is_said(kind, data)
        return (frame,)

    def end_of_body(self) -> Sequence[Frame]:
        """See `Translator`. Its terminator holds the answer itself, so there is no other end."""
        raise ProviderTruncated

    def _count(self, data: bytes) -> None:
        """Counts that are none are the provider's own, and not worth failing for."""
        response = read(_whole_decoder, data).response
        if response is None or says_nothing(response.usage):
            return
        try:
            said = _usage_decoder.decode(response.usage)
        except msgspec.ValidationError:
            return
        given, made = said.input_tokens_details, said.output_tokens_details
        self.usage = Usage(
            input_tokens=said.input_tokens or 0,
            output_tokens=said.output_tokens or 0,
            cached_input_tokens=(given.cached_tokens if given else 0) or 0,
            reasoning_tokens=(made.reasoning_tokens if made else 0) or 0,
            cache_write_tokens=(given.cache_write_tokens if given else 0) or 0,
            is_estimate=said.input_tokens is None or said.output_tokens is None,
        )


def _is_said(kind: str, data: bytes) -> bool:
    """Whether the model says something in this event."""
    if kind.endswith(".delta"):
        return not says_nothing(read(_said_decoder, data).delta)
    if kind == "response.output_item.done":
        return True
    if kind == "response.output_item.added":
        item = read(_said_decoder, data).item
        return item is not None and item.type not in _BEGUN
    return False


def _previous(fields: Fields) -> str | None:
    field = "previous_response_id"
    if fields.get(field, NULL) == NULL:
        return None
    name = read_field(fields, field, str, "the id of a response")
    if not is_name(name):
        raise MalformedRequest(f"'{field}' must be the id of a response.", param=field)
    return name
