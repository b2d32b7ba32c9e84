"""What the heart needs from outside: a journal, a ledger, providers, a clock.

Each port has one contract suite in ``tests/contracts``, run on every implementation. A method
that talks to the store costs one round trip unless it says otherwise, and raises
`StoreUnavailable` when the outcome is unknown: every write here may be repeated safely.

This is longer than a file should be because who builds a store or a provider reads it whole.
"""

import enum
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Hashable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec

from proxy.errors import ProviderStalled
from proxy.observe import Peer
from proxy.policy.breaker import Condition, Rule
from proxy.policy.quotas import Ask, Limit, Refusal, Standing, Use
from proxy.relay.tally import Lately
from proxy.stream import Birth, Ending, Event, Frame, Leg, Problem, State, StreamId, Usage


class Clock(Protocol):
    """Wall time. Waiting uses the event loop's own clock."""

    def now(self) -> float:
        """Unix seconds."""
        ...


class Entropy(Protocol):
    """Randomness, so that a test can repeat it."""

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes nobody can guess."""
        ...


# --- the journal -------------------------------------------------------------------------


class End(msgspec.Struct, frozen=True):
    """That a stream ends, with the last event of the same append."""

    ending: Ending
    problem: Problem | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """One producer's next step: create, add events, renew the lease, end. Any of them at once.

    `first_id` is the id of the first of `events`, or the id that would be next when there
    are none. `birth` rides along with the first append, and again after a `LOST` receipt.
    The step happens only if the store's epoch equals `epoch`. Events that the journal
    already has are passed over, so a repeated append changes nothing.
    """

    stream: StreamId
    epoch: int
    first_id: int
    events: Sequence[Event] = ()
    birth: Birth | None = None
    end: End | None = None
    usage: Usage | None = None
    has_content: bool = False
    legs: Sequence[Leg] | None = None
    """None if they are as they were."""
    recipe: bytes | None = None
    """What another worker needs to go on with the stream. Only with `birth`; gone with the end."""


class Outcome(enum.Enum):
    """What became of an append."""

    WRITTEN = "written"
    GAP = "gap"
    """Nothing was added: the journal ends before `first_id` - 1; go on from its `last_id`."""
    LOST = "lost"
    """Nothing was added: the store knows no such stream (any more). Send the birth again."""
    FENCED = "fenced"
    """Nothing was added: another epoch owns the stream, or it has ended otherwise."""
    ERASED = "erased"
    """Nothing was added: the stream was deleted."""
    FULL = "full"
    """Nothing was added: the store is out of memory."""
    MOVING = "moving"
    """Nothing was added: the store is just moving the stream. Try again in a moment."""


class Receipt(NamedTuple):
    """The store's answer to one append.

    `readers` counts attending readers over all workers; None where nobody ever attended.
    """

    outcome: Outcome
    last_id: int = 0
    is_cancel_asked: bool = False
    readers: int | None = None


class Page(NamedTuple):
    """A stream's state, and events after a cursor, read at one moment.

    `events` may be fewer than there are: a page is bounded in count and bytes, but never
    empty while there is an event after the cursor.
    """

    state: State
    events: Sequence[Event]


class Alive(NamedTuple):
    """A stream whose producer is not dead: so long its lease lasts if it is not renewed."""

    lease_s: float


class Ring(NamedTuple):
    """What a bell says: events just written (perhaps seen before), and the end if it is here.

    `ending` is set when the last of `events` is the last of the journal.
    """

    events: Sequence[Event]
    ending: Ending | None


class Watch(Protocol):
    """A subscription to one journal's bell. Made by `Journal.watch`."""

    async def close(self) -> None:
        """Stop ringing. Never raises."""
        ...


