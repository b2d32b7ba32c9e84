"""A small world in virtual time: one store, some workers, readers that come and go.

Everything that can go wrong is drawn from one seed: store calls that are slow, that fail before
or after they did their work, bells that are lost, a store that is away for a while or forgets
the newest events, workers that are killed or stand still, readers that drop, change worker and
change transport in the middle. What must hold is checked by `World.check`.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from proxy.downstream.long_poll import encode_poll
from proxy.errors import AheadOfStream, ProviderUnreachable, StoreUnavailable
from proxy.observe import Observer, Peer
from proxy.policy.breaker import Rule
from proxy.policy.quotas import Ask, Kind, Limit, Standing, Use
from proxy.relay.ports import (
    Admission,
    Admitted,
    Alive,
    Append,
    Deadlines,
    Journal,
    Ledger,
    Listing,
    Page,
    Patience,
    ProviderModel,
    Receipt,
    Refused,
    Repeat,
    Report,
    Ring,
    UpstreamRequest,
    Watch,
)
from proxy.relay.settings import Settings
from proxy.relay.switchboard import Switchboard
from proxy.relay.tail import Batch
from proxy.relay.writer import Limits
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.store.memory_rests import MemoryRests
from proxy.stream import Birth, Detach, Ending, Event, State, StreamId
from proxy.wire.dialects import all_dialects
from proxy.wire.sse import Parser, encode_batch, encode_first
from tests.relay.working import work_for

LEASE_S = 5.0
HEARTBEAT_S = 15.0
CHAT, RESPONSES = "openai.chat", "openai.responses"
NAME = "resp_1"
"""Of each answer in the dialect that has names."""
LIMITS = (
    Limit("key:k", Kind.CONCURRENT_STREAMS, 1000),
    Limit("key:k", Kind.TOKENS_PER_DAY, 10_000_000),
)


class VirtualClock:
    """Unix seconds, on the loop's clock."""

    def now(self) -> float:
        return 1_800_000_000.0 + asyncio.get_running_loop().time()


class SeededEntropy:
    """Randomness that a seed repeats."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def random_bytes(self, count: int) -> bytes:
        return self._rng.randbytes(count)


class Weather(msgspec.Struct):
    """What the store's connections are like now. Changed while the world runs."""

    slow_s: float = 0.002
    fails: float = 0.0
    """How often a call fails, half of them after it has done its work."""
    loses_rings: float = 0.0
    is_away: bool = False


