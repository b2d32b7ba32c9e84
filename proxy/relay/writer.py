"""A producer's pen: numbers frames, keeps what the store has not accepted, and fills gaps.

It does no I/O: the committer asks it for its next append and tells it what became of it. It
keeps every event of a running stream (up to `stream_bytes_max`), because a store that fails
over may lose what it had accepted, and only the writer can fill that gap.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from proxy.errors import ProviderGarbled
from proxy.relay.heritage import Heritage
from proxy.relay.lifecycle import Occasion, Phase, next_phase
from proxy.relay.ports import Append, End, Outcome, Receipt
from proxy.relay.tail import Tail
from proxy.stream import Birth, Ending, Event, Frame, Leg, Problem, Usage

_APPEND_EVENTS_MAX = 512
_APPEND_BYTES_MAX = 1024 * 1024
"""Of one append. Chosen: what Redis takes in under a few ms, so that a stream that has a lot
to catch up on does not hold up the others of its worker."""

_UNWRITTEN_BYTES_MAX = 4 * 1024 * 1024
"""From here on a producer stops reading its provider. Chosen: minutes of text, so that a
store that is away for 30 s stops nobody, while images cannot fill the memory."""


class Limits(msgspec.Struct, frozen=True):
    """What one stream may take."""

    event_bytes_max: int
    stream_bytes_max: int


class Writer:
    """See the module."""

    def __init__(
        self,
        birth: Birth,
        *,
        epoch: int,
        tail: Tail,
        limits: Limits,
        on_ready: Callable[["Writer"], None],
        recipe: bytes | None = None,
    ) -> None:
        self.birth = birth
        self.epoch = epoch
        self.tail = tail
        self.phase = Phase.OPEN
        self.ending: Ending | None = None
        self.usage: Usage | None = None
        self.legs: Sequence[Leg] = ()
        """Which targets were asked. Change it by putting another in its place."""
        self.has_content = False
        self.is_full = False
        """Whether it was to take more than one stream may have."""
        self.receipt = Receipt(Outcome.WRITTEN)
        """The newest one that was good."""
        self.last_append_at = 0.0
        """Loop time of the newest accepted append: when the lease was last renewed."""
        self.wants_renewal = False
        self.is_in_flight = False
        self.spoken = asyncio.Event()
        """Set once the store has content, or the end, or the writer is lost."""
        self.done = asyncio.Event()
        """Set once the store has the end, or the writer is lost."""
        self.room = asyncio.Event()
        """Clear while too much is unwritten."""
        self.room.set()
        self.problem: Problem | None = None
        self.accepted_heard_ns = 0
        """When the oldest event of the newest accepted append was read. Who takes it, zeroes it."""
        self.on_receipt: Callable[[], None] | None = None
        """Called after each receipt: the producer looks at what it says."""
        self.on_lost: Callable[[], None] | None = None
        """Called when the store knows nothing of the stream any more."""
        self._limits = limits
        self._on_ready = on_ready
        self._base = tail.last_id
        """Events up to here were written by an earlier epoch."""
        self._events: list[Event] = []
        self._written = 0
        self._bytes = 0
        self._unwritten_bytes = 0
        self._recipe = recipe
        self._sends_birth = False
        self._told_legs: Sequence[Leg] = ()
        """Those that the store has."""
        self._heard_ns = 0
        """When the oldest event was read that no append has taken yet; 0 without one."""
        self._flying_heard_ns = 0

    def inherit(self, heritage: Heritage) -> None:
        """Count what a stream that is taken over has already."""
        self.usage, self.has_content = heritage.usage, heritage.has_content
        self._bytes = sum(len(event.data) for event in heritage.events)

    @property
    def bytes_kept(self) -> int:
        """Of all events' data."""
        return self._bytes

    # --- the producer's side ------------------------------------------------------------

    @property
    def last_id(self) -> int:
        """The id of the newest event, written or not."""
        return self._base + len(self._events)

    @property
    def events(self) -> Sequence[Event]:
        """All that this writer has numbered."""
        return self._events

    def add(self, frame: Frame) -> None:
        """Number one frame; raises `ProviderGarbled` past the limits.

        Tell the committer with `flush` when no more is at hand.
        """
        if self.phase is not Phase.OPEN:
            return
        size = len(frame.data)
        if self._bytes + size > self._limits.stream_bytes_max:
            self.is_full = True
            raise ProviderGarbled(f"an answer of over {self._limits.stream_bytes_max} bytes")
        self._take(frame)

    def _take(self, frame: Frame) -> None:
        size = len(frame.data)
        self._bytes += size
        self._unwritten_bytes += size
        place = self._base + len(self._events) + 1
        self._events.append(Event(place, frame.name, frame.data))

    def flush(self, heard_ns: int = 0) -> None:
        """Let the committer know that there is something, which was read at that moment."""
        self._heard_ns = self._heard_ns or heard_ns
        if self._unwritten_bytes > _UNWRITTEN_BYTES_MAX:
            self.room.clear()
        self._on_ready(self)

    def end(
        self, ending: Ending, problem: Problem | None, frames: Sequence[Frame], heard_ns: int = 0
    ) -> None:
        """The stream ends, with `frames` as its last events. Only the first call counts."""
        if self.phase is not Phase.OPEN:
            return
        for frame in frames:
            self._take(frame)
        self.ending = ending
        self.problem = problem
        self._move(Occasion.END_ASKED)
        self.flush(heard_ns)

    def oust(self) -> None:
        """This writer may write no more: fenced, erased, or the store is away for too long."""
        self._move(Occasion.OUSTED)

    # --- the committer's side -----------------------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether `next_append` would have something to say."""
        if self.is_in_flight or self.done.is_set():
            return False
        return (
            self._written < len(self._events)
            or self.phase is Phase.ENDING
            or self.wants_renewal
            or self._sends_birth
        )

    def next_append(self) -> Append:
        """What to write next. Until `settle` or `retry` there is no other."""
        assert self.has_more, "asked for nothing"
        self.is_in_flight = True
        self.wants_renewal = False
        events = self._slice()
        is_last = self._written + len(events) == len(self._events)
        self._flying_heard_ns = self._heard_ns
        if is_last:
            self._heard_ns = 0
        end = None
        if is_last and self.phase is Phase.ENDING:
            assert self.ending is not None, "an end has a name"
            end = End(self.ending, self.problem)
        return Append(
            stream=self.birth.id,
            epoch=self.epoch,
            first_id=self._base + self._written + 1,
            events=events,
            birth=self.birth if self._sends_birth else None,
            end=end,
            usage=self.usage,
            has_content=self.has_content,
            legs=self._legs_to_tell(),
            recipe=self._recipe if self._sends_birth else None,
        )

    def _legs_to_tell(self) -> Sequence[Leg] | None:
        is_told = self.legs is self._told_legs and not self._sends_birth
        return None if is_told else self.legs

    def _slice(self) -> list[Event]:
        events = self._events[self._written : self._written + _APPEND_EVENTS_MAX]
        if self._unwritten_bytes <= _APPEND_BYTES_MAX:
            return events
        size = 0
        for count, event in enumerate(events):
            size += len(event.data)
            if size > _APPEND_BYTES_MAX and count > 0:
                return events[:count]
        return events

    def retry(self) -> None:
        """The outcome of the append is unknown: the same will be offered again."""
        self.is_in_flight = False
        self.wants_renewal = True
        self._heard_ns = self._flying_heard_ns or self._heard_ns

    def settle(self, append: Append, receipt: Receipt, now: float) -> None:
        """The store's answer to `append`, at loop time `now`."""
        self.is_in_flight = False
        match receipt.outcome:
            case Outcome.WRITTEN:
                self._accept(append, receipt, now)
            case Outcome.GAP:
                self._go_back_to(receipt.last_id)
            case Outcome.LOST:
                self._go_back_to(0)
                self._sends_birth = True
                if self.on_lost is not None:
                    self.on_lost()
            case Outcome.FENCED:
                self._move(Occasion.OUSTED)
            case Outcome.ERASED:
                self.tail.erase()
                self._move(Occasion.OUSTED)
            case Outcome.MOVING:
                self.wants_renewal = True  # the same will be offered again
            case Outcome.FULL:
                self.receipt = receipt
                if self.phase is Phase.OPEN:
                    self._forget_unwritten()
        if self.on_receipt is not None:
            self.on_receipt()

    def _accept(self, append: Append, receipt: Receipt, now: float) -> None:
        self._sends_birth = False
        self.receipt = receipt
        self.last_append_at = now
        if append.legs is not None:
            self._told_legs = append.legs
        events = append.events
        self.accepted_heard_ns = heard_ns = self._flying_heard_ns
        self._written += len(events)
        if events:
            if self._written == len(self._events):
                self._unwritten_bytes = 0
            else:
                self._unwritten_bytes -= sum(len(event.data) for event in events)
            if self._unwritten_bytes <= _UNWRITTEN_BYTES_MAX:
                self.room.set()
        if append.end is not None:
            self._move(Occasion.END_WRITTEN)
        if events or append.end is not None:
            self.tail.extend(events, append.end.ending if append.end else None, heard_ns)
        if append.has_content and not self.spoken.is_set():
            self.spoken.set()

    def _go_back_to(self, last_id: int) -> None:
        """The store holds events up to `last_id` only."""
        if last_id < self._base:  # an earlier epoch's events, which only it had
            self._move(Occasion.OUSTED)
            return
        self._written = last_id - self._base
        self._unwritten_bytes = sum(len(event.data) for event in self._events[self._written :])

    def _forget_unwritten(self) -> None:
        """The store takes no more, and nobody has seen these: the end takes their place."""
        del self._events[self._written :]
        self._bytes -= self._unwritten_bytes
        self._unwritten_bytes = 0

    def _move(self, occasion: Occasion) -> None:
        self.phase = next_phase(self.phase, occasion)
        if self.phase is Phase.LOST and self.tail.is_local:
            self.tail.is_local = False  # from here on only the journal knows how it goes on
            self.tail.doubt()
        if self.phase in {Phase.ENDED, Phase.LOST}:
            self.room.set()
            self.spoken.set()
            self.done.set()
