"""The newest events of one journal, in this process, for the cursors that it serves.

Where the producer is in this process, its writer extends the tail, and the tail holds the
whole answer. Elsewhere the tail is extended by bells and bounded, and says when it is in
doubt: a bell was lost, or rang for events that are not here. It never reads the journal itself.
"""

import asyncio
from collections.abc import Sequence

from proxy.relay.ports import Ring, Watch
from proxy.stream import Ending, Event, StreamId

_REMOTE_BYTES_MAX = 256 * 1024
"""Of a remote tail's events. Chosen: some 800 tokens, a second or more of any model; a cursor
further behind reads the journal."""

_BATCH_BYTES_MAX = 32 * 1024
"""Of one batch (but always one event). Chosen: a reader that takes nothing holds one of them, and
with its connection less than 64 KiB."""


class Batch:
    """Events that follow each other, as one cursor gets them in one step.

    Cursors at the same place get the same object, so that what a transport makes of it can be
    kept beside it and made once for all of them.
    """

    __slots__ = ("ending", "events", "frames", "heard_ns", "messages")

    def __init__(self, events: Sequence[Event], ending: Ending | None) -> None:
        self.events = events
        self.ending = ending
        """Set if the last of `events` is the last of the journal."""
        self.frames: bytes | None = None
        """As server-sent events."""
        self.messages: bytes | None = None
        """As WebSocket messages."""
        self.heard_ns = 0
        """When its oldest event was read, for the first reader that has waited for it."""

    @property
    def last_id(self) -> int:
        """The id of its last event."""
        return self.events[-1].id


def bounded_batch(events: Sequence[Event], start: int, ending: Ending | None) -> Batch:
    """The batch that begins at index `start`, cut before it grows too large for one send."""
    size = 0
    stop = start
    while stop < len(events):
        size += len(events[stop].data)
        if size > _BATCH_BYTES_MAX and stop > start:
            break
        stop += 1
    return Batch(events[start:stop], ending if stop == len(events) else None)


class Tail:
    """See the module."""

    def __init__(self, stream: StreamId, *, last_id: int, is_local: bool) -> None:
        self.stream = stream
        self.is_local = is_local
        """Whether the writer of this journal is in this process."""
        self.last_id = last_id
        self.ending: Ending | None = None
        self.is_erased = False
        self.read_to = 0
        """The newest event that a cursor here had given out when it was closed."""
        self.readers = 0
        """How many cursors here are still reading."""
        self.watch: Watch | None = None
        self.holders = 0
        """How many use it: its producer, its cursors."""
        self.doubts = 0
        """Counts the times that the journal had to be looked at again."""
        self._settled_doubts = 0
        self._events: list[Event] = []
        self._bytes = 0
        self._newest: Batch | None = None
        self._waiting: dict[asyncio.Future[None], None] = {}
        """A dict for its order: who came first is woken first, in every run alike."""

    # --- what is here -----------------------------------------------------------------

    @property
    def is_in_doubt(self) -> bool:
        """Whether the journal may hold more than `last_id`."""
        return self.doubts != self._settled_doubts

    @property
    def unread(self) -> int:
        """How many of the newest events nobody here has read, or is reading."""
        return 0 if self.readers else self.last_id - self.read_to

    def batch_after(self, after: int) -> Batch | None:
        """The events that follow `after`, if the next one is here."""
        newest = self._newest
        if newest is not None and newest.events[0].id == after + 1:
            return newest
        base = self.last_id - len(self._events)
        if not base <= after < self.last_id:
            return None
        return bounded_batch(self._events, after - base, self.ending)

    # --- what comes -------------------------------------------------------------------

    def extend(self, events: Sequence[Event], ending: Ending | None, heard_ns: int = 0) -> None:
        """Take in what the journal has accepted. What is here already is passed over."""
        if events and events[-1].id > self.last_id:
            first = events[0].id
            if first > self.last_id + 1:
                self.doubt()
                return
            fresh = events[self.last_id + 1 - first :]
            self._take(fresh, ending, heard_ns)
        if ending is not None:
            self.ending = ending
        self.wake()

    def ring(self, ring: Ring | None) -> None:
        """A bell: see `Journal.watch`."""
        if ring is None:
            self.doubt()
        elif ring.events or ring.ending is None:
            self.extend(ring.events, ring.ending)
        else:  # an end without events in hand: only the journal knows the last id
            self.doubt()

    def doubt(self) -> None:
        """The journal has to be looked at."""
        self.doubts += 1
        self.wake()

    def settle(self, doubts: int) -> None:
        """The journal was read to its end, when `self.doubts` was `doubts`."""
        self._settled_doubts = max(self._settled_doubts, doubts)

    def erase(self) -> None:
        """The stream was deleted."""
        self.is_erased = True
        self.wake()

    def _take(self, fresh: Sequence[Event], ending: Ending | None, heard_ns: int) -> None:
        self._events.extend(fresh)
        self.last_id = fresh[-1].id
        self._newest = bounded_batch(fresh, 0, ending)
        if self._waiting:  # who comes later has not waited since then
            self._newest.heard_ns = heard_ns
        if self.is_local:
            return
        self._bytes += sum(len(event.data) for event in fresh)
        drop = 0
        while self._bytes > _REMOTE_BYTES_MAX and drop < len(self._events):
            self._bytes -= len(self._events[drop].data)
            drop += 1
        if drop:
            del self._events[:drop]

    # --- who waits --------------------------------------------------------------------

    def wait(self, future: asyncio.Future[None]) -> None:
        """Resolve `future` at the next change."""
        self._waiting[future] = None

    def unwait(self, future: asyncio.Future[None]) -> None:
        """The waiter has gone."""
        self._waiting.pop(future, None)

    def wake(self) -> None:
        """Tell all who wait to look again."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)