class Journal(Protocol):
    """The append-only record of every stream's events."""

    async def append(self, appends: Sequence[Append]) -> Sequence[Receipt]:
        """Carry out each append atomically, in one round trip for all; one receipt each.

        No two of `appends` name the same stream. Each sets the expiry, renews the lease and
        rings the bell.
        """
        ...

    def part(self, stream: StreamId) -> Hashable:
        """Which part of the store the stream's appends go to, now.

        A part may be slow or away by itself: who sends each its own batches keeps the others
        going. No round trip.
        """
        ...

    async def read(self, stream: StreamId, after: int) -> Page | None:
        """The state, and the events after `after`; None if the stream is unknown.

        An expired or erased stream has `State.is_erased` and no events.
        """
        ...

    async def states(self, streams: Sequence[StreamId]) -> Sequence[State | None]:
        """The state of each stream, in one round trip."""
        ...

    async def watch(self, stream: StreamId, on_ring: Callable[[Ring | None], None]) -> Watch:
        """Call `on_ring` for what is appended from now on, in any process.

        When this returns, nothing appended later is missed (what was just before may ring too),
        but rings may be lost when the store's connection breaks; `on_ring(None)` then says to
        look at the journal.
        """
        ...

    async def ask_cancel(self, stream: StreamId) -> None:
        """Leave the wish that the producer stop. It is told at once, if it lives."""
        ...

    async def erase(self, stream: StreamId) -> None:
        """Remove the events; the state answers `is_erased` for a day. Idempotent."""
        ...

    async def take_over(self, streams: Sequence[StreamId]) -> Sequence[State | Alive | None]:
        """Begin the next epoch of each stream that runs and whose lease has run out.

        Two round trips for all: it happens soon after it was asked for, or not at all, for a
        store that stood still meanwhile has let nobody renew. A state is that of a stream now
        owned by the caller, under the new epoch and a fresh lease; None is a stream that has
        ended, is unknown, or could not be judged.
        """
        ...

    async def recipe(self, stream: StreamId) -> bytes | None:
        """What came with the birth of a stream, if that still runs; else None."""
        ...

    async def pulse(self) -> None:
        """Return if every part of the store answers: all of them could renew their leases."""
        ...

    async def attend(self, stream: StreamId, reader: str, lease_s: float) -> None:
        """Count `reader` as present for `lease_s` seconds from now."""
        ...

    async def leave(self, stream: StreamId, reader: str) -> None:
        """No longer count `reader`. If nobody is left, the producer is told at once."""
        ...

    def on_hint(self, call: Callable[[StreamId], None]) -> None:
        """Call `call` when a stream that this process produces should renew its lease now.

        That is when a cancel was asked, or its last reader left. Hints may be lost.
        """
        ...


# --- the ledger --------------------------------------------------------------------------


class Claim(msgspec.Struct, frozen=True):
    """An idempotency key, scoped to its owner, and what it was used for."""

    key: str
    fingerprint: bytes
    """SHA-256 of path and body."""


class Admission(msgspec.Struct, frozen=True):
    """One create, to be entered in the ledger before anything else happens."""

    stream: StreamId
    owner: str
    created_at: float
    keep_s: float
    """How long list entries and the claim are kept: longest run plus retention."""
    tag: str | None = None
    claim: Claim | None = None
    limits: Sequence[Limit] = ()
    """All that it has to pass. No two have the same pool and kind."""
    ask: Ask = Ask()
    """What it may use at most, and holds until it is settled."""
    is_listed: bool = True
    """Whether `Ledger.list` shows it. Not of a passage, which nobody can read."""


class Admitted(NamedTuple):
    """It is entered, and holds what it asked for. What is left of each limit after that."""

    standings: Sequence[Standing]


class Refused(NamedTuple):
    """A limit says no, and nothing was changed. What is left of each limit."""

    refusal: Refusal
    standings: Sequence[Standing]


class Repeat(NamedTuple):
    """The claim exists already: this stream answers it, if the fingerprint is the same."""

    stream: StreamId
    is_same_request: bool


class Listing(NamedTuple):
    """A page of stream ids, newest first, and the cursor of the next page (None at the end)."""

    streams: Sequence[StreamId]
    next_cursor: str | None


class Identity(msgspec.Struct, frozen=True):
    """Who a worker is."""

    id: str
    """Hexadecimal digits, new with each start."""
    host: str
    pid: int
    version: str
    started_at: float
    """Unix seconds."""


REPORTED_STREAMS_MAX = 500
"""Of one report. Chosen: it stays below 20 KiB."""


class Report(msgspec.Struct, frozen=True):
    """What a worker says of itself. Later fields need defaults: versions share a namespace."""

    worker: Identity
    is_draining: bool
    streams: int
    """How many it produces."""
    readers: int
    """How many cursors it serves, those of ended streams too."""
    readers_by_stream: Mapping[StreamId, int]
    """Of running streams that are read here, wherever they are produced; at most
    `REPORTED_STREAMS_MAX` of them."""
    is_partial: bool = False
    """Whether more streams are read here than are in `readers_by_stream`."""
    lately: Lately | None = None
    """What it made; None of a version that does not tell."""


