"""Group commit: what all writers of this worker have ready goes to the store in one round trip.

While one batch is under way the next one gathers: little load, no delay; much load, few round
trips. Where the store has parts that may be away by themselves, each has its own batch, on a
track of its own. The committer also renews leases of writers that have nothing to say, and knows
since when the whole store has been well, which is what a lease of somebody else may be judged by.
"""

import asyncio
from collections.abc import Hashable

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

_REFUSED_S = 0.2
"""Between tries while the store is full, or moves the stream."""

_TRACK_IDLE_S = 300.0
"""After which a track is taken down. Chosen: longer than any call takes; nodes come and go."""


class Track:
    """The way to one part of the store. The committer alone changes it."""

    def __init__(self, now: float) -> None:
        self.ready: dict[StreamId, Writer] = {}
        self.wake = asyncio.Event()
        self.failures = 0
        self.lost_at: float | None = None
        self.used_at = now
        self.task: asyncio.Task[None] | None = None


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
        self._tracks: dict[Hashable, Track] = {}
        self._opened = asyncio.Event()
        """Set when a track has no task yet."""
        self._trouble_at = asyncio.get_running_loop().time()
        """When a call to the store last failed or stalled; a start counts as trouble, for
        nobody knows what happened before."""

    # --- for writers ----------------------------------------------------------------------

    def enlist(self, writer: Writer) -> None:
        """Renew the lease of `writer` from now on, until it is done."""
        writer.last_append_at = asyncio.get_running_loop().time()
        self._writers[writer.birth.id] = writer

    def ready(self, writer: Writer) -> None:
        """`writer` has something to write."""
        stream = writer.birth.id
        key = self._journal.part(stream)
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = Track(asyncio.get_running_loop().time())
            self._opened.set()
        track.ready[stream] = writer
        track.wake.set()

    def renew(self, stream: StreamId) -> None:
        """Renew the lease now, to hear what the store has to say."""
        writer = self._writers.get(stream)
        if writer is not None:
            writer.wants_renewal = True
            self.ready(writer)

    # --- for those who judge leases ---------------------------------------------------------

    def note_trouble(self) -> None:
        """A call to the store failed or stalled, somewhere in this process."""
        self._trouble_at = asyncio.get_running_loop().time()

    @property
    def well_for_s(self) -> float:
        """How long every call to the store has been answered in time."""
        return asyncio.get_running_loop().time() - self._trouble_at

    @property
    def is_store_lost(self) -> bool:
        """Whether the newest commit to some part of the store failed."""
        return any(track.lost_at is not None for track in self._tracks.values())

    # --- the tasks ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._opened.wait()
                self._opened.clear()
                for track in self._tracks.values():
                    if track.task is None:
                        track.task = tasks.create_task(self._serve(track))

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
            for key, track in list(self._tracks.items()):
                if (
                    not track.ready
                    and now - track.used_at > _TRACK_IDLE_S
                    and track.task is not None
                ):
                    track.task.cancel()
                    del self._tracks[key]

    async def _serve(self, track: Track) -> None:
        """Commit what is ready on one track, until cancelled."""
        while True:
            await track.wake.wait()
            track.wake.clear()
            while batch := self._gather(track):
                await self._commit(track, batch)
            self._found(track)  # if it was lost, all that waited goes by other tracks now

    def _gather(self, track: Track) -> list[tuple[Writer, Append]]:
        batch = []
        for stream in list(track.ready)[:_APPENDS_MAX]:
            writer = track.ready.pop(stream)
            if writer.has_more:
                batch.append((writer, writer.next_append()))
        return batch

    async def _commit(self, track: Track, batch: list[tuple[Writer, Append]]) -> None:
        loop = asyncio.get_running_loop()
        begun = track.used_at = loop.time()
        begun_ns = self._observer.counts.clock()
        try:
            receipts = await self._journal.append([append for _, append in batch])
        except StoreUnavailable as error:
            self._lost(track, batch, error)
            await asyncio.sleep(_BACKOFF_S[min(track.failures, len(_BACKOFF_S)) - 1])
            return
        now = loop.time()
        self._observer.appended(len(batch), begun_ns)
        if now - begun > self._lease_s / 4:
            self._trouble_at = now
        self._found(track)
        for (writer, append), receipt in zip(batch, receipts, strict=True):
            writer.settle(append, receipt, now)
            if receipt.outcome is Outcome.FULL or receipt.outcome is Outcome.MOVING:
                self._refused(writer, receipt.outcome, now)
            elif writer.has_more:
                track.ready[writer.birth.id] = writer

    def _refused(self, writer: Writer, outcome: Outcome, now: float) -> None:
        """Try again in a moment, but not for ever."""
        if outcome is Outcome.MOVING:  # nobody could renew this lease
            self._trouble_at = now
        if now - writer.last_append_at > self._grace_s:
            self._give_up(writer)
        elif writer.has_more:
            asyncio.get_running_loop().call_later(_REFUSED_S, self.ready, writer)

    def _give_up(self, writer: Writer) -> None:
        """Its events can be kept no longer. Whoever reaches the store again ends the stream."""
        writer.oust()
        if writer.on_receipt is not None:
            writer.on_receipt()

    def _found(self, track: Track) -> None:
        if track.lost_at is not None:
            self._observer.store_back(asyncio.get_running_loop().time() - track.lost_at)
            track.lost_at = None
            track.failures = 0

    def _lost(
        self, track: Track, batch: list[tuple[Writer, Append]], error: StoreUnavailable
    ) -> None:
        now = asyncio.get_running_loop().time()
        self._trouble_at = now
        track.failures += 1
        if track.lost_at is None:
            track.lost_at = now
            self._observer.store_lost(error.reason)
        is_over = now - track.lost_at > self._grace_s
        for writer, _ in batch:
            writer.retry()
            if is_over:
                self._give_up(writer)
            else:
                self.ready(writer)  # by another track, if its part was found elsewhere meanwhile
