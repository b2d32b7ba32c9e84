"""What a dialect is: the contract that each class in `dialects` fulfils.

Dialects do not know each other. All state of an answer in the making lives in one `Translator`
at its producer; a reader needs none, because the journal holds final bytes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from proxy.stream import Birth, Ending, Event, Frame, Particulars, Problem, Usage
from proxy.wire.answer import Hearing, Making, Telling
from proxy.wire.conversation import Conversation
from proxy.wire.deltas import Delta


class Ask(msgspec.Struct, frozen=True):
    """A client's request body, read as far as a proxy must understand it.

    `fields` holds every top-level field as the client wrote it, byte for byte.
    """

    model: str
    is_streamed: bool
    wants_usage: bool
    """Whether usage belongs into the client's events (else it is taken out, if we asked)."""
    fields: Mapping[str, msgspec.Raw]
    is_background: bool = False
    """Whether the client wants to be answered at once, and to come back for the rest."""
    previous: str | None = None
    """The name of an earlier answer that this one goes on from: see `Dialect.answer_id`."""


class SoFar(NamedTuple):
    """A stream that has to be ended, up to there."""

    birth: Birth
    last_id: int
    """Of its newest event."""
    events: Sequence[Event]
    """Its events; of a long one whose producer is dead perhaps only the first."""


class Continuing(NamedTuple):
    """A request for the rest of an answer."""

    ask: Ask
    is_prefilled: bool
    """Whether the text so far is the beginning of what is asked for; else it is told to go on."""


class Bounded(NamedTuple):
    """A request that can use so much and no more, for all that can be known beforehand."""

    ask: Ask
    """With the bound of the answer in it, in the dialect's own field."""
    input_tokens: int
    output_tokens: int
    """Of all answers that it asks for together."""
    answers: int = 1


class Translator(Protocol):
    """Listens to one answer as it comes, and says what the client gets of it.

    The attributes are true of all frames heard so far.
    """

    @property
    def has_content(self) -> bool:
        """The model has said something: text, a tool call, reasoning, a refusal."""
        ...

    @property
    def is_complete(self) -> bool:
        """The provider's own terminator was heard, and what it needs before it. Hear no more."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What was counted, by then."""
        ...

    def hear(self, frame: Frame) -> Sequence[Frame]:
        """The frames for the client's journal: in one dialect the same one, or none.

        Raises `ProviderReported` for an error event, `ProviderTruncated` for a terminator
        that comes too early, `ProviderGarbled` for data that is not the dialect's JSON.
        """
        ...

    def end_of_body(self) -> Sequence[Frame]:
        """The provider's bytes have ended in good order, without a terminator: what is missing.

        Called where its config allows that, in place of a failure. It is complete then. Raises
        `ProviderTruncated` if nothing has said that the answer is whole.
        """
        ...


class Dialect(Protocol):
    """A wire language of answers."""

    name: str
    path: str
    """Where clients ask in it."""
    heartbeat: bytes
    """What keeps an idle SSE connection alive without disturbing the dialect's SDKs."""
    translated_headers: Sequence[tuple[str, str]]
    """What a provider has to be told with a request that was translated into the dialect."""

    def read_ask(self, body: bytes) -> Ask:
        """Raises `MalformedRequest`, which names the field."""
        ...

    def bounded(self, ask: Ask, at_most: int | None) -> Bounded:
        """What the request can use: see `bounds`.

        An answer is bounded to what the client says, but never to more than `at_most`; where it
        says nothing, to `at_most`, else to `OUTPUT_TOKENS_UNASKED`. Raises `MalformedRequest` for
        a bound that is none.
        """
        ...

    def upstream_body(self, ask: Ask, model: str) -> bytes:
        """The body for a provider that speaks this dialect: streamed, usage asked for.

        Every other field keeps its bytes and its place.
        """
        ...

    def translator(self, ask: Ask) -> Translator:
        """For one answer of a provider that speaks this dialect too."""
        ...

    def whole_body(self, ask: Ask, model: str) -> bytes:
        """As `upstream_body`, for an answer in one piece, which the client has asked for."""
        ...

    def whole_translator(self, ask: Ask) -> Translator:
        """For one such answer. It becomes one event, as it is."""
        ...

    def answer_id(self, frame: Frame) -> str | None:
        """The name that the provider gives its answer in this frame, if clients ask by it.

        None in a dialect whose answers cannot be asked for, and in frames that give none.
        """
        ...

    def last_frames(self, ending: Ending, problem: Problem, so_far: SoFar) -> Sequence[Frame]:
        """How an ending that is not `completed` looks: the last events of the journal."""
        ...

    def error_body(self, problem: Problem, request_id: str) -> bytes:
        """The JSON body of an HTTP error. A `Problem.body` is passed on unchanged."""
        ...

    def deltas(self, data: bytes) -> Sequence[Delta]:
        """What the data of one event adds to the answer; empty for what only accompanies it."""
        ...

    def particulars(self, events: Sequence[Event]) -> Particulars:
        """What the provider says of its answer. Looks at a few events at both ends."""
        ...

    def fold(self, events: Sequence[Event]) -> bytes:
        """The answer so far, as the one JSON object that an unstreamed call would give.

        If such a call gave it, it is the provider's own, byte for byte. Events that say how a
        stream failed are not part of the answer.
        """
        ...

    # --- translation: see `wire.translation` --------------------------------------------------

    def conversation(self, ask: Ask) -> Conversation:
        """What the client asks, for a provider of another dialect.

        Raises `MalformedRequest`, which names the field, for what no `Conversation` can say.
        """
        ...

    def ask_of(self, conversation: Conversation) -> Ask:
        """The same, in this dialect. Raises `MalformedRequest`, which names the client's field."""
        ...

    def hearing(self) -> Hearing:
        """For one answer of a provider that speaks this dialect, to a client that does not."""
        ...

    def telling(self, making: Making, so_far: Sequence[Event] = ()) -> Telling:
        """For one answer to a client that speaks this dialect, of a provider that does not.

        Where another provider goes on with it, `so_far` is all that the client was told of it: its
        ids stay, and text goes on in the part that is open. Raises `CannotContinue` where what is
        open is neither text nor can be closed.
        """
        ...

    # --- going on with an answer: see `wire.taking_up` ----------------------------------------

    def indivisible(self, ask: Ask) -> str | None:
        """The field that asks for an answer that one model has to make; None if none does."""
        ...

    def continuing(self, ask: Ask, model: str, said: str, prefill: bool | None) -> Continuing:
        """`ask`, of this dialect, after an answer has begun with the text `said`.

        Every message of the client's keeps its bytes. `prefill` as in `wire.taking_up`; where the
        request forbids it, it is not done.
        """
        ...
