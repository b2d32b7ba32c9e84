"""The store in memory: the executable specification of the ports `Journal` and `Ledger`.

One `MemoryStore` is the truth that several processes share; each `MemoryJournal` and
`MemoryLedger` over it is one process's way to it. It is deterministic: no threads, no clock but
the given one, bells and hints ring through ``loop.call_soon``. It never fails, never waits and
keeps nothing on disk: a simulator wraps the ports to make calls slow, fail or vanish, and may
copy or change `MemoryStore.records`, which hold data alone. What surprises: time is only looked
at when somebody calls. It is longer than a file should be because a specification is read in
one piece.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from proxy.policy.breaker import Condition
from proxy.policy.quotas import Ask, Limit, Standing, Use
from proxy.relay.ports import (
    Admission,
    Admitted,
    Alive,
    Append,
    Clock,
    Listing,
    Outcome,
    Page,
    Receipt,
    Refused,
    Repeat,
    Report,
    Ring,
)
from proxy.store.memory_meters import Meters
from proxy.store.paging import read_place, write_place
from proxy.stream import Birth, Ending, Event, Leg, Problem, State, StreamId, Usage

_TOMBSTONE_S = 86_400.0
"""How long a stream is remembered after its events are gone (D4)."""

_PAGE_EVENTS_MAX = 500
"""Of one page. Chosen: as in Redis, so that a reader behaves alike on both."""

_LOOK_S = 1.0
"""How long a look at a running stream holds. Specified by `Ledger.overdue`."""

_REPORT_S = 10.0
"""How long a worker's report is kept. Specified by `Ledger.report`."""

_PURGE_EVERY_S = 60.0
"""How often what is past its time is thrown away. Chosen: it costs a walk over everything."""


class Record(msgspec.Struct):
    """All that is kept of one stream."""

    birth: Birth
    epoch: int
    worker: int
    """Whose hints are meant when its producer should look up."""
    lease_until: float
    forget_at: float
    """From then on it is as if it had never been."""
    events: list[Event] = msgspec.field(default_factory=list)
    last_id: int = 0
    ending: Ending | None = None
    problem: Problem | None = None
    usage: Usage | None = None
    legs: Sequence[Leg] = ()
    has_content: bool = False
    ended_at: float | None = None
    expires_at: float | None = None
    is_cancel_asked: bool = False
    is_deleted: bool = False
    readers: dict[str, float] = msgspec.field(default_factory=dict)
    """Until when each attends."""
    was_attended: bool = False
    was_watched: bool = False
    recipe: bytes | None = None

    def is_erased(self, now: float) -> bool:
        """Whether the events are gone: deleted, or past their retention."""
        return self.is_deleted or (self.expires_at is not None and self.expires_at <= now)

    def is_running(self) -> bool:
        """Whether a producer may still write."""
        return self.ending is None and not self.is_deleted

    def state(self, now: float) -> State:
        """As the ports tell it."""
        return State(
            birth=self.birth,
            epoch=self.epoch,
            last_id=self.last_id,
            ending=self.ending,
            problem=self.problem,
            usage=self.usage,
            has_content=self.has_content,
            ended_at=self.ended_at,
            expires_at=self.expires_at,
            is_cancel_asked=self.is_cancel_asked,
            is_erased=self.is_erased(now),
            was_watched=self.was_watched,
            legs=self.legs,
        )


class Held(msgspec.Struct):
    """An idempotency key in use."""

    stream: StreamId
    fingerprint: bytes
    until: float


class Entry(msgspec.Struct):
    """A stream on the ledger's lists."""

    owner: str
    tag: str | None
    created_us: int
    until: float


