"""The round that finds streams whose producer died: they are taken over, or their end is written.

Every worker sweeps; the ledger deals the streams out. A lease is judged by the store's clock,
in the store, and only by a worker for which the store has been well for one whole lease, and all
of it: while some part was away nobody could renew there. So every round feels the store's pulse,
whether or not there is anything to judge.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from proxy.errors import StoreUnavailable, stream_problem
from proxy.observe import Observer
from proxy.policy.quotas import Use
from proxy.relay.committer import Committer
from proxy.relay.errands import Errands
from proxy.relay.estimate import (
    Said,
    Uses,
    is_known,
    left_behind,
    said_in,
    shares_of,
    tokens_in,
    uses_of,
)
from proxy.relay.lifecycle import Phase
from proxy.relay.ports import Alive, Clock, Journal, Ledger
from proxy.relay.tally import Tally
from proxy.relay.writer import Writer
from proxy.stream import Ending, Event, State, StreamId, is_passage
from proxy.wire.dialect import Dialect, SoFar

_EVERY_S = 0.5
"""Chosen: a dead producer is found within its lease and a second, on a busy machine too."""

_SETTLE_WITHIN_S = 2.0
"""How long the settling of a dead stream waits for its end to be written. Chosen: the next round
comes before that, and a process that stops is not held up."""

_STREAMS_MAX = 200
"""Of one round."""

_KEPT_BYTES_MAX = 64 * 1024
"""Of a dead stream's events, for its end to fit. Chosen: most answers, and no more of a round."""


class Sweep:
    """See the module."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        committer: Committer,
        observer: Observer,
        errands: Errands,
        clock: Clock,
        dialects: dict[str, Dialect],
        tally: Tally,
        *,
        lease_s: float,
        own: Collection[StreamId],
        write: Callable[[State], Writer],
        take: Callable[[State], Awaitable[bool]],
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._committer = committer
        self._observer = observer
        self._errands = errands
        self._clock = clock
        self._dialects = dialects
        self._tally = tally
        self._lease_s = lease_s
        self._own = own
        self._write = write
        self._take = take

    async def run(self) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await asyncio.sleep(_EVERY_S)
            if loop.time() - begun > self._lease_s:  # this process itself stood still
                self._committer.note_trouble()
            try:
                felt = loop.time()
                await self._journal.pulse()
                if loop.time() - felt > self._lease_s / 4:  # the store did
                    self._committer.note_trouble()
                while self._committer.well_for_s >= self._lease_s:
                    if await self.round() < _STREAMS_MAX:
                        break
            except StoreUnavailable:
                self._committer.note_trouble()

    async def round(self) -> int:
        """One round; how many streams were due.

        A stream that lives is looked at again when its lease would run out, not before: so a
        dead one is found at once, and the living cost little.
        """
        overdue = await self._ledger.overdue(_STREAMS_MAX)
        due = [stream for stream in overdue if stream not in self._own]
        if not due:
            return len(overdue)
        over: list[StreamId] = []
        dead: list[State] = []
        waits_s: dict[StreamId, float] = {}
        for stream, taken in zip(due, await self._journal.take_over(due), strict=True):
            match taken:
                case State():
                    dead.append(taken)
                case Alive(lease_s):
                    waits_s[stream] = lease_s
                case None:
                    over.append(stream)
        await asyncio.gather(*(self._bury(state) for state in dead))
        if waits_s:
            await self._ledger.put_off(waits_s)
        if over:
            await self._settle_ended(over)
        return len(overdue)

    async def _bury(self, state: State) -> None:
        if not await self._take(state):
            await self._interrupt(state)

    async def _interrupt(self, state: State) -> None:
        """The producer is dead: end what it had begun. Reads the journal, for its end to fit."""
        birth, usage = state.birth, state.usage
        dialect = self._dialects[birth.dialect]
        is_counted = is_known(usage)
        said, events = await self._read_back(birth.id, dialect, whole=not is_counted)
        if not is_counted:
            asked, age_s = tokens_in(birth.input_tokens_max), self._clock.now() - birth.created_at
            usage = left_behind(usage, asked, said, age_s, birth)
        writer = self._write(state)
        writer.usage = usage
        writer.has_content = state.has_content
        ending = Ending.CANCELLED if state.is_cancel_asked else Ending.INTERRUPTED
        problem = stream_problem(ending, "its worker died", birth.id)
        so_far = SoFar(birth, writer.last_id, events)
        ended = msgspec.structs.replace(state, ending=ending, problem=problem, usage=usage)
        writer.on_receipt = partial(self._tell, writer, ended)
        writer.end(ending, problem, dialect.last_frames(ending, problem, so_far))
        self._errands.run(self._settle(writer, ended))

    async def _read_back(
        self, stream: StreamId, dialect: Dialect, *, whole: bool
    ) -> tuple[Said, Sequence[Event]]:
        """How much the model has said, and the first events. One round trip for each page.

        If not the `whole` journal is needed, only so far as events are kept.
        """
        count, has_reasoned, size, after = 0, False, 0, 0
        events: list[Event] = []
        while (page := await self._journal.read(stream, after)) is not None and page.events:
            said = said_in(page.events, dialect)
            count, has_reasoned = count + said.bytes, has_reasoned or said.has_reasoned
            if size <= _KEPT_BYTES_MAX:
                events += page.events
            elif not whole:
                break
            size += sum(len(event.data) for event in page.events)
            after = page.events[-1].id
        return Said(count, has_reasoned), events

    def _tell(self, writer: Writer, state: State) -> None:
        """Once the store has the end, however late: there is no receipt after that one."""
        if writer.phase is Phase.ENDED:
            assert state.ending is not None, "it has ended"
            age_s = self._clock.now() - state.birth.created_at
            self._observer.sweep_ended(
                state.birth, state.provider, state.ending, state.usage, age_s, events=writer.last_id
            )
            self._observer.charged(state.birth, shares_of(state))
            self._tally.ended(state.birth, state.provider, state.ending, state.problem)

    async def _settle(self, writer: Writer, state: State) -> None:
        """At once, where it can be: a dead stream still counts as one of so many at a time."""
        with suppress(TimeoutError):  # a later round does it
            async with asyncio.timeout(_SETTLE_WITHIN_S):
                await writer.done.wait()
        if writer.phase is Phase.ENDED:
            await settle(self._ledger, writer.birth.id, state)

    async def _settle_ended(self, streams: list[StreamId]) -> None:
        """Streams whose worker died after the end, but before it told the ledger.

        A passage whose worker died has no journal to tell what it used: all that it held.
        """
        states = await self._journal.states(streams)
        for stream, state in zip(streams, states, strict=True):
            if is_passage(stream):
                await self._ledger.settle(stream, None)
            elif state is None or state.ending is not None or state.is_erased:
                await settle(self._ledger, stream, state)


async def settle(ledger: Ledger, stream: StreamId, state: State | None) -> None:
    """Tell the ledger that `stream` has ended; without content its idempotency key is free."""
    if state is not None and not state.has_content and state.ending is not Ending.COMPLETED:
        key = state.birth.idempotency_key
        if key is not None:
            await ledger.release(state.birth.owner, key, stream)
    uses = Uses(Use()) if state is None else uses_of(state)
    if uses is None:
        await ledger.settle(stream, None)
    else:
        await ledger.settle(stream, uses.total, uses.by_pool)