class Ledger(Protocol):
    """What a namespace keeps beside its journals. All its keys live in one slot."""

    async def admit(self, admission: Admission) -> Admitted | Repeat | Refused:
        """Claim the idempotency key, list the stream, count it as running, hold what it asks for.

        All or nothing, in one step: the earlier use of the key, if there is one, or the limit that
        says no, are told without anything being changed. The same stream again is a retry, and
        is charged once.
        """
        ...

    async def release(self, owner: str, key: str, stream: StreamId) -> None:
        """Give the idempotency key back, if `stream` still holds it."""
        ...

    async def find_claim(self, owner: str, key: str) -> tuple[StreamId, bytes] | None:
        """The stream and fingerprint that hold the key; None if nobody does."""
        ...

    async def name(self, stream: StreamId, owner: str, name: str, keep_s: float) -> None:
        """Let `stream` be known to its owner by `name`; an earlier stream of that name is not."""
        ...

    async def named(self, owner: str, name: str) -> StreamId | None:
        """The stream that the owner knows by `name`; None if there is none, any more."""
        ...

    async def hold_more(
        self, stream: StreamId, limits: Sequence[Limit], ask: Ask
    ) -> Admitted | Refused:
        """Hold what a stream that runs asks for under more limits, all of one pool, or under none.

        If it holds something in that pool already it is not asked again, and nothing is changed.
        One that is not counted as running, because it began without the ledger or has been
        settled by another, holds nothing and is let through.
        """
        ...

    async def settle(
        self, stream: StreamId, use: Use | None, by_pool: Mapping[str, Use] = {}
    ) -> None:
        """The stream has ended: it is no longer counted as running, and what it held becomes `use`.

        In the pools of `by_pool` it has used that instead; in others that it came to hold later,
        nothing. Only the first time; into the windows that it was admitted in. None is what nobody
        knows: it has used what it held, everywhere.
        """
        ...

    async def standings(self, limits: Sequence[Limit]) -> Sequence[Standing]:
        """What is left of each limit now."""
        ...

    async def forget(self, stream: StreamId, owner: str, tag: str | None) -> None:
        """Take the stream off all lists."""
        ...

    async def list(
        self, owner: str | None, tag: str | None, cursor: str | None, count: int
    ) -> Listing:
        """An owner's streams (all streams for None), newest first, of one tag if given."""
        ...

    async def overdue(self, count: int) -> Sequence[StreamId]:
        """Running streams that are due to be looked at, those due first before the others.

        They are not due again for a second, so several sweepers share the work, and one that
        dies meanwhile does no harm. One that was just admitted is first due after a lease:
        until then nobody can be dead.
        """
        ...

    async def put_off(self, waits_s: Mapping[StreamId, float]) -> None:
        """Each stream, if it still counts as running, is due in so many seconds from now."""
        ...

    async def report(self, report: Report) -> None:
        """Keep what a worker says of itself for 10 s, in place of what it said before."""
        ...

    async def reports(self) -> Sequence[Report]:
        """The newest report of each worker that has one, the longest up first."""
        ...

    async def retire(self, worker: str) -> None:
        """The worker of this id ends: its report is forgotten at once."""
        ...


# --- targets that fail -------------------------------------------------------------------


class Conditions(NamedTuple):
    """Of each target that has failed lately, by name, and the store's clock at that moment."""

    now_ms: int
    by_name: Mapping[str, Condition]


class Told(NamedTuple):
    """What became of one report: how the target does now, and whether that is news.

    Of a failure it is that the target begins to rest; of a probe, that it is granted.
    """

    now_ms: int
    condition: Condition
    is_news: bool


class Rests(Protocol):
    """How targets do that fail, for all workers of a namespace. See `proxy.policy.breaker`.

    Of at most `NAMES_MAX` targets: a new one takes the place of one that does not rest, or else
    of the one that has failed the longest ago.
    """

    async def conditions(self) -> Conditions:
        """All that there are."""
        ...

    async def fail(self, name: str, rule: Rule, reason: str, retry_after_s: float | None) -> Told:
        """A target has failed. Not to be repeated: each call is one failure."""
        ...

    async def succeed(self, name: str) -> bool:
        """It has answered, and is well. Whether it had rested."""
        ...

    async def probe(self, name: str) -> Told:
        """Ask for the one permission to try it, if its rest is over."""
        ...


# --- providers ---------------------------------------------------------------------------


