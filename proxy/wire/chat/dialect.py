"""OpenAI Chat Completions: what its bytes mean.

Owns the dialect's terminator, usage, errors and heartbeat, and what a request must be. Never
changes a chunk, but for one thing: usage is always asked for, so where the client did not, it
is taken out again. What surprises: a heartbeat has no blank line, because the OpenAI SDK takes
every blank line for an event once ids are in use.
"""

import re
from collections.abc import Sequence
from itertools import islice

import msgspec

from proxy.errors import ProviderGarbled, ProviderTruncated
from proxy.stream import DONE, Ending, Event, Frame, Particulars, Problem, Usage
from proxy.wire.answer import Making
from proxy.wire.asks import (
    body_for,
    check_messages,
    read_field,
    read_flag,
    read_model,
    value_of,
    whole_body_for,
)
from proxy.wire.chat.bounds import bounded
from proxy.wire.chat.deltas import read_chunk
from proxy.wire.chat.fold import fold_chunks
from proxy.wire.chat.hearing import ChatHearing
from proxy.wire.chat.particulars import particulars
from proxy.wire.chat.reading import read_conversation
from proxy.wire.chat.taking_up import continuing, indivisible
from proxy.wire.chat.telling import ChatTelling
from proxy.wire.chat.usage import read_usage
from proxy.wire.chat.whole import as_events, is_whole
from proxy.wire.chat.writing import write_conversation
from proxy.wire.conversation import Conversation
from proxy.wire.deltas import Delta
from proxy.wire.dialect import Ask, Bounded, Continuing, SoFar
from proxy.wire.json_text import (
    ABSENT,
    NULL,
    TRUE,
    Fields,
    passed_on,
    read,
    read_body,
    says_nothing,
    write_object,
)
from proxy.wire.openai_errors import error_object, reported
from proxy.wire.whole import WholeTranslator, only

_USAGE_NULL = re.compile(
    rb',[ \t]*"usage"[ \t]*:[ \t]*null(?=[ \t]*[,}])'
    rb'|(?<=\{)[ \t]*"usage"[ \t]*:[ \t]*null[ \t]*,'
)
"""A member of some object: a quote after a brace or comma of JSON can only open a key, or be
inside a string, where it would have to follow a backslash."""
_USAGE_NULL_AS_USUAL = b',"usage":null'
"""As OpenAI writes it. Looked for first: the expression takes 10 us, this 0.2."""
_FIRST = "0"
_CANDIDATES_MAX = 8
"""How many members are tried. Chosen: each costs a decode; one is the rule, three a curiosity."""


class _Delta(msgspec.Struct, gc=False):
    """The fields in which a model says something. As written, for vendors differ in type."""

    content: msgspec.Raw = ABSENT
    refusal: msgspec.Raw = ABSENT
    tool_calls: msgspec.Raw = ABSENT
    function_call: msgspec.Raw = ABSENT
    audio: msgspec.Raw = ABSENT
    reasoning_content: msgspec.Raw = ABSENT
    reasoning: msgspec.Raw = ABSENT

    def has_content(self) -> bool:
        return not all(says_nothing(value) for value in msgspec.structs.astuple(self))


class _Choice(msgspec.Struct, gc=False):
    index: object = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class _UsageOnly(msgspec.Struct, gc=False):
    usage: msgspec.Raw = ABSENT


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_usage_only_decoder = msgspec.json.Decoder(_UsageOnly)


class OpenAIChat:
    """The dialect. Has no state."""

    name = "openai.chat"
    path = "/v1/chat/completions"
    heartbeat = b": ping\n"

    translated_headers: Sequence[tuple[str, str]] = ()

    def read_ask(self, body: bytes) -> Ask:
        """Checks what a relay must know; the rest is the provider's to judge."""
        fields = read_body(body)
        model = read_model(fields)
        check_messages(fields)
        is_streamed = read_flag(fields, "stream")
        wants_usage = read_flag(
            _stream_options(fields), "include_usage", "stream_options.include_usage"
        )
        return Ask(
            model=model,
            is_streamed=is_streamed,
            wants_usage=wants_usage or not is_streamed,
            fields=fields,
        )

    def bounded(self, ask: Ask, at_most: int | None) -> Bounded:
        """See `chat.bounds`."""
        return bounded(ask, at_most)

    def upstream_body(self, ask: Ask, model: str) -> bytes:
        """Streamed, with usage in a last chunk."""
        options = {**_stream_options(dict(ask.fields)), "include_usage": TRUE}
        return body_for(dict(ask.fields), model, stream_options=msgspec.Raw(write_object(options)))

    def translator(self, ask: Ask) -> "ChatTranslator":
        """For one answer."""
        choices = value_of(ask.fields, "n")
        return ChatTranslator(
            wants_usage=ask.wants_usage, choices=choices if isinstance(choices, int) else 1
        )

    def whole_body(self, ask: Ask, model: str) -> bytes:
        """See `Dialect.whole_body`."""
        return whole_body_for(dict(ask.fields), model)

    def whole_translator(self, ask: Ask) -> WholeTranslator:
        """For one answer in one piece."""
        del ask
        return WholeTranslator(ChatTranslator(wants_usage=True, choices=1), as_events)

    def answer_id(self, frame: Frame) -> None:
        """The dialect has no way to ask for an answer by its id."""

    def last_frames(self, ending: Ending, problem: Problem, so_far: SoFar) -> Sequence[Frame]:
        """An error chunk, and no terminator after it."""
        del so_far
        code = problem.code or f"stream_{ending}"
        data = passed_on(problem.body, one_line=True) or error_object(problem, code)
        return (Frame("", data),)

    def error_body(self, problem: Problem, request_id: str) -> bytes:
        """The dialect has no place for `request_id` in a body: it is a header."""
        del request_id
        return passed_on(problem.body, one_line=False) or error_object(problem, problem.code)

    def deltas(self, data: bytes) -> Sequence[Delta]:
        """See `chat.deltas`."""
        return read_chunk(data)

    def particulars(self, events: Sequence[Event]) -> Particulars:
        """See `chat.particulars`."""
        return particulars(events)

    def fold(self, events: Sequence[Event]) -> bytes:
        """The `chat.completion` object. See `chat.fold`."""
        data = only(events)
        return data if data and is_whole(data) else fold_chunks(events)

    def conversation(self, ask: Ask) -> Conversation:
        """See `chat.reading`."""
        return read_conversation(ask)

    def ask_of(self, conversation: Conversation) -> Ask:
        """See `chat.writing`."""
        return write_conversation(conversation)

    def hearing(self) -> ChatHearing:
        """See `chat.hearing`."""
        return ChatHearing()

    def telling(self, making: Making, so_far: Sequence[Event] = ()) -> ChatTelling:
        """See `chat.telling`."""
        return ChatTelling(making, so_far)

    def indivisible(self, ask: Ask) -> str | None:
        """See `chat.taking_up`."""
        return indivisible(ask)

    def continuing(self, ask: Ask, model: str, said: str, prefill: bool | None) -> Continuing:
        """See `chat.taking_up`."""
        del model
        return continuing(ask, said, prefill=bool(prefill))