class StormyJournal:
    """One worker's journal, seen through the weather."""

    def __init__(self, inner: Journal, weather: Weather, rng: random.Random) -> None:
        self._inner = inner
        self._weather = weather
        self._rng = rng
        self.is_dead = False
        """The worker was killed: nothing of it reaches the store any more."""
        self.frozen_until = 0.0
        """The worker stands still until then (loop time)."""

    async def storm(self) -> Callable[[], None]:
        """Before the call; what it returns is called after."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._rng.random() * self._weather.slow_s)
        if self.frozen_until > loop.time():
            await asyncio.sleep(self.frozen_until - loop.time())
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        if self._weather.is_away:
            await asyncio.sleep(self._rng.random() * 2)
            raise StoreUnavailable("away")
        fails = self._rng.random() < self._weather.fails
        fails_after = self._rng.random() < 0.5
        if fails and not fails_after:
            raise StoreUnavailable("refused")

        def after() -> None:
            if fails:
                raise StoreUnavailable("lost the reply")

        return after

    async def append(self, appends: Sequence[Append]) -> Sequence[Receipt]:
        loop = asyncio.get_running_loop()
        if self.frozen_until > loop.time():
            await asyncio.sleep(self.frozen_until - loop.time())
        await asyncio.sleep(self._rng.random() * self._weather.slow_s)
        try:
            after = await self.storm()
        except StoreUnavailable:
            if not self._weather.is_away and self._rng.random() < 0.3:  # broke in the middle
                await self._inner.append(appends[: self._rng.randrange(len(appends) + 1)])
            raise
        receipts = await self._inner.append(appends)
        await asyncio.sleep(self._rng.random() * self._weather.slow_s)
        after()
        return receipts

    async def recipe(self, stream: StreamId) -> bytes | None:
        after = await self.storm()
        recipe = await self._inner.recipe(stream)
        after()
        return recipe

    def part(self, stream: StreamId) -> Hashable:
        return self._inner.part(stream)

    async def read(self, stream: StreamId, after: int) -> Page | None:
        done = await self.storm()
        page = await self._inner.read(stream, after)
        await asyncio.sleep(self._rng.random() * self._weather.slow_s)
        done()
        return page

    async def states(self, streams: Sequence[StreamId]) -> Sequence[State | None]:
        done = await self.storm()
        states = await self._inner.states(streams)
        done()
        return states

    async def watch(self, stream: StreamId, on_ring: Callable[[Ring | None], None]) -> Watch:
        done = await self.storm()

        def ring(heard: Ring | None) -> None:
            if self._rng.random() >= self._weather.loses_rings:
                delay_s = self._rng.random() * self._weather.slow_s
                asyncio.get_running_loop().call_later(delay_s, on_ring, heard)

        watch = await self._inner.watch(stream, ring)
        done()
        return watch

    async def ask_cancel(self, stream: StreamId) -> None:
        done = await self.storm()
        await self._inner.ask_cancel(stream)
        done()

    async def erase(self, stream: StreamId) -> None:
        done = await self.storm()
        await self._inner.erase(stream)
        done()

    async def take_over(self, streams: Sequence[StreamId]) -> Sequence[State | Alive | None]:
        done = await self.storm()
        states = await self._inner.take_over(streams)
        done()
        return states

    async def pulse(self) -> None:
        done = await self.storm()
        await self._inner.pulse()
        done()

    async def attend(self, stream: StreamId, reader: str, lease_s: float) -> None:
        done = await self.storm()
        await self._inner.attend(stream, reader, lease_s)
        done()

    async def leave(self, stream: StreamId, reader: str) -> None:
        done = await self.storm()
        await self._inner.leave(stream, reader)
        done()

    def on_hint(self, call: Callable[[StreamId], None]) -> None:
        self._inner.on_hint(call)


class StormyLedger:
    """One worker's ledger, seen through the same weather."""

    def __init__(self, inner: Ledger, journal: StormyJournal) -> None:
        self._inner = inner
        self._journal = journal

    async def admit(self, admission: Admission) -> Admitted | Repeat | Refused:
        done = await self._journal.storm()
        admitted = await self._inner.admit(admission)
        done()
        return admitted

    async def release(self, owner: str, key: str, stream: StreamId) -> None:
        done = await self._journal.storm()
        await self._inner.release(owner, key, stream)
        done()

    async def find_claim(self, owner: str, key: str) -> tuple[StreamId, bytes] | None:
        done = await self._journal.storm()
        found = await self._inner.find_claim(owner, key)
        done()
        return found

    async def name(self, stream: StreamId, owner: str, name: str, keep_s: float) -> None:
        done = await self._journal.storm()
        await self._inner.name(stream, owner, name, keep_s)
        done()

    async def named(self, owner: str, name: str) -> StreamId | None:
        done = await self._journal.storm()
        found = await self._inner.named(owner, name)
        done()
        return found

    async def hold_more(
        self, stream: StreamId, limits: Sequence[Limit], ask: Ask
    ) -> Admitted | Refused:
        done = await self._journal.storm()
        told = await self._inner.hold_more(stream, limits, ask)
        done()
        return told

    async def settle(
        self, stream: StreamId, use: Use | None, by_pool: Mapping[str, Use] = {}
    ) -> None:
        done = await self._journal.storm()
        await self._inner.settle(stream, use, by_pool)
        done()

    async def standings(self, limits: Sequence[Limit]) -> Sequence[Standing]:
        done = await self._journal.storm()
        standings = await self._inner.standings(limits)
        done()
        return standings

    async def forget(self, stream: StreamId, owner: str, tag: str | None) -> None:
        done = await self._journal.storm()
        await self._inner.forget(stream, owner, tag)
        done()

    async def list(
        self, owner: str | None, tag: str | None, cursor: str | None, count: int
    ) -> Listing:
        done = await self._journal.storm()
        listing = await self._inner.list(owner, tag, cursor, count)
        done()
        return listing

    async def overdue(self, count: int) -> Sequence[StreamId]:
        done = await self._journal.storm()
        streams = await self._inner.overdue(count)
        done()
        return streams

    async def put_off(self, waits_s: Mapping[StreamId, float]) -> None:
        done = await self._journal.storm()
        await self._inner.put_off(waits_s)
        done()

    async def report(self, report: Report) -> None:
        done = await self._journal.storm()
        await self._inner.report(report)
        done()

    async def reports(self) -> Sequence[Report]:
        done = await self._journal.storm()
        reports = await self._inner.reports()
        done()
        return reports

    async def retire(self, worker: str) -> None:
        done = await self._journal.storm()
        await self._inner.retire(worker)
        done()