Deadline: TypeAlias = Literal["first_event", "idle", "total"]


class Deadlines(msgspec.Struct, frozen=True):
    """How long a provider may take, in seconds."""

    connect_s: float = 10.0
    first_event_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 3600.0

    def passed(self, deadline: Deadline) -> ProviderStalled:
        """That one of those that a producer or courier keeps has passed."""
        seconds = {
            "first_event": self.first_event_s,
            "idle": self.idle_s,
            "total": self.total_s,
        }[deadline]
        return ProviderStalled(deadline, seconds)


class Patience(msgspec.Struct, frozen=True):
    """How often a target is asked again that has failed."""

    retries: int = 2
    """Tries more than the first."""
    retry_wait_s: float = 8.0
    """The longest that is waited before one."""


class UpstreamRequest(msgspec.Struct, frozen=True):
    """What is sent to a provider: final body bytes in `dialect`, and the headers to pass on."""

    dialect: str
    model: str
    body: bytes
    headers: Sequence[tuple[str, str]] = ()
    is_whole: bool = False
    """Whether the answer is asked for in one piece, as JSON, and not as a stream."""


class ProviderModel(msgspec.Struct, frozen=True):
    """A model that a provider says it has."""

    id: str
    created: int = 0
    owned_by: str = ""


class Place(NamedTuple):
    """How far an answer was heard: which frames are not to be sent again."""

    frames: int = 0
    event_id: str = ""
    """The ``id`` of the newest event that had one."""
    last: Frame | None = None
    """The newest frame."""


START = Place()
"""Nothing was heard."""


class Kept(msgspec.Struct, frozen=True):
    """The bytes of an answer that its provider keeps, and makes whether or not anybody listens."""

    chunks: AsyncIterator[bytes]
    keeper: "Keeper"
    name: str = ""
    """By which the provider knows it; "" until `Keeper.name_in` finds it in a frame."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks


@runtime_checkable
class Keeper(Protocol):
    """What a provider is too that keeps answers: not each of them, only where `stream` says so."""

    def name_in(self, frame: Frame) -> str | None:
        """The name that one of the first frames gives an answer."""
        ...

    def number_in(self, frame: Frame) -> int | None:
        """The number that a frame says it has, which grows from each to the next."""
        ...

    def resume(
        self, request: UpstreamRequest, name: str, place: Place
    ) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Listen to the answer of that name again, to what comes after `place`. Else as `stream`.

        Nothing is made anew. Entering raises `ProviderTruncated` where it has ended at `place`.
        """
        ...

    async def cancel(self, request: UpstreamRequest, name: str) -> None:
        """Have it made no further. Raises `ProviderError`."""
        ...


class Provider(Protocol):
    """A configured account at something that speaks a dialect."""

    @property
    def name(self) -> str:
        """Its name in the config."""
        ...

    @property
    def dialects(self) -> Sequence[str]:
        """The dialects it can be asked in, the one it prefers first. At least one."""
        ...

    def dialects_for(self, model: str) -> Sequence[str]:
        """Those of them that it speaks for a model. At least one."""
        ...

    @property
    def peer(self) -> Peer:
        """Who answers."""
        ...

    @property
    def deadlines(self) -> Deadlines:
        """Its own. `connect_s` it keeps itself; the producer keeps the others."""
        ...

    @property
    def patience(self) -> Patience:
        """How often it is asked again."""
        ...

    @property
    def rest(self) -> Rule:
        """When one of its targets rests that fails."""
        ...

    @property
    def may_leave_out_terminator(self) -> bool:
        """Whether an answer of it that ends in good order may lack the dialect's terminator."""
        ...

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Ask. Entering returns once the provider has answered 2xx; iterate for body bytes.

        Leaving the context closes the provider's connection, unless the body was read to its
        end. Raises only `ProviderError`s (and cancellation), from entering and from
        iterating. What it gives is a `Kept` if the rest can be asked for after a cut.
        """
        ...

    @property
    def passages(self) -> Collection[str]:
        """The names of those `wire.passages` that it has."""
        ...

    def fetch(
        self, passage: str, request: UpstreamRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Ask for one of its passages. Else as `stream`, but for a body that says it is JSON."""
        ...

    async def models(self) -> Sequence[ProviderModel]:
        """What it serves, as it says itself. Raises `ProviderError`."""
        ...

    async def close(self) -> None:
        """Close pooled connections."""
        ...
