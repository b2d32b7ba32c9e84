"""Group commit: what all writers of this worker have ready goes to the store in one round trip.

While one batch is under way the next one gathers: little load, no delay; much load, few round
trips. It also renews leases of writers that have nothing to say, and knows since when no call
to the store has failed, without which a lease of somebody else may not be judged.
"""

import asyncio
import math

from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.relay.ports import Append, Journal, Outcome
from proxy.relay.writer import Writer
from proxy.stream import StreamId

_APPENDS_MAX = 256
"""Of one batch. Chosen: about a millisecond of one Redis core; what is left goes next."""

_BACKOFF_S = (0.02, 0.05, 0.1, 0.2)
"""Between tries while the store is away. Chosen: one call of each worker, and a store that was
away for a moment is noticed long before a lease runs out."""

_FULL_S = 0.2
"""Between tries while the store is full."""


class Committer:
    """See the module."""

    def __init__(
        self, journal: Journal, observer: Observer, *, lease_s: float, grace_s: float
    ) -> None:
        self._journal = journal
        self._observer = observer
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._writers: dict[StreamId, Writer] = {}
        self._ready: dict[StreamId, Writer] = {}
        self._wake = asyncio.Event()
        self._failures = 0
        self._lost_at: float | None = None
        self._trouble_at = -math.inf
        """When a call to the store last failed."""

    # --- for writers ----------------------------------------------------------------------

    def enlist(self, writer: Writer) -> None:
        """Renew the lease of `writer` from now on, until it is done."""
        writer.last_append_at = asyncio.get_running_loop().time()
        self._writers[writer.birth.id] = writer

    def ready(self, writer: Writer) -> None:
        """`writer` has something to write."""
        self._ready[writer.birth.id] = writer
        self._wake.set()

    def renew(self, stream: StreamId) -> None:
        """Renew the lease now, to hear what the store has to say."""
        writer = self._writers.get(stream)
        if writer is not None:
            writer.wants_renewal = True
            self.ready(writer)

    # --- for those who judge leases ---------------------------------------------------------

    def note_trouble(self) -> None:
        """A call to the store failed, somewhere in this process."""
        self._trouble_at = asyncio.get_running_loop().time()

    @property
    def well_for_s(self) -> float:
        """How long no call to the store has failed."""
        return asyncio.get_running_loop().time() - self._trouble_at

    @property
    def is_store_lost(self) -> bool:
        """Whether the newest commit failed."""
        return self._lost_at is not None

    # --- the tasks ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._gather():
                await self._commit(batch)

    async def keep_leases(self) -> None:
        """Renew leases until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._lease_s / 6)
            now = loop.time()
            for writer in list(self._writers.values()):
                if writer.done.is_set():
                    del self._writers[writer.birth.id]
                elif now - writer.last_append_at > self._lease_s / 3:
                    writer.wants_renewal = True
                    self.ready(writer)

    def _gather(self) -> list[tuple[Writer, Append]]:
        batch = []
        for stream in list(self._ready)[:_APPENDS_MAX]:
            writer = self._ready.pop(stream)
            if writer.has_more:
                batch.append((writer, writer.next_append()))
        return batch

    async def _commit(self, batch: list[tuple[Writer, Append]]) -> None:
        try:
            receipts = await self._journal.append([append for _, append in batch])
        except StoreUnavailable as error:
            self._lost(batch, error)
            await asyncio.sleep(_BACKOFF_S[min(self._failures, len(_BACKOFF_S)) - 1])
            return
        now = asyncio.get_running_loop().time()
        if self._lost_at is not None:
            self._observer.store_back(now - self._lost_at)
            self._lost_at = None
            self._failures = 0
        for (writer, append), receipt in zip(batch, receipts, strict=True):
            writer.settle(append, receipt, now)
            if receipt.outcome is Outcome.FULL:
                self._refused(writer, now)
            elif writer.has_more:
                self._ready[writer.birth.id] = writer

    def _refused(self, writer: Writer, now: float) -> None:
        """The store is full: try again in a moment, but not for ever."""
        if now - writer.last_append_at > self._grace_s:
            self._give_up(writer)
        elif writer.has_more:
            asyncio.get_running_loop().call_later(_FULL_S, self.ready, writer)

    def _give_up(self, writer: Writer) -> None:
        """Its events can be kept no longer. Whoever reaches the store again ends the stream."""
        writer.oust()
        if writer.on_receipt is not None:
            writer.on_receipt()

    def _lost(self, batch: list[tuple[Writer, Append]], error: StoreUnavailable) -> None:
        now = asyncio.get_running_loop().time()
        self.note_trouble()
        self._failures += 1
        if self._lost_at is None:
            self._lost_at = now
            self._observer.store_lost(error.reason)
        is_over = now - self._lost_at > self._grace_s
        for writer, _ in batch:
            writer.retry()
            if is_over:
                self._give_up(writer)
            else:
                self._ready[writer.birth.id] = writer
