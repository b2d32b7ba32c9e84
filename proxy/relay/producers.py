"""All producers of one process: how a stream is made, and what is done when it has ended."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from proxy.errors import (
    Draining,
    QuotaExceeded,
    StoreUnavailable,
    StreamLimitReached,
)
from proxy.observe import Observer, Share
from proxy.relay.admission import may_go_without_ledger, uncounted
from proxy.relay.attempts import Attempts
from proxy.relay.births import Births
from proxy.relay.committer import Committer
from proxy.relay.course import course_of
from proxy.relay.errands import Errands
from proxy.relay.estimate import shares_of
from proxy.relay.heritage import NOTHING, Heritage
from proxy.relay.legs import Legs
from proxy.relay.lifecycle import Phase
from proxy.relay.naming import Naming
from proxy.relay.ports import (
    Admission,
    Admitted,
    Claim,
    Clock,
    Journal,
    Ledger,
    Refused,
    Repeat,
)
from proxy.relay.producer import Producer
from proxy.relay.readers import Readers
from proxy.relay.rests import Resting
from proxy.relay.sweep import settle
from proxy.relay.tail import Tail
from proxy.relay.tally import Tally
from proxy.relay.tries import Tries
from proxy.relay.work import Candidate, Work
from proxy.relay.writer import Limits, Writer
from proxy.stream import Birth, State, StreamId

_ENTER_EVERY_S = 1.0
"""Between tries to enter a stream that began without the ledger."""


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
        resting: Resting,
        *,
        limits: Limits,
        streams_max: int,
        lease_s: float,
        draw: Callable[[], float],
    ) -> None:
        self.is_draining = False
        """No new streams are taken."""
        self.tally = Tally(clock.now, observer.counts)
        """What is made here lately, and by the sweep."""
        self._journal = journal
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._committer = committer
        self._readers = readers
        self._errands = errands
        self._resting = resting
        self._limits = limits
        self._streams_max = streams_max
        self._lease_s = lease_s
        self._draw = draw
        self._births = Births(journal, ledger, committer, errands)
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
            keep_s=work.total_s + birth.retention_s,
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
        await self._births.write(birth, work.recipe)
        if claim is not None:
            await self._births.check_claim(birth, claim)
        if loop.time() - begun > self._lease_s:  # a sweep may have settled it before it was born
            self._births.take_back(birth)
            raise StoreUnavailable("it took longer than a lease")
        tail = self._readers.new_local_tail(birth.id)
        writer = self._writer(birth, epoch=1, tail=tail, recipe=work.recipe)
        producer = self._producer(writer, work, admission.keep_s)
        producer.standings = admitted.standings
        self._running[birth.id] = producer
        writer.on_lost = partial(self._enter_later, admission)
        if not is_entered:  # nobody knows what was left, so what it uses is not counted
            self._enter_later(uncounted(admission))
        self._errands.tasks.create_task(producer.run(self._after_end))
        return producer

    def _enter_later(self, admission: Admission) -> None:
        self._errands.run(self._enter(admission))

    async def _enter(self, admission: Admission) -> None:
        """Have a stream that runs in the ledger, which lost it, or began without.

        Else no sweep would miss it. If others are in its way there, it goes in uncounted.
        """
        while admission.stream in self._running and not self.is_draining:
            await asyncio.sleep(_ENTER_EVERY_S)
            try:
                if isinstance(await self._ledger.admit(admission), Admitted):
                    return
            except StoreUnavailable:
                self._committer.note_trouble()
            else:
                admission = uncounted(admission)

    def _writer(
        self, birth: Birth, *, epoch: int, tail: Tail, recipe: bytes | None = None
    ) -> Writer:
        writer = Writer(
            birth,
            epoch=epoch,
            tail=tail,
            limits=self._limits,
            on_ready=self._committer.ready,
            recipe=recipe,
        )
        self._committer.enlist(writer)
        return writer

    def _producer(
        self, writer: Writer, work: Work, keep_s: float, heritage: Heritage = NOTHING
    ) -> Producer:
        pace = self._observer.stream_started(writer.birth)
        patience = [candidate.provider.patience for candidate in work.candidates]
        tries = Tries(
            writer,
            work,
            Legs(writer, self._clock, heritage.legs, is_heir=heritage is not NOTHING),
            Attempts(patience, self._draw, takes_up=heritage.takes_up),
            self._observer,
            pace,
            lambda dialect: Naming(
                dialect, writer, self._ledger, self._committer.note_trouble, keep_s
            ),
            partial(self._has_room, writer.birth, work),
            self._resting,
            heritage=heritage,
            event_bytes_max=self._limits.event_bytes_max,
            draw=self._draw,
            run_beside=self._errands.run,
        )
        return Producer(writer, work, self._observer, pace, tries)

    async def _has_room(self, birth: Birth, work: Work, candidate: Candidate) -> bool:
        """Hold what another provider's own limits want held. A store that is away says nothing."""
        try:
            held = await self._ledger.hold_more(birth.id, candidate.limits, work.ask)
        except StoreUnavailable:
            self._committer.note_trouble()
            return not candidate.limits
        return isinstance(held, Admitted)

    def successor(self, state: State) -> Writer:
        """A writer that goes on where a dead one stopped."""
        tail = Tail(state.birth.id, last_id=state.last_id, is_local=False)
        return self._writer(state.birth, epoch=state.epoch, tail=tail)

    @property
    def is_full(self) -> bool:
        """Whether no more streams can be produced here."""
        return self.is_draining or len(self._running) >= self._streams_max

    def take_over(self, state: State, work: Work, heritage: Heritage) -> None:
        """Go on with a stream whose worker died. What it holds in the ledger stays as it is."""
        writer = self.successor(state)
        writer.inherit(heritage)
        producer = self._producer(writer, work, work.total_s + state.birth.retention_s, heritage)
        self._running[state.birth.id] = producer
        self._errands.tasks.create_task(producer.run(self._after_end))

    # --- ending -------------------------------------------------------------------------------

    async def _after_end(self, producer: Producer) -> None:
        """Tell the ledger, and let go of what is only here.

        A stream that was lost to another epoch, or to a store that stayed away, has not ended:
        it stays in the ledger for whoever ends it.
        """
        writer = producer.writer
        has_ended = writer.phase is Phase.ENDED or writer.tail.is_erased
        self._tell_end(producer, shares_of(producer.state()) if has_ended else ())
        if has_ended:
            await self._errands.insist(
                partial(settle, self._ledger, writer.birth.id, producer.state())
            )
        ending = writer.tail.ending
        provider = producer.candidate.provider.name
        self.tally.ended(writer.birth, provider, ending, writer.problem, events=writer.last_id)
        del self._running[writer.birth.id]
        self._readers.let_go(writer.tail)
        if ending is not None and writer.tail.unread:
            await self._look_for_readers(writer)

    def _tell_end(self, producer: Producer, shares: Sequence[Share]) -> None:
        """At once: what is not told when this process dies, nobody tells."""
        writer = producer.writer
        self._observer.charged(writer.birth, shares)
        self._observer.stream_ended(
            writer.birth,
            writer.tail.ending,
            writer.problem.code if writer.problem else "",
            writer.last_id,
            self._clock.now() - writer.birth.created_at,
            writer.usage,
            provider=producer.candidate.provider.name,
            bytes_kept=writer.bytes_kept,
            course=lambda: course_of(producer),
        )

    async def _look_for_readers(self, writer: Writer) -> None:
        """Some of it nobody has read here: tell, if nobody has read elsewhere."""
        try:
            (state,) = await self._journal.states([writer.birth.id])
        except StoreUnavailable:
            self._committer.note_trouble()
        else:
            if state is not None and not state.was_watched:
                share = writer.tail.unread / writer.last_id
                self._observer.stream_unread(writer.birth, state.provider, writer.usage, share)
