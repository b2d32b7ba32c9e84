"""All producers of one process: how a stream is made, and what is done when it has ended."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import msgspec

from proxy.errors import (
    Draining,
    QuotaExceeded,
    StoreFull,
    StoreUnavailable,
    StreamLimitReached,
)
from proxy.observe import Observer
from proxy.policy.quotas import Ask
from proxy.relay.committer import Committer
from proxy.relay.errands import Errands
from proxy.relay.estimate import use_of
from proxy.relay.lifecycle import Phase
from proxy.relay.naming import Naming
from proxy.relay.ports import (
    Admission,
    Admitted,
    Append,
    Claim,
    Clock,
    Journal,
    Ledger,
    Outcome,
    Refused,
    Repeat,
)
from proxy.relay.producer import Producer, Work
from proxy.relay.readers import Readers
from proxy.relay.sweep import settle
from proxy.relay.tail import Tail
from proxy.relay.tally import Tally
from proxy.relay.writer import Limits, Writer
from proxy.stream import Birth, Ending, State, StreamId

_SETTLE_TRIES_S = (0.1, 0.5, 2.0)
"""Pauses between tries to tell the ledger of an end; after that the sweep does it."""
_ENTER_EVERY_S = 1.0
"""Between tries to enter a stream that began without the ledger."""
_DRAIN_EVERY_S = 0.1
_STOP_S = 5.0
"""How long a drained worker waits for the store to take its last endings."""


def may_go_without_ledger(admission: Admission) -> bool:
    """Whether a create is let through though nobody can say what is left.

    Only if every limit says so (a budget never does), and nothing is claimed: an idempotent
    create reaches a provider once.
    """
    limits = admission.limits
    return (
        admission.claim is None
        and bool(limits)
        and all(limit.allows_without_store for limit in limits)
    )


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
        lease_s: float,
    ) -> None:
        self.is_draining = False
        """No new streams are taken."""
        self.tally = Tally(clock.now)
        """What is made here lately, and by the sweep."""
        self._journal = journal
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._committer = committer
        self._readers = readers
        self._errands = errands
        self._limits = limits
        self._streams_max = streams_max
        self._lease_s = lease_s
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

        Nothing has reached the provider when this raises. Two round trips. Raises `QuotaExceeded`,
        `Draining`, `StreamLimitReached`, `StoreFull`, `StoreUnavailable`.
        """
        if self.is_draining:
            raise Draining
        if len(self._running) >= self._streams_max:
            raise StreamLimitReached(self._streams_max)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        admission = Admission(
            stream=birth.id,
            owner=birth.owner,
            created_at=birth.created_at,
            keep_s=work.provider.deadlines.total_s + birth.retention_s,
            tag=birth.tag,
            claim=claim,
            limits=work.limits,
            ask=work.ask,
        )
        is_entered = True
        try:
            admitted = await self._ledger.admit(admission)
        except StoreUnavailable:
            if not may_go_without_ledger(admission):
                raise
            admitted, begun, is_entered = Admitted(()), loop.time(), False
        if isinstance(admitted, Repeat):
            return admitted
        if isinstance(admitted, Refused):
            limit = admitted.refusal.limit
            self._observer.refused(limit.kind, limit.pool)
            raise QuotaExceeded(admitted.refusal, admitted.standings)
        await self._create(birth)
        if claim is not None:
            await self._check_claim(birth, claim)
        if loop.time() - begun > self._lease_s:  # a sweep may have settled it before it was born
            self._errands.run(self._take_back(birth))
            raise StoreUnavailable("it took longer than a lease")
        writer = self._writer(birth, epoch=1, tail=self._readers.new_local_tail(birth.id))
        spoken, trouble = None if work.is_translated else work.dialect, self._committer.note_trouble
        naming = Naming(spoken, writer, self._ledger, trouble, admission.keep_s)
        producer = Producer(
            writer,
            *(work, self._observer, self.tally, naming),
            event_bytes_max=self._limits.event_bytes_max,
        )
        producer.standings = admitted.standings
        if not is_entered:
            self._errands.run(self._enter_later(admission))
        self._running[birth.id] = producer
        self._errands.tasks.create_task(producer.run(self._after_end))
        return producer

    async def _enter_later(self, admission: Admission) -> None:
        """Have a stream in the ledger that began without it: else no sweep would miss it.

        What it uses is not counted: nobody knows what was left when it began.
        """
        uncounted = msgspec.structs.replace(admission, limits=(), ask=Ask())
        while not self.is_draining:
            await asyncio.sleep(_ENTER_EVERY_S)
            try:
                await self._ledger.admit(uncounted)
            except StoreUnavailable:
                self._committer.note_trouble()
            else:
                return

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
            state = producer.state()
            await self._settle(birth.id, state)
            if (use := use_of(state)) is not None:
                self._observer.charged(birth, use.microdollars)
        self.tally.ended(birth, writer.tail.ending, writer.problem, events=writer.last_id)
        self._observer.stream_ended(
            birth,
            writer.tail.ending,
            writer.problem.code if writer.problem else "",
            writer.last_id,
            self._clock.now() - birth.created_at,
            writer.usage,
            bytes_kept=writer.bytes_kept,
        )
        del self._running[birth.id]
        self._readers.let_go(writer.tail)
        if writer.tail.ending is not None and not writer.tail.was_read:
            await self._look_for_readers(writer)

    async def _look_for_readers(self, writer: Writer) -> None:
        """Nobody has read the stream here: tell, if it was nobody elsewhere either."""
        try:
            (state,) = await self._journal.states([writer.birth.id])
        except StoreUnavailable:
            self._committer.note_trouble()
        else:
            if state is not None and not state.was_watched:
                self._observer.stream_unread(writer.birth, writer.usage)

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
