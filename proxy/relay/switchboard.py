"""Everything of streams that one process holds: its producers, its tails, its cursors.

Where a stream is produced makes no difference to a caller, only to the cost: here its tail is
at hand, elsewhere it is read from the journal and kept fresh by bells.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from proxy.errors import (
    AheadOfStream,
    Draining,
    StoreFull,
    StoreUnavailable,
    StreamGone,
    StreamLimitReached,
    StreamNotFound,
)
from proxy.observe import Observer
from proxy.relay.committer import Committer
from proxy.relay.cursor import Cursor
from proxy.relay.errands import Errands
from proxy.relay.lifecycle import Phase
from proxy.relay.ports import (
    Admission,
    Append,
    Claim,
    Clock,
    Entropy,
    Journal,
    Ledger,
    Listing,
    Outcome,
    Repeat,
)
from proxy.relay.producer import Producer, Work
from proxy.relay.readers import Readers
from proxy.relay.sweep import Sweep, settle
from proxy.relay.tail import Tail
from proxy.relay.writer import Limits, Writer
from proxy.stream import Birth, Ending, State, StreamId, new_stream_id
from proxy.wire.dialect import Dialect

_AHEAD_S = 2.0
"""How long a cursor beyond the end waits for a store that lags."""
_AHEAD_EVERY_S = 0.1
_CANCEL_WAIT_S = 5.0
"""How long a cancel waits for the ending it caused."""
_SETTLE_TRIES_S = (0.1, 0.5, 2.0)
"""Pauses between tries to tell the ledger of an end; after that the sweep does it."""
_DRAIN_EVERY_S = 0.1
_STOP_S = 5.0
"""How long a drained worker waits for the store to take its last endings."""


class Settings(msgspec.Struct, frozen=True):
    """What the heart is told by the config."""

    lease_s: float
    grace_s: float
    """How long a producer keeps what the store does not take."""
    heartbeat_s: float
    streams_max: int
    limits: Limits


class Switchboard:
    """See the module. Nothing works outside `running`."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        clock: Clock,
        entropy: Entropy,
        observer: Observer,
        dialects: dict[str, Dialect],
        settings: Settings,
    ) -> None:
        self.clock = clock
        self.is_draining = False
        """No new streams are taken."""
        self.is_leaving = False
        """Readers are to go: this process is about to stop."""
        self._journal = journal
        self._ledger = ledger
        self._entropy = entropy
        self._observer = observer
        self._settings = settings
        self._committer = Committer(
            journal, observer, lease_s=settings.lease_s, grace_s=settings.grace_s
        )
        self._producers: dict[StreamId, Producer] = {}
        self._tasks = asyncio.TaskGroup()
        self._errands = Errands(self._tasks, self._committer.note_trouble)
        self._readers = Readers(journal, entropy, self._errands, look_again_s=settings.heartbeat_s)
        self._sweep = Sweep(
            journal,
            ledger,
            self._committer,
            observer,
            dialects,
            lease_s=settings.lease_s,
            own=self._producers,
            write=self._successor,
        )
        journal.on_hint(self._committer.renew)

    # --- the life of the process --------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While inside, streams live. Leaving ends what still runs as `interrupted`."""
        async with self._tasks as tasks:
            forever = [
                tasks.create_task(self._committer.run()),
                tasks.create_task(self._committer.keep_leases()),
                tasks.create_task(self._sweep.run()),
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
        """Take no new streams; wait for those that run, then end them as `interrupted`.

        Waits at most `drain_s`, and no longer once `hurry()` is true.
        """
        self.is_draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + drain_s
        if self._producers and drain_s > 0:
            self._observer.draining(len(self._producers), drain_s)
        while self._producers and loop.time() < until and not hurry():  # noqa: ASYNC110 - a signal
            await asyncio.sleep(_DRAIN_EVERY_S)
        for producer in list(self._producers.values()):
            producer.stop(Ending.INTERRUPTED, "its worker was stopped")
        until = loop.time() + _STOP_S
        while self._producers and loop.time() < until:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(_DRAIN_EVERY_S)
        for producer in list(self._producers.values()):
            producer.writer.oust()

    def send_readers_away(self) -> None:
        """Let every reader look up and see `is_leaving`. They resume elsewhere, or later."""
        self.is_leaving = True
        self._readers.poke()

    @property
    def is_store_lost(self) -> bool:
        """Whether the newest write failed."""
        return self._committer.is_store_lost

    # --- making streams -------------------------------------------------------------------------

    def new_id(self) -> StreamId:
        """An id nobody can guess."""
        return new_stream_id(self._entropy.random_bytes(20))

    async def start(self, birth: Birth, work: Work, claim: Claim | None) -> Producer | Repeat:
        """Admit and create a stream and start its producer; or the earlier use of the claim.

        Nothing has reached the provider when this raises. Two round trips.
        """
        if self.is_draining:
            raise Draining
        if len(self._producers) >= self._settings.streams_max:
            raise StreamLimitReached(self._settings.streams_max)
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
        writer = self._writer(birth, epoch=1, tail=self._readers.new_local_tail(birth.id))
        producer = Producer(
            writer,
            work,
            self._observer,
            event_bytes_max=self._settings.limits.event_bytes_max,
        )
        self._producers[birth.id] = producer
        self._observer.stream_started(birth)
        self._tasks.create_task(producer.run(self._after_end))
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
            raise StoreFull

    async def _take_back(self, birth: Birth) -> None:
        if birth.idempotency_key is not None:
            await self._ledger.release(birth.owner, birth.idempotency_key, birth.id)
        await self._ledger.forget(birth.id, birth.owner, birth.tag)
        await self._ledger.settle(birth.id)

    def _writer(self, birth: Birth, *, epoch: int, tail: Tail) -> Writer:
        writer = Writer(
            birth,
            epoch=epoch,
            tail=tail,
            limits=self._settings.limits,
            on_ready=self._committer.ready,
        )
        self._committer.enlist(writer)
        return writer

    def _successor(self, state: State) -> Writer:
        """A writer that goes on where a dead one stopped."""
        tail = Tail(state.birth.id, last_id=state.last_id, is_local=False)
        return self._writer(state.birth, epoch=state.epoch, tail=tail)

    async def _after_end(self, producer: Producer) -> None:
        """The producer is done: tell the ledger, and let go of what is only here."""
        writer = producer.writer
        birth = writer.birth
        for pause_s in (*_SETTLE_TRIES_S, None):
            try:
                await settle(self._ledger, birth.id, self._local_state(producer))
                break
            except StoreUnavailable:
                if pause_s is None:
                    break  # the sweep finds it
                await asyncio.sleep(pause_s)
        self._observer.stream_ended(
            birth,
            writer.ending if writer.done.is_set() else None,
            writer.problem.code if writer.problem else "",
            writer.last_id,
            self.clock.now() - birth.created_at,
            writer.usage,
        )
        del self._producers[birth.id]
        self._readers.let_go(writer.tail)

    # --- reading streams ------------------------------------------------------------------------

    async def state(self, stream: StreamId) -> State:
        """What is known of a stream; from memory if it is produced here.

        Raises `StreamNotFound`; an erased or expired one has `State.is_erased`.
        """
        producer = self._producers.get(stream)
        if producer is not None and producer.writer.phase in {Phase.OPEN, Phase.ENDING}:
            return self._local_state(producer)
        (state,) = await self.states([stream])
        if state is None:
            raise StreamNotFound
        return state

    async def states(self, streams: Sequence[StreamId]) -> Sequence[State | None]:
        """What the store knows of each. One round trip."""
        return await self._journal.states(streams)

    def _local_state(self, producer: Producer) -> State:
        """As the store has it: what is not accepted yet does not count."""
        writer = producer.writer
        return State(
            birth=writer.birth,
            epoch=writer.epoch,
            last_id=writer.tail.last_id,
            ending=writer.tail.ending,
            usage=writer.usage,
            has_content=writer.has_content,
            is_cancel_asked=writer.receipt.is_cancel_asked,
        )

    async def follow(self, state: State, after: int, *, lingers_s: float = 0) -> Cursor:
        """A cursor behind event `after`. Close it.

        It counts as a reader (see `Detach`) until `lingers_s` after it is closed. Raises
        `AheadOfStream` if there is no event `after`, `StreamGone` if it is erased.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _AHEAD_S
        while after > state.last_id:
            if state.ending is not None or loop.time() >= until:
                raise AheadOfStream(after, state.last_id)
            await asyncio.sleep(_AHEAD_EVERY_S)
            state = await self.state(state.birth.id)
        return await self._readers.open(state, after, lingers_s=lingers_s)

    # --- stopping and erasing -------------------------------------------------------------------

    async def cancel(self, stream: StreamId) -> State:
        """Stop a stream, wherever it is produced, and wait for its ending.

        The state returned has no ending if that took longer than 5 s. Idempotent; a stream
        that has ended stays as it ended.
        """
        producer = self._producers.get(stream)
        if producer is not None:
            producer.stop(Ending.CANCELLED, "asked for")
        else:
            state = await self.state(stream)
            if state.ending is not None or state.is_erased:
                return state
            await self._journal.ask_cancel(stream)
        return await self._wait_for_end(stream)

    async def _wait_for_end(self, stream: StreamId) -> State:
        loop = asyncio.get_running_loop()
        until = loop.time() + _CANCEL_WAIT_S
        state = await self.state(stream)
        if state.ending is None and not state.is_erased:
            cursor = await self.follow(state, state.last_id)
            try:
                while not cursor.is_at_end and (left_s := until - loop.time()) > 0:
                    await cursor.next(left_s)
            except StreamGone:
                pass  # erased meanwhile: that is an end too
            finally:
                cursor.close()
            state = await self.state(stream)
        return state

    async def erase(self, state: State) -> None:
        """Stop a stream and erase its journal."""
        birth = state.birth
        await self.cancel(birth.id)
        await self._journal.erase(birth.id)
        await self._ledger.forget(birth.id, birth.owner, birth.tag)
        if birth.idempotency_key is not None:
            await self._ledger.release(birth.owner, birth.idempotency_key, birth.id)
        self._readers.erase(birth.id)

    # --- looking up -------------------------------------------------------------------------------

    async def list(
        self, owner: str | None, tag: str | None, cursor: str | None, count: int
    ) -> Listing:
        """Stream ids, newest first. See `Ledger.list`."""
        return await self._ledger.list(owner, tag, cursor, count)

    async def claimed_by(self, owner: str, key: str) -> tuple[StreamId, bytes] | None:
        """The stream that holds an idempotency key, and the fingerprint of its request."""
        return await self._ledger.find_claim(owner, key)

    async def give_back(self, owner: str, key: str, stream: StreamId) -> None:
        """Release an idempotency key that `stream` holds but cannot answer."""
        await self._ledger.release(owner, key, stream)
