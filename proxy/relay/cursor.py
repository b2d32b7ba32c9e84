"""A reader's place in a journal. It pulls: first connection, resume and live tail are one thing.

A cursor reads the tail where the tail has the next event, and the journal where it has not.
While the store is away it waits; it never skips, never repeats, never reads ahead.
"""

import asyncio
from collections.abc import Awaitable, Callable

from proxy.errors import StoreUnavailable, StreamGone
from proxy.relay.ports import Journal
from proxy.relay.tail import Batch, Tail, bounded_batch
from proxy.stream import State

_RETRY_S = 0.25
"""Between reads while the store is away. Chosen: four reads a second of each reader, no more."""


class Cursor:
    """See the module. Made by `Switchboard.follow`; close it."""

    def __init__(
        self,
        tail: Tail,
        after: int,
        state: State,
        journal: Journal,
        *,
        look_again_s: float,
        ensure_watch: Callable[[Tail], Awaitable[None]],
        on_close: Callable[["Cursor"], None],
        on_trouble: Callable[[], None],
        is_bound: bool = False,
    ) -> None:
        self.after = after
        """The id of the newest event it has given out."""
        self.start = after
        """Where it was opened."""
        self.state = state
        """As of the opening."""
        self.tail = tail
        self.is_closed = False
        self.is_bound = is_bound
        """Whether its client perhaps cannot come back: it is the last to be sent away."""
        self.is_sent_away = False
        """Whether its client is to go on elsewhere: this process is about to stop."""
        self._journal = journal
        self._look_again_s = look_again_s
        self._ensure_watch = ensure_watch
        self._on_close = on_close
        self._on_trouble = on_trouble
        self._is_poked = False
        self._future: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._loop = asyncio.get_running_loop()
        self._looked_at = self._loop.time()
        self._looking: asyncio.Task[Batch | None] | None = None
        """A look that took longer than its caller had time for. It ends by itself, as every call
        to the store does; to break it off would cost the store's connection."""
        self._looking_after = 0

    @property
    def is_at_end(self) -> bool:
        """Whether there is, and will be, nothing more."""
        return self.tail.ending is not None and self.after >= self.tail.last_id

    def poke(self) -> None:
        """Let `next` return None at once, now or the next time."""
        self._is_poked = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def send_away(self) -> None:
        """Let the transport see `is_sent_away`, now or after what it is just sending."""
        self.is_sent_away = True
        self.poke()

    def close(self) -> None:
        """Give up the place. A waiting `next` returns None."""
        if not self.is_closed:
            self.is_closed = True
            self.poke()
            if self._timer is not None:
                self._timer.cancel()
            self._on_close(self)

    async def next(self, wait_s: float) -> Batch | None:
        """The next events; None after `wait_s` seconds without any, when poked, and at the end.

        Raises `StreamGone` when the stream is erased before its end was reached.
        """
        loop = self._loop
        due = loop.time() + wait_s
        while not self.is_closed:
            batch = self.tail.batch_after(self.after)
            if batch is None and self._must_look():
                batch = await self._look_until(due if wait_s > 0 else None)
            if batch is not None:
                self.after = batch.last_id
                return batch
            if self.is_at_end:
                return None
            if self.tail.is_erased:
                raise StreamGone
            if self._is_poked or loop.time() >= due:
                self._is_poked = False
                return None
            if self._must_look():  # the store is away, or behind what it once said
                await asyncio.sleep(_RETRY_S)
            else:
                await self._wait(due)
        return None

    def _must_look(self) -> bool:
        """Whether the journal knows something that the tail does not."""
        tail = self.tail
        if self.after < tail.last_id:
            return True
        if tail.is_local or tail.ending is not None:
            return False
        now = self._loop.time()
        return tail.is_in_doubt or now - self._looked_at >= self._look_again_s

    async def _look_until(self, due: float | None) -> Batch | None:
        """Look, but not beyond `due` (loop time): a store that stalls must not stop heartbeats.

        A look that takes longer goes on, and whoever looks next waits for it.
        """
        looking = self._looking
        if looking is None:
            looking = self._looking = self._loop.create_task(self._look())
            self._looking_after = self.after
        left_s = None if due is None else max(due - self._loop.time(), 0)
        await asyncio.wait({looking}, timeout=left_s)
        if self.is_closed or not looking.done():
            return None
        self._looking = None
        batch = looking.result()
        return batch if self._looking_after == self.after else None

    async def _look(self) -> Batch | None:
        """Read the journal after the cursor; None if it has nothing, or is away."""
        tail = self.tail
        self._looked_at = self._loop.time()
        try:
            if not tail.is_local and tail.ending is None:
                await self._ensure_watch(tail)
            doubts = tail.doubts
            page = await self._journal.read(tail.stream, self.after)
        except StoreUnavailable:
            self._on_trouble()
            return None
        if page is None or page.state.is_erased:
            tail.erase()
            return None
        state = page.state
        if page.events:
            is_whole = page.events[-1].id == state.last_id
            ending = state.ending if is_whole else None
            if not tail.is_local:
                if page.events[0].id <= tail.last_id + 1:
                    tail.extend(page.events, ending)
                if tail.last_id >= state.last_id:
                    tail.settle(doubts)
            return bounded_batch(page.events, 0, ending)
        if not tail.is_local and tail.last_id >= state.last_id:
            tail.settle(doubts)
            if state.ending is not None and state.last_id == tail.last_id:
                tail.extend((), state.ending)
        return None

    async def _wait(self, due: float) -> None:
        """Wait for a change, a poke, `due` (loop time), or the time to look again.

        The timer is moved, not re-armed, for each wait: a token costs no timer.
        """
        loop = self._loop
        if not self.tail.is_local:
            due = min(due, self._looked_at + self._look_again_s)
        self._due = due
        if self._timer is None or self._timer.when() > due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(due, self._ring_timer)
        self._future = loop.create_future()
        self.tail.wait(self._future)
        try:
            await self._future
        finally:
            self.tail.unwait(self._future)
            self._future = None

    def _ring_timer(self) -> None:
        self._timer = None
        if self._future is None or self._future.done():
            return
        loop = self._loop
        if loop.time() >= self._due:
            self._future.set_result(None)
        else:
            self._timer = loop.call_at(self._due, self._ring_timer)