class MemoryStore:
    """The truth that several processes share. See the module."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.records: dict[StreamId, Record] = {}
        self.claims: dict[tuple[str, str], Held] = {}
        self.names: dict[tuple[str, str], tuple[StreamId, float]] = {}
        """The stream that an owner knows by a name, and until when."""
        self.entries: dict[StreamId, Entry] = {}
        self.meters = Meters()
        self.running: dict[StreamId, float] = {}
        """When each is due to be looked at."""
        self.reports: dict[str, tuple[float, Report]] = {}
        """Of each worker, and until when it is kept."""
        self.rests: dict[str, Condition] = {}
        """Of each target that has failed lately: see `memory_rests`."""
        self.bells: dict[StreamId, dict[MemoryWatch, None]] = {}
        self.hints: list[list[Callable[[StreamId], None]]] = []
        """Of each process, by the number that it got."""
        self._purge_at = 0.0

    def enrol(self) -> int:
        """A number for one more process."""
        self.hints.append([])
        return len(self.hints) - 1

    def find(self, stream: StreamId) -> Record | None:
        """What is kept of `stream`; None if nothing is, any more."""
        record = self.records.get(stream)
        if record is not None and record.forget_at <= self.clock.now():
            del self.records[stream]
            return None
        return record

    def purge(self) -> None:
        """Throw away what is past its time, now and then: nobody may ever ask for it again."""
        now = self.clock.now()
        if now < self._purge_at:
            return
        self._purge_at = now + _PURGE_EVERY_S
        self.records = {s: record for s, record in self.records.items() if record.forget_at > now}
        for record in self.records.values():
            if record.is_erased(now):
                record.events.clear()
        self.claims = {key: held for key, held in self.claims.items() if held.until > now}
        self.names = {key: named for key, named in self.names.items() if named[1] > now}
        self.entries = {s: entry for s, entry in self.entries.items() if entry.until > now}
        self.meters.purge(now)

    def forget_newest(self, stream: StreamId, count: int) -> None:
        """Lose the newest events of a running stream, as a store that fails over does."""
        record = self.find(stream)
        if record is not None and record.is_running():
            record.last_id = max(record.last_id - count, 0)
            del record.events[record.last_id :]

    def ring(self, stream: StreamId, ring: Ring | None) -> None:
        """Ring the bell of `stream` in every process that watches it."""
        loop = asyncio.get_running_loop()
        for watch in self.bells.get(stream, ()):
            loop.call_soon(watch.ring, ring)

    def hint(self, record: Record) -> None:
        """Tell the producer of a stream to look up."""
        loop = asyncio.get_running_loop()
        for call in self.hints[record.worker]:
            loop.call_soon(call, record.birth.id)


class MemoryWatch:
    """One process's ear at one bell."""

    def __init__(
        self, store: MemoryStore, stream: StreamId, on_ring: Callable[[Ring | None], None]
    ) -> None:
        self._store = store
        self._stream = stream
        self._on_ring = on_ring
        self._is_closed = False
        store.bells.setdefault(stream, {})[self] = None

    def ring(self, ring: Ring | None) -> None:
        """Deliver, unless it was closed since the ring set out."""
        if not self._is_closed:
            self._on_ring(ring)

    async def close(self) -> None:
        """Stop ringing."""
        if self._is_closed:
            return
        self._is_closed = True
        watches = self._store.bells[self._stream]
        del watches[self]
        if not watches:
            del self._store.bells[self._stream]