class SaidProvider:
    """Says a given answer at a random pace, and perhaps stops in the middle."""

    name = "said"
    dialects = (CHAT, RESPONSES)
    passages = ()
    deadlines = Deadlines(first_event_s=60, idle_s=30, total_s=600)
    patience = Patience(retries=0)
    rest = Rule(rest_after=0)
    may_leave_out_terminator = False
    peer = Peer("said")

    def __init__(self, said: Sequence[bytes], rng: random.Random, pace_s: float) -> None:
        self.said = said
        self.calls = 0
        self.is_open = False
        self._rng = rng
        self._pace_s = pace_s
        self._cut_at = rng.randrange(len(said)) if rng.random() < 0.2 else None
        self._breaks = rng.random() < 0.5

    def dialects_for(self, model: str) -> Sequence[str]:
        del model
        return self.dialects

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterator[bytes]]:
        del request
        self.calls += 1
        self.is_open = True
        try:
            yield self._chunks()
        finally:
            self.is_open = False

    @asynccontextmanager
    async def fetch(
        self, passage: str, request: UpstreamRequest
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        raise AssertionError(f"nothing passes here: {passage} of {request.model}")
        yield

    async def _chunks(self) -> AsyncIterator[bytes]:
        waiting = b""
        for n, data in enumerate(self.said):
            if n == self._cut_at:
                if self._breaks:
                    raise ProviderUnreachable(self.name, "reset")
                return
            waiting += b"data: " + data + b"\n\n"
            if self._rng.random() < 0.7:
                await asyncio.sleep(self._rng.random() * self._pace_s)
                cut = self._rng.randrange(len(waiting))
                yield waiting[:cut]
                yield waiting[cut:]
                waiting = b""
        yield waiting

    async def models(self) -> Sequence[ProviderModel]:
        return ()

    async def close(self) -> None:
        pass


class Worker:
    """One process: a switchboard with its own view of the store."""

    def __init__(self, world: "World") -> None:
        self.journal = StormyJournal(
            MemoryJournal(world.store, lease_s=LEASE_S), world.weather, world.rng
        )
        ledger = StormyLedger(MemoryLedger(world.store, lease_s=LEASE_S), self.journal)
        self.switchboard = Switchboard(
            self.journal,
            ledger,
            MemoryRests(world.store),
            world.clock,
            SeededEntropy(world.rng),
            world.observer,
            all_dialects(),
            Settings(
                lease_s=LEASE_S,
                grace_s=60.0,
                heartbeat_s=HEARTBEAT_S,
                streams_max=100,
                limits=Limits(event_bytes_max=10_000, stream_bytes_max=10_000_000),
            ),
        )
        self._stop = asyncio.Event()
        self._task = asyncio.ensure_future(self._live())
        self.is_up = True

    async def _live(self) -> None:
        async with self.switchboard.running():
            await self._stop.wait()

    def kill(self) -> None:
        """SIGKILL: from now on nothing of it is heard of, not even a goodbye."""
        self.is_up = False
        self.journal.is_dead = True

    async def bury(self) -> None:
        """Clear away what is left of it, so that the loop can end."""
        self._stop.set()
        self.journal.is_dead = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self) -> None:
        """SIGTERM, with no time to drain."""
        self.is_up = False
        self._stop.set()
        await self._task


