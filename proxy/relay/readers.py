"""All cursors of one process, and the tails they share.

A tail is here for as long as somebody holds it: the producer of its stream, or a cursor. One
that is fed by bells is subscribed by the first cursor that needs it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

from proxy.errors import StreamGone
from proxy.observe import Observer
from proxy.relay.cursor import Cursor
from proxy.relay.errands import Errands
from proxy.relay.ports import Entropy, Journal
from proxy.relay.tail import Tail
from proxy.stream import State, StreamId

_PRESENCE_S = 30.0
"""The lease of an attending reader: how long a worker's death keeps its readers counted."""

Transport = Literal["sse", "websocket", "long_poll", "json"]
"""How a reader gets what its cursor gives: ``json`` is the whole answer at once."""


class Readers:
    """See the module."""

    def __init__(
        self,
        journal: Journal,
        entropy: Entropy,
        errands: Errands,
        observer: Observer,
        *,
        look_again_s: float,
    ) -> None:
        self._journal = journal
        self._observer = observer
        self._entropy = entropy
        self._errands = errands
        self._look_again_s = look_again_s
        self._tails: dict[StreamId, Tail] = {}
        self._cursors: dict[Cursor, Transport | None] = {}
        """How each sends what it reads; None if it only looks, and is no reader."""
        self._present: dict[Cursor, str] = {}
        self._watching: dict[StreamId, asyncio.Lock] = {}
        self._is_closing = False
        self._on_send_away: dict[Callable[[], None], None] = {}

    def __len__(self) -> int:
        return len(self._cursors)

    # --- tails ----------------------------------------------------------------------------------

    def new_local_tail(self, stream: StreamId) -> Tail:
        """The tail of a stream that is produced here. Let it go with `let_go`."""
        tail = Tail(stream, last_id=0, is_local=True)
        tail.holders = 1
        self._tails[stream] = tail
        return tail

    def let_go(self, tail: Tail) -> None:
        """One holder less; the last one takes the tail along."""
        tail.holders -= 1
        if tail.holders > 0:
            return
        if self._tails.get(tail.stream) is tail:
            del self._tails[tail.stream]
            self._watching.pop(tail.stream, None)
        watch, tail.watch = tail.watch, None
        if watch is not None:
            self._errands.run(watch.close())

    def erase(self, stream: StreamId) -> None:
        """Its readers here have nothing more to wait for."""
        tail = self._tails.get(stream)
        if tail is not None:
            tail.erase()

    def _tail(self, state: State, after: int) -> Tail:
        tail = self._tails.get(state.birth.id)
        if tail is None:
            if state.ending is not None:
                tail = Tail(state.birth.id, last_id=state.last_id, is_local=False)
                tail.ending = state.ending
            else:
                tail = Tail(state.birth.id, last_id=after, is_local=False)
                tail.doubt()
            self._tails[state.birth.id] = tail
        tail.holders += 1
        return tail

    async def _ensure_watch(self, tail: Tail) -> None:
        """Have `tail` fed by bells. Returns at once if it is."""
        if tail.watch is not None:
            return
        async with self._watching.setdefault(tail.stream, asyncio.Lock()):
            if tail.watch is not None:
                return
            tail.holders += 1  # it must not be dropped while its watch is being made
            try:
                tail.watch = await self._journal.watch(tail.stream, tail.ring)
            finally:
                self.let_go(tail)

    # --- cursors --------------------------------------------------------------------------------

    async def open(
        self,
        state: State,
        after: int,
        *,
        lingers_s: float,
        transport: Transport | None,
        is_bound: bool = False,
    ) -> Cursor:
        """A cursor behind event `after`, which must exist. Close it.

        With a `transport` it counts as a reader until `lingers_s` after it is closed; and longer
        if it was sent away, for it comes back.
        """
        if state.is_erased:
            raise StreamGone

        tail, reads = self._tail(state, after), transport is not None or after < state.last_id

        def closed(cursor: Cursor) -> None:
            if reads:
                tail.readers -= 1
                tail.read_to = max(tail.read_to, cursor.after)
            self._closed(cursor, lingers_s)

        cursor = Cursor(
            tail,
            after,
            state,
            self._journal,
            look_again_s=self._look_again_s,
            ensure_watch=self._ensure_watch,
            on_close=closed,
            on_trouble=self._errands.on_trouble,
            on_delivery=self._observer.delivered,
            is_bound=is_bound,
        )
        self._cursors[cursor] = transport
        tail.readers += reads
        if transport is not None:
            self._observer.reader_came(transport, after)
        if self._is_closing:
            cursor.send_away()
        if transport and state.birth.detach.grace_s is not None and state.ending is None:
            self._present[cursor] = reader = self._entropy.random_bytes(12).hex()
            attending = self._journal.attend(state.birth.id, reader, _PRESENCE_S)
            try:
                await self._errands.quietly(attending)
            except asyncio.CancelledError:
                cursor.close()
                raise
        return cursor

    def _closed(self, cursor: Cursor, lingers_s: float) -> None:
        transport = self._cursors.pop(cursor)
        if transport is not None:
            self._observer.reader_left(transport)
        stream = cursor.tail.stream
        reader = self._present.pop(cursor, None)
        if reader is not None and not cursor.is_at_end:
            if cursor.is_sent_away:
                lingers_s = _PRESENCE_S
            if lingers_s > 0:
                self._errands.run(self._journal.attend(stream, reader, lingers_s))
            else:
                self._errands.run(self._journal.leave(stream, reader))
        self.let_go(cursor.tail)

    def count(self) -> int:
        """How many read here, what only looks left out."""
        return sum(transport is not None for transport in self._cursors.values())

    def count_by_stream(self) -> Counter[StreamId]:
        """The same for each stream that has not ended. Those that nobody reads are not in it."""
        return Counter(
            cursor.tail.stream
            for cursor, transport in self._cursors.items()
            if transport is not None and cursor.tail.ending is None
        )

    @property
    def bound(self) -> int:
        """How many are bound to their connection."""
        return sum(cursor.is_bound for cursor in self._cursors)

    def send_away(self, *, bound_too: bool) -> None:
        """Let readers go on elsewhere. With those that are bound, all that come later go too."""
        self._is_closing = bound_too
        for cursor in list(self._cursors):
            if bound_too or not cursor.is_bound:
                cursor.send_away()
        for tell in list(self._on_send_away):
            tell()

    def on_send_away(self, tell: Callable[[], None]) -> None:
        """Call `tell` when readers are sent away; at once, if all that come later are."""
        self._on_send_away[tell] = None
        if self._is_closing:
            tell()

    def off_send_away(self, tell: Callable[[], None]) -> None:
        """Do not, any more."""
        self._on_send_away.pop(tell, None)

    def revoke(self, is_lost: Callable[[Cursor], bool]) -> None:
        """Close the cursors of those who may not read any more."""
        for cursor in list(self._cursors):
            if is_lost(cursor):
                cursor.revoke()

    def close(self) -> None:
        """Close every cursor."""
        for cursor in list(self._cursors):
            cursor.close()

    async def keep_presence(self) -> None:
        """Renew the presence of readers that count, until cancelled.

        One after the other, but for each part of the store beside the others.
        """
        while True:
            await asyncio.sleep(_PRESENCE_S / 3)
            self._renew_presence()

    def _renew_presence(self) -> None:
        """In a frame of its own, which keeps no cursor, nor its tail, until the next time."""
        parts: dict[Hashable, list[Cursor]] = {}
        for cursor in self._present:
            parts.setdefault(self._journal.part(cursor.tail.stream), []).append(cursor)
        for cursors in parts.values():
            self._errands.run(self._renew(cursors))

    async def _renew(self, cursors: Sequence[Cursor]) -> None:
        for cursor in cursors:
            reader = self._present.get(cursor)
            if reader is not None and not cursor.is_at_end:
                attending = self._journal.attend(cursor.tail.stream, reader, _PRESENCE_S)
                await self._errands.quietly(attending)
