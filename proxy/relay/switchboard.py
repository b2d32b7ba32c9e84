"""Everything of streams that one process holds, behind one door.

Where a stream is produced makes no difference to a caller, only to the cost: here its tail is
at hand, elsewhere it is read from the journal and kept fresh by bells.

This is longer than a file should be because it is the one door, and most of it only leads on.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from proxy.errors import AheadOfStream, StreamGone, StreamNotFound
from proxy.observe import Observer
from proxy.policy.quotas import Limit, Standing
from proxy.relay.committer import Committer
from proxy.relay.couriers import Couriers
from proxy.relay.cursor import Cursor
from proxy.relay.draining import drain
from proxy.relay.errands import Errands
from proxy.relay.lifecycle import Phase
from proxy.relay.ports import (
    Claim,
    Clock,
    Entropy,
    Identity,
    Journal,
    Ledger,
    Listing,
    Provider,
    Repeat,
    Report,
    Rests,
)
from proxy.relay.producer import Producer
from proxy.relay.producers import Producers
from proxy.relay.readers import Readers, Transport
from proxy.relay.reporter import Reporter
from proxy.relay.rests import Resting
from proxy.relay.settings import Settings
from proxy.relay.sweep import Sweep
from proxy.relay.takeover import Takeover
from proxy.relay.work import Work
from proxy.stream import Birth, Ending, State, StreamId, new_stream_id, passage_id
from proxy.wire.dialect import Dialect

_AHEAD_S = 2.0
"""How long a cursor beyond the end waits for a store that lags."""
_AHEAD_EVERY_S = 0.1
_CANCEL_WAIT_S = 5.0
"""How long a cancel waits for the ending it caused."""


class Switchboard:
    """See the module. Nothing works outside `running`."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        rests: Rests,
        clock: Clock,
        entropy: Entropy,
        observer: Observer,
        dialects: dict[str, Dialect],
        settings: Settings,
    ) -> None:
        self.clock = clock
        self.observer = observer
        self._journal = journal
        self._ledger = ledger
        self._entropy = entropy
        self._tasks = asyncio.TaskGroup()
        self._committer = Committer(
            journal, observer, lease_s=settings.lease_s, grace_s=settings.grace_s
        )
        errands = Errands(self._tasks, self._committer.note_trouble)
        self.resting = Resting(rests, observer, errands)
        """Which targets are left alone."""
        self._readers = Readers(
            journal, entropy, errands, observer, look_again_s=settings.heartbeat_s
        )
        self._producers = Producers(
            journal,
            ledger,
            clock,
            observer,
            self._committer,
            self._readers,
            errands,
            self.resting,
            limits=settings.limits,
            streams_max=settings.streams_max,
            lease_s=settings.lease_s,
            draw=self.draw,
        )
        self.couriers = Couriers(ledger, observer, errands, settings)
        """What passes through whole: see `Couriers.send`."""
        self.takeover = Takeover(journal, observer, clock, self._producers)
        """How streams of dead workers are gone on with; its `plan` is for others to set."""
        self._sweep = Sweep(
            journal,
            ledger,
            self._committer,
            observer,
            errands,
            clock,
            dialects,
            self._producers.tally,
            lease_s=settings.lease_s,
            own=self._producers,
            write=self._producers.successor,
            take=self.takeover.take,
        )
        journal.on_hint(self._committer.renew)

    # --- the life of the process ----------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While inside, streams live. Leaving ends what still runs as `interrupted`."""
        async with self._tasks as tasks:
            forever = [
                tasks.create_task(self._committer.run()),
                tasks.create_task(self._committer.keep_leases()),
                tasks.create_task(self.couriers.keep_leases()),
                tasks.create_task(self._sweep.run()),
                tasks.create_task(self.resting.run()),
                tasks.create_task(self._readers.keep_presence()),
            ]
            try:
                yield
            finally:
                await self.drain(0)
                self._readers.close()
                for task in forever:
                    task.cancel()

    async def drain(self, drain_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """Take no new streams; send on whoever can resume elsewhere; let the others finish.

        Returns when no stream runs here, no passage, and no reader is bound to its line, or after
        `drain_s`, or when `hurry()` is true; what then still runs is ended as `interrupted`.
        """
        self._producers.is_draining = self.couriers.is_draining = True
        self._readers.send_away(bound_too=False)
        await drain(
            self._producers,
            self.observer,
            drain_s,
            hurry,
            others=lambda: self._readers.bound + len(self.couriers),
        )
        self.couriers.stop()

    def send_readers_away(self) -> None:
        """Let every reader look up and see that it is sent away. It resumes elsewhere, or later."""
        self._readers.send_away(bound_too=True)

    def reporter(self, worker: Identity) -> Reporter:
        """What makes this process known as `worker`, while it runs inside `running`."""
        return Reporter(
            worker, self._ledger, self._producers, self._readers, self._committer.note_trouble
        )

    def on_send_away(self, tell: Callable[[], None]) -> None:
        """See `Readers.on_send_away`: for a connection that may have no cursor."""
        self._readers.on_send_away(tell)

    def off_send_away(self, tell: Callable[[], None]) -> None:
        """See `Readers.off_send_away`."""
        self._readers.off_send_away(tell)

    @property
    def is_draining(self) -> bool:
        """Whether new streams are refused."""
        return self._producers.is_draining

    # --- making and finding ---------------------------------------------------------------------

    def new_id(self) -> StreamId:
        """An id nobody can guess."""
        return new_stream_id(self._entropy.random_bytes(20))

    def draw(self) -> float:
        """A number from 0 up to but not with 1."""
        return (int.from_bytes(self._entropy.random_bytes(7), "big") >> 3) / 2**53

    def running_by_target(self) -> Mapping[str, int]:
        """How many answers each target is making for this process, by `Target.name`."""
        return Counter(producer.candidate.name for producer in self._producers.values())

    def new_passage_id(self) -> StreamId:
        """The same, of what is no stream."""
        return passage_id(self._entropy.random_bytes(20))

    async def start(self, birth: Birth, work: Work, claim: Claim | None) -> Producer | Repeat:
        """See `Producers.start`."""
        return await self._producers.start(birth, work, claim)

    async def state(self, stream: StreamId) -> State:
        """What is known of a stream; from memory if it is produced here.

        Raises `StreamNotFound`; an erased or expired one has `State.is_erased`.
        """
        producer = self._producers.get(stream)
        if producer is not None and producer.writer.phase in {Phase.OPEN, Phase.ENDING}:
            return producer.state()
        (state,) = await self.states([stream])
        if state is None:
            raise StreamNotFound
        return state

    def providers_in_use(self) -> set[Provider]:
        """Whom this process is asking."""
        read = {
            candidate.provider
            for producer in self._producers.values()
            for candidate in producer.work.candidates
        }
        return read | self.couriers.providers()

    def producer(self, stream: StreamId) -> Producer | None:
        """The producer of a stream, if it is here."""
        return self._producers.get(stream)

    async def states(self, streams: Sequence[StreamId]) -> Sequence[State | None]:
        """What the store knows of each. One round trip."""
        return await self._journal.states(streams)

    async def list(
        self, owner: str | None, tag: str | None, cursor: str | None, count: int
    ) -> Listing:
        """Stream ids, newest first. See `Ledger.list`."""
        return await self._ledger.list(owner, tag, cursor, count)

    async def reports(self) -> Sequence[Report]:
        """What the workers say of themselves. See `Ledger.reports`."""
        return await self._ledger.reports()

    async def standings(self, limits: Sequence[Limit]) -> Sequence[Standing]:
        """What is left of each limit. No round trip if there is none. See `Ledger.standings`."""
        return await self._ledger.standings(limits) if limits else ()

    async def claimed_by(self, owner: str, key: str) -> tuple[StreamId, bytes] | None:
        """The stream that holds an idempotency key, and the fingerprint of its request."""
        return await self._ledger.find_claim(owner, key)

    async def named(self, owner: str, name: str) -> StreamId | None:
        """The stream that an owner knows by the name of its answer. See `Ledger.named`."""
        return await self._ledger.named(owner, name)

    async def give_back(self, owner: str, key: str, stream: StreamId) -> None:
        """Release an idempotency key that `stream` holds but cannot answer."""
        await self._ledger.release(owner, key, stream)

    # --- reading --------------------------------------------------------------------------------

    async def follow(
        self,
        state: State,
        after: int,
        *,
        transport: Transport | None,
        lingers_s: float = 0,
        is_bound: bool = False,
    ) -> Cursor:
        """A cursor behind event `after`. Close it.

        With a `transport` it counts as a reader (see `Detach`) until `lingers_s` after it is
        closed; what only looks, has none. If it `is_bound`, its client perhaps cannot resume.
        Raises `AheadOfStream` if there is no event `after`, `StreamGone` if it is erased.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _AHEAD_S
        while after > state.last_id:
            if state.ending is not None or loop.time() >= until:
                raise AheadOfStream(after, state.last_id)
            await asyncio.sleep(_AHEAD_EVERY_S)
            state = await self.state(state.birth.id)
        return await self._readers.open(
            state, after, lingers_s=lingers_s, transport=transport, is_bound=is_bound
        )

    def revoke(self, is_lost: Callable[[Cursor], bool]) -> None:
        """Close the cursors of those who may not read any more."""
        self._readers.revoke(is_lost)

    # --- stopping and erasing -------------------------------------------------------------------

    async def cancel(self, stream: StreamId) -> State:
        """Stop a stream, wherever it is produced, and wait for its ending.

        The state returned has no ending if that took over 5 s. What has ended stays as it ended.
        """
        producer = self._producers.get(stream)
        if producer is not None:
            producer.stop(Ending.CANCELLED, "asked for")
            with suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_WAIT_S):
                    await producer.writer.done.wait()
            return await self.state(stream)
        state = await self.state(stream)
        if state.ending is not None or state.is_erased:
            return state
        await self._journal.ask_cancel(stream)
        return await self._wait_for_end(state)

    async def _wait_for_end(self, state: State) -> State:
        loop = asyncio.get_running_loop()
        until = loop.time() + _CANCEL_WAIT_S
        cursor = await self.follow(state, state.last_id, transport=None)
        try:
            while (
                not (cursor.is_at_end or cursor.is_closed) and (left_s := until - loop.time()) > 0
            ):
                await cursor.next(left_s)
        except StreamGone:
            pass  # erased meanwhile: that is an end too
        finally:
            cursor.close()
        return await self.state(state.birth.id)

    async def erase(self, state: State) -> None:
        """Stop a stream and erase its journal."""
        birth = state.birth
        await self.cancel(birth.id)
        await self._journal.erase(birth.id)
        await self._ledger.forget(birth.id, birth.owner, birth.tag)
        if birth.idempotency_key is not None:
            await self._ledger.release(birth.owner, birth.idempotency_key, birth.id)
        self._readers.erase(birth.id)
