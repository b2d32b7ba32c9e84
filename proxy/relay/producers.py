"""All producers of one process: how a stream is made, and what is done when it has ended."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from proxy.errors import Draining, StoreFull, StoreUnavailable, StreamLimitReached
from proxy.observe import Observer
from proxy.relay.committer import Committer
from proxy.relay.errands import Errands
from proxy.relay.lifecycle import Phase
from proxy.relay.ports import Admission, Append, Claim, Clock, Journal, Ledger, Outcome, Repeat
from proxy.relay.producer import Producer, Work
from proxy.relay.readers import Readers
from proxy.relay.sweep import settle
from proxy.relay.tail import Tail
from proxy.relay.writer import Limits, Writer
from proxy.stream import Birth, Ending, State, StreamId

_SETTLE_TRIES_S = (0.1, 0.5, 2.0)
"""Pauses between tries to tell the ledger of an end; after that the sweep does it."""
_DRAIN_EVERY_S = 0.1
_STOP_S = 5.0
"""How long a drained worker waits for the store to take its last endings."""


class Producers(Mapping[StreamId, Producer]):
    """See the module."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        clock: Clock,
        observer: Observer,
        committer: Committer,
        readers: Readers,
        errands: Errands,
        *,
        limits: Limits,
        streams_max: int,
    ) -> None:
        self.is_draining = False
        """No new streams are taken."""
        self._journal = journal
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._committer = committer
        self._readers = readers
        self._errands = errands
        self._limits = limits
        self._streams_max = streams_max
        self._running: dict[StreamId, Producer] = {}

    def __getitem__(self, stream: StreamId) -> Producer:
        return self._running[stream]

    def __iter__(self) -> Iterator[StreamId]:
        return iter(self._running)

    def __len__(self) -> int:
        return len(self._running)

    # --- making -------------------------------------------------------------------------------

    async def start(self, birth: Birth, work: Work, claim: Claim | None) -> Producer | Repeat:
        """Admit and create a stream and start its producer; or the earlier use of the claim.

        Nothing has reached the provider when this raises. Two round trips.
        """
        if self.is_draining:
            raise Draining
        if len(self._running) >= self._streams_max:
            raise StreamLimitReached(self._streams_max)
        repeat = await self._ledger.admit(
            Admission(
                stream=birth.id,
                owner=birth.owner,
                created_at=birth.created_at,
                keep_s=work.provider.deadlines.total_s + birth.retention_s,
                tag=birth.tag,
                claim=claim,
            )
        )
        if repeat is not None:
            return repeat
        await self._create(birth)
        if claim is not None:
            await self._check_claim(birth, claim)
        writer = self._writer(birth, epoch=1, tail=self._readers.new_local_tail(birth.id))
        producer = Producer(
            writer, work, self._observer, event_bytes_max=self._limits.event_bytes_max
        )
        self._running[birth.id] = producer
        self._observer.stream_started(birth)
        self._errands.tasks.create_task(producer.run(self._after_end))
        return producer

    async def _create(self, birth: Birth) -> None:
        """Write the birth. If that fails the admission is taken back, as well as can be."""
        try:
            append = Append(stream=birth.id, epoch=1, first_id=1, birth=birth)
            (receipt,) = await self._journal.append([append])
        except StoreUnavailable:
            self._committer.note_trouble()
            self._errands.run(self._take_back(birth))
            raise
        if receipt.outcome is not Outcome.WRITTEN:
            self._errands.run(self._take_back(birth))
            if receipt.outcome is Outcome.MOVING:
                raise StoreUnavailable("it is just moving what would be the stream's place")
            raise StoreFull

    async def _check_claim(self, birth: Birth, claim: Claim) -> None:
        """Raise `StoreUnavailable` if the claim was given to another meanwhile.

        That happens if this process stood still between claim and birth: a repeat takes the
        key back, and looks whether the stream is born. One of the two sees the other.
        """
        found = await self._ledger.find_claim(birth.owner, claim.key)
        if found is None or found[0] != birth.id:
            self._errands.run(self._take_back(birth))
            raise StoreUnavailable("the idempotency key was taken back")

    async def _take_back(self, birth: Birth) -> None:
        """It stays counted as running: if it was created after all, the sweep has to find it."""
        if birth.idempotency_key is not None:
            await self._ledger.release(birth.owner, birth.idempotency_key, birth.id)
        await self._ledger.forget(birth.id, birth.owner, birth.tag)

    def _writer(self, birth: Birth, *, epoch: int, tail: Tail) -> Writer:
        writer = Writer(
            birth,
            epoch=epoch,
            tail=tail,
            limits=self._limits,
            on_ready=self._committer.ready,
        )
        self._committer.enlist(writer)
        return writer

    def successor(self, state: State) -> Writer:
        """A writer that goes on where a dead one stopped."""
        tail = Tail(state.birth.id, last_id=state.last_id, is_local=False)
        return self._writer(state.birth, epoch=state.epoch, tail=tail)

    # --- ending -------------------------------------------------------------------------------

    async def _after_end(self, producer: Producer) -> None:
        """Tell the ledger, and let go of what is only here.

        A stream that was lost to another epoch, or to a store that stayed away, has not ended:
        it stays in the ledger for whoever ends it.
        """
        writer = producer.writer
        birth = writer.birth
        if writer.phase is Phase.ENDED or writer.tail.is_erased:
            await self._settle(birth.id, producer.state())
        self._observer.stream_ended(
            birth,
            writer.tail.ending,
            writer.problem.code if writer.problem else "",
            writer.last_id,
            self._clock.now() - birth.created_at,
            writer.usage,
        )
        del self._running[birth.id]
        self._readers.let_go(writer.tail)

    async def _settle(self, stream: StreamId, state: State) -> None:
        for pause_s in (*_SETTLE_TRIES_S, None):
            try:
                await settle(self._ledger, stream, state)
            except StoreUnavailable:
                if pause_s is not None:  # else the sweep finds it
                    await asyncio.sleep(pause_s)
            else:
                return

    async def drain(
        self, drain_s: float, hurry: Callable[[], bool], readers: Callable[[], int]
    ) -> None:
        """Wait for the streams that run, and for `readers()`; then end them as `interrupted`.

        Waits at most `drain_s`, and no longer once `hurry()` is true.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + drain_s
        if self._running and drain_s > 0:
            self._observer.draining(len(self._running), drain_s)
        while (self._running or readers()) and loop.time() < until and not hurry():  # noqa: ASYNC110 - a signal
            await asyncio.sleep(_DRAIN_EVERY_S)
        for producer in list(self._running.values()):
            producer.stop(Ending.INTERRUPTED, "its worker was stopped")
        until = loop.time() + _STOP_S
        while self._running and loop.time() < until:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(_DRAIN_EVERY_S)
        for producer in list(self._running.values()):
            producer.writer.oust()