class ChatTranslator:
    """Listens to one answer. The identity, but for usage that the client did not ask for."""

    def __init__(self, *, wants_usage: bool, choices: int) -> None:
        self.has_content = False
        self.is_complete = False
        self.usage: Usage | None = None
        self._wants_usage = wants_usage
        self._choices = choices
        """How many were asked for: some servers begin one when the one before is over."""
        self._may_end = False
        """A finish reason was heard; or audio, whose last chunk has none."""
        self._others: set[str] = set()
        """Choices beside the first, which has no index or 0."""
        self._finished: set[str] = set()

    def hear(self, frame: Frame) -> Sequence[Frame]:
        """See `Translator`."""
        assert not self.is_complete, "nothing is heard after the terminator"
        data = frame.data
        if data.startswith(DONE) and data.strip() == DONE:
            if not self._may_end:
                raise ProviderTruncated
            self.is_complete = True
            return (Frame(frame.name, DONE),)
        chunk = read(_chunk_decoder, data)
        if len(chunk.error) and not says_nothing(chunk.error):
            raise reported(data, chunk.error)
        for choice in chunk.choices or ():
            self._hear_choice(choice)
        if len(chunk.usage):
            return self._hear_usage(frame, chunk)
        return (frame,)

    def end_of_body(self) -> Sequence[Frame]:
        """See `Translator`. Each choice must have its finish reason."""
        is_finished = self._finished >= {_FIRST, *self._others}
        if not is_finished or len(self._finished) < self._choices:
            raise ProviderTruncated
        self.is_complete = True
        return (Frame("", DONE),)

    def _hear_choice(self, choice: _Choice) -> None:
        delta = choice.delta
        if choice.index:
            self._others.add(str(choice.index))
        if choice.finish_reason:
            self._may_end = True
            self.has_content = True
            self._finished.add(str(choice.index or _FIRST))
        elif delta is not None:
            if not self.has_content:
                self.has_content = delta.has_content()
            if len(delta.audio) and not says_nothing(delta.audio):
                self._may_end = True

    def _hear_usage(self, frame: Frame, chunk: _Chunk) -> Sequence[Frame]:
        if bytes(chunk.usage).startswith(b"{"):
            self.usage = read_usage(chunk.usage, is_last=self._may_end) or self.usage
            return (frame,) if self._wants_usage or chunk.choices != [] else ()
        return (frame,) if self._wants_usage else (_without_usage(frame),)


def _stream_options(fields: Fields) -> Fields:
    if fields.get("stream_options", NULL) == NULL:
        return {}
    return read_field(fields, "stream_options", Fields, "an object")


def _without_usage(frame: Frame) -> Frame:
    """Without its top-level ``"usage":null``; the same frame if that cannot be done surely.

    Of all the places where the bytes could be such a member, the right one is that without
    which the chunk has no usage any more.
    """
    data = frame.data
    head, found, tail = data.rpartition(_USAGE_NULL_AS_USUAL)
    if found and _has_no_usage(shorter := head + tail):
        return Frame(frame.name, shorter)
    for member in islice(_USAGE_NULL.finditer(data), _CANDIDATES_MAX):
        shorter = data[: member.start()] + data[member.end() :]
        if _has_no_usage(shorter):
            return Frame(frame.name, shorter)
    return frame


def _has_no_usage(data: bytes) -> bool:
    try:
        return not len(read(_usage_only_decoder, data).usage)
    except ProviderGarbled:
        return False