class MemoryJournal:
    """One process's journal over a shared store. `lease_s` is what an append renews to."""

    def __init__(self, store: MemoryStore, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._worker = store.enrol()

    async def append(self, appends: Sequence[Append]) -> Sequence[Receipt]:
        """See `Journal.append`."""
        return [self._append(append) for append in appends]

    def part(self, stream: StreamId) -> str:
        """See `Journal.part`. Memory has no parts."""
        del stream
        return ""

    def _append(self, append: Append) -> Receipt:
        """The step. Every refusal comes before the first change."""
        record = self._store.find(append.stream)
        if record is None:
            if append.birth is None:
                return Receipt(Outcome.LOST)
            if append.first_id > 1:
                return Receipt(Outcome.GAP)
            record = self._create(append.birth, append.epoch)
            record.recipe = append.recipe
            record.was_watched = bool(append.events)  # it was lost, and who watched it still does
        elif record.is_deleted:
            return Receipt(Outcome.ERASED, record.last_id)
        elif record.epoch != append.epoch:
            return Receipt(Outcome.FENCED, record.last_id)
        elif record.ending is not None:
            # The same append again, because its reply was lost, is no harm. Any other comes
            # from somebody who does not know that the stream has ended.
            last_id = append.first_id + len(append.events) - 1
            is_same = (
                append.end is not None
                and append.end.ending is record.ending
                and last_id == record.last_id
            )
            return (
                self._receipt(record, self._store.clock.now())
                if is_same
                else Receipt(Outcome.FENCED, record.last_id)
            )
        if append.first_id > record.last_id + 1:
            return Receipt(Outcome.GAP, record.last_id)
        return self._write(record, append)

    def _create(self, birth: Birth, epoch: int) -> Record:
        self._store.purge()
        record = Record(birth, epoch, self._worker, lease_until=0.0, forget_at=0.0)
        self._store.records[birth.id] = record
        return record

    def _write(self, record: Record, append: Append) -> Receipt:
        now = self._store.clock.now()
        fresh = append.events[record.last_id + 1 - append.first_id :]
        record.events.extend(fresh)
        record.last_id += len(fresh)
        record.lease_until = now + self._lease_s
        record.forget_at = now + record.birth.retention_s + _TOMBSTONE_S
        record.usage = append.usage or record.usage
        record.legs = record.legs if append.legs is None else append.legs
        record.has_content = append.has_content or record.has_content
        ending = None
        if append.end is not None:
            ending = record.ending = append.end.ending
            record.problem = append.end.problem
            record.recipe = None
            record.ended_at = now
            record.expires_at = now + record.birth.retention_s
            record.forget_at = record.expires_at + _TOMBSTONE_S
        if fresh or ending is not None:
            self._store.ring(append.stream, Ring(tuple(fresh), ending))
        return self._receipt(record, now)

    def _receipt(self, record: Record, now: float) -> Receipt:
        readers = _present(record, now) if record.was_attended else None
        return Receipt(Outcome.WRITTEN, record.last_id, record.is_cancel_asked, readers)

    async def read(self, stream: StreamId, after: int) -> Page | None:
        """See `Journal.read`."""
        record = self._store.find(stream)
        if record is None:
            return None
        now = self._store.clock.now()
        events = () if record.is_erased(now) else record.events[after : after + _PAGE_EVENTS_MAX]
        page = Page(record.state(now), tuple(events))
        record.was_watched = record.was_watched or record.is_running()
        return page

    async def states(self, streams: Sequence[StreamId]) -> Sequence[State | None]:
        """See `Journal.states`."""
        now = self._store.clock.now()
        records = [self._store.find(stream) for stream in streams]
        return [None if record is None else record.state(now) for record in records]

    async def watch(self, stream: StreamId, on_ring: Callable[[Ring | None], None]) -> MemoryWatch:
        """See `Journal.watch`."""
        record = self._store.find(stream)
        if record is not None and record.is_running():
            record.was_watched = True
        return MemoryWatch(self._store, stream, on_ring)

    async def ask_cancel(self, stream: StreamId) -> None:
        """See `Journal.ask_cancel`."""
        record = self._store.find(stream)
        if record is not None and record.is_running():
            record.is_cancel_asked = True
            self._store.hint(record)

    async def erase(self, stream: StreamId) -> None:
        """See `Journal.erase`. Watchers are told to look, and the producer too."""
        record = self._store.find(stream)
        if record is None or record.is_deleted:
            return
        was_running = record.is_running()
        record.is_deleted = True
        record.recipe = None
        record.events.clear()
        record.readers.clear()
        record.forget_at = self._store.clock.now() + _TOMBSTONE_S
        self._store.ring(stream, None)
        if was_running:
            self._store.hint(record)

    async def take_over(self, streams: Sequence[StreamId]) -> Sequence[State | Alive | None]:
        """See `Journal.take_over`."""
        return [self._take_over(stream) for stream in streams]

    async def recipe(self, stream: StreamId) -> bytes | None:
        """See `Journal.recipe`."""
        record = self._store.find(stream)
        return None if record is None else record.recipe

    async def pulse(self) -> None:
        """See `Journal.pulse`. Memory is always there."""

    def _take_over(self, stream: StreamId) -> State | Alive | None:
        record = self._store.find(stream)
        now = self._store.clock.now()
        if record is None or not record.is_running():
            return None
        if record.lease_until > now:
            return Alive(record.lease_until - now)
        record.epoch += 1
        record.worker = self._worker
        record.lease_until = now + self._lease_s
        return record.state(now)

    async def attend(self, stream: StreamId, reader: str, lease_s: float) -> None:
        """See `Journal.attend`."""
        record = self._store.find(stream)
        if record is not None and record.is_running():
            record.was_attended = True
            record.readers[reader] = self._store.clock.now() + lease_s

    async def leave(self, stream: StreamId, reader: str) -> None:
        """See `Journal.leave`."""
        record = self._store.find(stream)
        if record is None or not record.is_running() or not record.was_attended:
            return
        record.readers.pop(reader, None)
        if not _present(record, self._store.clock.now()):
            self._store.hint(record)

    def on_hint(self, call: Callable[[StreamId], None]) -> None:
        """See `Journal.on_hint`."""
        self._store.hints[self._worker].append(call)


def _present(record: Record, now: float) -> int:
    """How many readers attend; those whose lease has run out do not."""
    record.readers = {reader: until for reader, until in record.readers.items() if until > now}
    return len(record.readers)


class MemoryLedger:
    """One process's ledger over a shared store.

    A stream that was just admitted is first overdue after `lease_s`: before that its producer
    cannot be dead, and its journal may not have been created yet.
    """

    def __init__(self, store: MemoryStore, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s

    async def admit(self, admission: Admission) -> Admitted | Repeat | Refused:
        """See `Ledger.admit`. The same stream again is a retry, and no repeat."""
        now = self._store.clock.now()
        claim = admission.claim
        meters, limits = self._store.meters, admission.limits
        if claim is not None:
            held = self._held(admission.owner, claim.key)
            if held is not None and held.stream != admission.stream:
                is_same_request = held.fingerprint == claim.fingerprint
                return Repeat(held.stream, is_same_request)
        refused = meters.hold(admission.stream, limits, admission.ask, now)
        if refused is not None:
            return Refused(refused, meters.standings(limits, now))
        if claim is not None:
            self._store.claims[admission.owner, claim.key] = Held(
                admission.stream, claim.fingerprint, now + admission.keep_s
            )
        self._store.purge()
        if admission.is_listed:
            self._store.entries[admission.stream] = Entry(
                admission.owner,
                admission.tag,
                int(admission.created_at * 1_000_000),
                now + admission.keep_s,
            )
        self._store.running[admission.stream] = now + self._lease_s
        return Admitted(meters.standings(limits, now))

    def _held(self, owner: str, key: str) -> Held | None:
        held = self._store.claims.get((owner, key))
        if held is not None and held.until <= self._store.clock.now():
            del self._store.claims[owner, key]
            return None
        return held

    async def release(self, owner: str, key: str, stream: StreamId) -> None:
        """See `Ledger.release`."""
        held = self._held(owner, key)
        if held is not None and held.stream == stream:
            del self._store.claims[owner, key]

    async def find_claim(self, owner: str, key: str) -> tuple[StreamId, bytes] | None:
        """See `Ledger.find_claim`."""
        held = self._held(owner, key)
        return None if held is None else (held.stream, held.fingerprint)

    async def name(self, stream: StreamId, owner: str, name: str, keep_s: float) -> None:
        """See `Ledger.name`."""
        self._store.purge()
        self._store.names[owner, name] = (stream, self._store.clock.now() + keep_s)

    async def named(self, owner: str, name: str) -> StreamId | None:
        """See `Ledger.named`."""
        stream, until = self._store.names.get((owner, name), (None, 0.0))
        return stream if until > self._store.clock.now() else None

    async def hold_more(
        self, stream: StreamId, limits: Sequence[Limit], ask: Ask
    ) -> Admitted | Refused:
        """See `Ledger.hold_more`."""
        now, meters = self._store.clock.now(), self._store.meters
        is_running = stream in self._store.running
        refused = meters.hold_more(stream, limits, ask, now) if is_running else None
        standings = meters.standings(limits, now)
        return Admitted(standings) if refused is None else Refused(refused, standings)

    async def settle(
        self, stream: StreamId, use: Use | None, by_pool: Mapping[str, Use] = {}
    ) -> None:
        """See `Ledger.settle`."""
        self._store.running.pop(stream, None)
        self._store.meters.settle(stream, use, by_pool, self._store.clock.now())

    async def standings(self, limits: Sequence[Limit]) -> Sequence[Standing]:
        """See `Ledger.standings`."""
        return self._store.meters.standings(limits, self._store.clock.now())

    async def forget(self, stream: StreamId, owner: str, tag: str | None) -> None:
        """See `Ledger.forget`."""
        entry = self._store.entries.get(stream)
        if entry is not None and (entry.owner, entry.tag) == (owner, tag):
            del self._store.entries[stream]

    async def list(
        self, owner: str | None, tag: str | None, cursor: str | None, count: int
    ) -> Listing:
        """See `Ledger.list`. Raises `MalformedRequest` for a cursor that is none."""
        before = None if cursor is None else read_place(cursor)
        now = self._store.clock.now()
        found = sorted(
            (
                (entry.created_us, stream)
                for stream, entry in self._store.entries.items()
                if owner in {None, entry.owner} and tag in {None, entry.tag} and entry.until > now
            ),
            reverse=True,
        )
        if before is not None:
            found = [place for place in found if place < before]
        page = found[:count]
        next_cursor = write_place(*page[-1]) if page and len(found) > count else None
        return Listing([stream for _, stream in page], next_cursor)

    async def overdue(self, count: int) -> Sequence[StreamId]:
        """See `Ledger.overdue`."""
        now = self._store.clock.now()
        due = sorted((at, stream) for stream, at in self._store.running.items() if at <= now)
        streams = [stream for _, stream in due[:count]]
        for stream in streams:
            self._store.running[stream] = now + _LOOK_S
        return streams

    async def put_off(self, waits_s: Mapping[StreamId, float]) -> None:
        """See `Ledger.put_off`."""
        running, now = self._store.running, self._store.clock.now()
        running.update({each: now + wait_s for each, wait_s in waits_s.items() if each in running})

    async def report(self, report: Report) -> None:
        """See `Ledger.report`."""
        self._forget_old_reports()
        until = self._store.clock.now() + _REPORT_S
        self._store.reports[report.worker.id] = (until, report)

    async def reports(self) -> Sequence[Report]:
        """See `Ledger.reports`."""
        self._forget_old_reports()
        found = [report for _, report in self._store.reports.values()]
        return sorted(found, key=lambda report: (report.worker.started_at, report.worker.id))

    async def retire(self, worker: str) -> None:
        """See `Ledger.retire`."""
        self._store.reports.pop(worker, None)

    def _forget_old_reports(self) -> None:
        now = self._store.clock.now()
        kept = {worker: told for worker, told in self._store.reports.items() if told[0] > now}
        self._store.reports = kept