class Reader:
    """Reads one stream to its end, with every kind of bad luck, and writes down what it saw."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.seen: list[Event] = []
        self.ending: str | None = None
        self.reconnects = 0
        self._world = world

    @property
    def last_id(self) -> int:
        return self.seen[-1].id if self.seen else 0

    async def live(self) -> None:
        """Until the end of the stream was seen."""
        rng = self._world.rng
        while self.ending is None:
            await asyncio.sleep(rng.random() * 2)
            worker = self._world.any_worker()
            if worker is None:
                continue
            self.reconnects += 1
            try:
                async with asyncio.timeout(rng.choice([0.05, 0.5, 3.0, 40.0])):
                    await self._visit(worker)
            except (StoreUnavailable, TimeoutError, AheadOfStream):
                continue

    async def _visit(self, worker: Worker) -> None:
        """One connection: some batches, then it drops."""
        rng = self._world.rng
        stream = self._world.stream
        switchboard = worker.switchboard
        state = await switchboard.state(stream)
        cursor = await switchboard.follow(state, self.last_id, transport="sse")
        take = self._take_poll if rng.random() < 0.5 else self._take_sse
        try:
            for _ in range(rng.randint(1, 12)):
                batch = await cursor.next(rng.choice([0.0, 1.0, HEARTBEAT_S]))
                if batch is not None:
                    take(batch)
                if cursor.is_at_end:
                    assert cursor.tail.ending is not None
                    self.ending = cursor.tail.ending
                    return
        finally:
            cursor.close()

    def _take_sse(self, batch: Batch) -> None:
        """What arrives on an SSE connection, perhaps cut off in the middle of its bytes."""
        sent = encode_first(batch.events[0], 1000) + encode_batch(batch.events[1:])
        if self._world.rng.random() < 0.1:
            sent = sent[: self._world.rng.randrange(len(sent))]
        whole = sent[: sent.rfind(b"\n\n") + 2]
        frames = Parser(10_000_000).feed(whole)
        ids = [int(line[4:]) for line in whole.split(b"\n") if line.startswith(b"id: ")]
        assert len(ids) == len(frames)
        self._take(Event(n, frame.name, frame.data) for n, frame in zip(ids, frames, strict=True))
        if len(frames) < len(batch.events):
            raise TimeoutError  # the connection broke: come back for the rest

    def _take_poll(self, batch: Batch) -> None:
        answer = json.loads(encode_poll(batch.events, batch.last_id, batch.ending))
        assert answer["last_id"] == answer["events"][-1]["id"]
        self._take(
            Event(
                event["id"],
                event["event"],
                b"[DONE]" if event["data"] == "[DONE]" else msgspec.json.encode(event["data"]),
            )
            for event in answer["events"]
        )

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            assert event.id == self.last_id + 1, f"{self.name}: {event.id} after {self.last_id}"
            self.seen.append(event)


class World:
    """See the module. `rng` decides everything."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.weather = Weather(
            slow_s=self.rng.choice([0.0, 0.002, 0.2]),
            fails=self.rng.choice([0.0, 0.0, 0.05, 0.3]),
            loses_rings=self.rng.choice([0.0, 0.0, 0.2, 1.0]),
        )
        self.observer = silent_observer()
        self.workers = [Worker(self) for _ in range(self.rng.randint(1, 3))]
        self.stream = StreamId("")
        self.readers = [Reader(self, f"reader {n}") for n in range(self.rng.randint(1, 5))]
        self.dialect = RESPONSES if seed % 4 == 0 else CHAT
        self.said = (make_chat if self.dialect == CHAT else make_response)(self.rng)
        self.provider = SaidProvider(self.said, self.rng, self.rng.choice([0.01, 0.3, 4.0]))
        self.is_killed = False
        self.may_be_buried = False
        """The producing worker was killed, or nothing came from it for a while."""

    def any_worker(self) -> Worker | None:
        up = [worker for worker in self.workers if worker.is_up]
        return self.rng.choice(up) if up else None

    async def live(self) -> None:
        """One stream, from its creation until every reader has seen its end."""
        producing = self.workers[0]
        while not await self._create(producing):
            await asyncio.sleep(0.1)
        trouble = asyncio.ensure_future(self._trouble(producing))
        try:
            async with asyncio.timeout(1200):
                await asyncio.gather(*(reader.live() for reader in self.readers))
        finally:
            trouble.cancel()
            await asyncio.gather(trouble, return_exceptions=True)
        self.calm()
        loop = asyncio.get_running_loop()
        thawed = max(worker.journal.frozen_until for worker in self.workers)
        await asyncio.sleep(max(thawed - loop.time(), 0) + 4 * LEASE_S)
        await self.check()
        for worker in self.workers:
            await (worker.stop() if worker.is_up else worker.bury())

    async def _create(self, worker: Worker) -> bool:
        dialect = all_dialects()[self.dialect]
        ask = dialect.read_ask(
            b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}'
        )
        self.stream = worker.switchboard.new_id()
        birth = Birth(
            id=self.stream,
            owner="o",
            dialect=self.dialect,
            model="m",
            provider="said",
            created_at=self.clock.now(),
            retention_s=3600.0,
            detach=Detach(None),
            input_tokens_max=40,
        )
        work = work_for(
            self.provider,
            UpstreamRequest(self.dialect, "m", b"{}"),
            dialect,
            ask,
            LIMITS,
            Ask(tokens=1000),
        )
        try:
            await worker.switchboard.start(birth, work, None)
        except StoreUnavailable:
            assert self.provider.calls == 0
            return False
        return True

    async def _trouble(self, producing: Worker) -> None:
        """At random moments, one kind of it for each world."""
        rng = self.rng
        kind = rng.choice(["stall", "kill", "stop", "freeze", "away", "forget", "cancel"])
        await asyncio.sleep(rng.random() * rng.choice([0.5, 5.0, 30.0]))
        loop = asyncio.get_running_loop()
        match kind:
            case "kill":
                if len(self.workers) > 1:
                    self.is_killed = self.may_be_buried = True
                    producing.kill()
            case "stop":
                if len(self.workers) > 1:
                    await producing.stop()
            case "freeze":
                frozen = rng.choice(self.workers)
                frozen.journal.frozen_until = loop.time() + rng.random() * 20
                self.may_be_buried = frozen is producing
            case "stall":  # the store itself stands still
                thawed = loop.time() + rng.random() * 20
                for each in self.workers:
                    each.journal.frozen_until = thawed
            case "away":
                self.weather.is_away = True
                await asyncio.sleep(rng.random() * 25)
                self.weather.is_away = False
            case "forget":
                for _ in range(rng.randint(1, 4)):
                    self.store.forget_newest(self.stream, rng.randint(1, 10))
                    await asyncio.sleep(rng.random() * 3)
            case "cancel":
                worker = self.any_worker()
                assert worker is not None
                try:
                    await worker.switchboard.cancel(self.stream)
                except StoreUnavailable:
                    return
            case _:
                pass

    def calm(self) -> None:
        """No more trouble: what is still open must come to its end."""
        self.weather.fails = 0.0
        self.weather.is_away = False

    async def check(self) -> None:
        """What must hold at the end of every world."""
        journal = MemoryJournal(self.store, lease_s=LEASE_S)
        truth: list[Event] = []
        while page := await journal.read(self.stream, len(truth)):
            if not page.events:
                break
            truth.extend(page.events)
        assert page is not None
        state = page.state
        assert state.ending is not None, "the stream has an end"
        assert [event.id for event in truth] == list(range(1, len(truth) + 1)), "ids are dense"
        for reader in self.readers:
            assert reader.seen == truth, f"{reader.name} saw something else"
            assert reader.ending == state.ending
        data = [event.data for event in truth]
        if state.ending is Ending.COMPLETED:
            assert data == list(self.said), "a completed answer is whole"
        else:
            assert data[:-1] == list(self.said[: len(data) - 1]), "nothing but what was said"
            assert b'"error"' in data[-1], "and the last event says how it ended"
        assert self.may_be_buried or state.epoch == 1, "nobody buries the living"
        assert self.provider.calls == 1, "one call upstream"
        if not self.is_killed:
            assert not self.provider.is_open, "the provider's connection is closed"
        ledger = MemoryLedger(self.store, lease_s=LEASE_S)
        assert not await ledger.overdue(10), "the ledger has settled it"
        if self.dialect == RESPONSES and len(data) > 1:
            assert await ledger.named("o", NAME) == self.stream, "what was told is known"
        running, spent = await ledger.standings(LIMITS)
        assert not self.store.meters.holds, "nothing is held"
        assert running.remaining == LIMITS[0].amount, "no slot is taken"
        used = [record.usage for record in self.store.records.values() if record.usage]
        total = sum(usage.input_tokens + usage.output_tokens for usage in used)
        assert LIMITS[1].amount - spent.remaining == total, "what was used is charged, once"


def make_chat(rng: random.Random) -> list[bytes]:
    """A chat answer of random length, as data of events."""
    chunk = b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}'
    said = [
        chunk % (b'{"index":0,"delta":{"content":"%d"},"finish_reason":null}' % n)
        for n in range(rng.choice([0, 1, 5, 40]))
    ]
    said.append(chunk % b'{"index":0,"delta":{},"finish_reason":"stop"}')
    said.append(b"[DONE]")
    return said


def make_response(rng: random.Random) -> list[bytes]:
    """A response of random length, as data of events."""
    whole = b'{"type":"response.%b","sequence_number":%d,"response":{"id":"resp_1","output":[]}}'
    delta = (
        b'{"type":"response.output_text.delta","sequence_number":%d,"output_index":0,"delta":"%d"}'
    )
    count = rng.choice([0, 1, 5, 40])
    said = [delta % (n, n) for n in range(1, count + 1)]
    return [whole % (b"created", 0), *said, whole % (b"completed", count + 1)]


def silent_observer() -> Observer:
    """Tells nobody."""
    logger = logging.getLogger("midstream.simulation")
    logger.disabled = True
    return Observer(logger)
