"""The stores that every contract is checked on, and what the suites say to them."""

import asyncio
import itertools
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, Protocol, TypeVar

import hiredis
import uvloop

from proxy.app import WallClock
from proxy.relay.ports import (
    Append,
    End,
    Identity,
    Journal,
    Ledger,
    Outcome,
    Receipt,
    Report,
    Rests,
    Ring,
)
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.store.memory_rests import MemoryRests
from proxy.store.redis_link import Endpoint, Reply, pack
from proxy.store.redis_store import open_redis
from proxy.stream import Birth, Detach, Ending, Event, StreamId, new_stream_id

T = TypeVar("T")

LONG_S = 1000.0
"""A lease or a retention that does not run out during a test."""


class Process(NamedTuple):
    """What one process has of a store."""

    journal: Journal
    ledger: Ledger
    rests: Rests


class Backend(Protocol):
    """A store of its own for one test, that several processes share."""

    def process(self, *, lease_s: float = LONG_S) -> AbstractAsyncContextManager[Process]: ...

    async def pass_time(self, seconds: float) -> None: ...


class ManualClock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


class MemoryBackend:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)

    @asynccontextmanager
    async def process(self, *, lease_s: float = LONG_S) -> AsyncIterator[Process]:
        journal, ledger = MemoryJournal(self.store, lease_s), MemoryLedger(self.store, lease_s)
        yield Process(journal, ledger, MemoryRests(self.store))

    async def pass_time(self, seconds: float) -> None:
        self.clock.time += seconds


class RedisBackend:
    def __init__(self, url: str) -> None:
        self.url = url
        self.namespace = f"test-{secrets.token_hex(6)}"
        self._workers = itertools.count(1)

    @asynccontextmanager
    async def process(self, *, lease_s: float = LONG_S) -> AsyncIterator[Process]:
        store = await open_redis(
            self.url,
            namespace=self.namespace,
            worker=f"w{next(self._workers)}",
            lease_s=lease_s,
            clock=WallClock(),
        )
        try:
            yield Process(store.journal, store.ledger, store.rests)
        finally:
            await store.close()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # the server's clock is the machine's

    async def say(self, *command: str | int) -> Reply:
        """One command, past everything that is under test."""
        link = await Endpoint(self.url).connect()
        try:
            (reply,) = await link.exchange(pack(*command), 1)
        finally:
            link.abort("said")
        assert not isinstance(reply, hiredis.ReplyError), reply
        return reply

    async def pid(self) -> int:
        """The server's process."""
        said = await self.say("INFO", "server")
        assert isinstance(said, bytes)
        found = re.search(rb"process_id:(\d+)", said)
        assert found is not None
        return int(found[1])

    async def keys(self) -> list[str]:
        """Every key of this test's namespace, and of no other."""
        keys = await self.say("KEYS", f"{self.namespace}:*")
        assert isinstance(keys, list)
        return sorted(key.decode() for key in keys if isinstance(key, bytes))


def run(test: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run one test's coroutine on the product's event loop, with a bound on its time."""

    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


def make_birth(
    *,
    retention_s: float = LONG_S,
    stream: StreamId | None = None,
    tag: str | None = None,
    detach: Detach = Detach(),  # noqa: B008 - frozen
) -> Birth:
    return Birth(
        id=new_stream_id(secrets.token_bytes(20)) if stream is None else stream,
        owner="owner",
        dialect="openai.chat",
        model="m",
        provider="p",
        created_at=1_700_000_000.25,
        retention_s=retention_s,
        detach=detach,
        tag=tag,
    )


def make_events(first_id: int, last_id: int) -> tuple[Event, ...]:
    """Events that cannot be mistaken for each other; some have names, some odd bytes."""
    return tuple(
        Event(
            n, "" if n % 3 else f"name_{n}", f'{{"n":{n},"t":"\\u0000 é 🦊 {{}}\\r\\n"}}'.encode()
        )
        for n in range(first_id, last_id + 1)
    )


def make_append(
    birth: Birth,
    first_id: int = 1,
    last_id: int = 0,
    *,
    epoch: int = 1,
    with_birth: bool = False,
    ending: Ending | None = None,
) -> Append:
    return Append(
        stream=birth.id,
        epoch=epoch,
        first_id=first_id,
        events=make_events(first_id, last_id),
        birth=birth if with_birth else None,
        end=None if ending is None else End(ending),
    )


def make_report(
    *,
    started_at: float = 1_700_000_000.25,
    streams: Mapping[StreamId, int] | None = None,
    is_partial: bool = False,
) -> Report:
    read = streams or {}
    return Report(
        worker=Identity(secrets.token_hex(8), "höst-1", 4711, "1.2.3", started_at),
        is_draining=False,
        streams=3,
        readers=sum(read.values()) + 1,
        readers_by_stream=read,
        is_partial=is_partial,
    )


async def append(journal: Journal, step: Append) -> Receipt:
    (receipt,) = await journal.append([step])
    return receipt


async def create(journal: Journal, birth: Birth, last_id: int = 0) -> None:
    """A stream, then its first events: as nobody watches yet, they ring no bell."""
    receipt = await append(journal, make_append(birth, with_birth=True))
    assert receipt == Receipt(Outcome.WRITTEN, 0)
    if last_id:
        receipt = await append(journal, make_append(birth, 1, last_id))
        assert receipt == Receipt(Outcome.WRITTEN, last_id)


async def read_all(journal: Journal, stream: StreamId, after: int = 0) -> Sequence[Event]:
    events: list[Event] = []
    while (page := await journal.read(stream, after)) is not None and page.events:
        events.extend(page.events)
        after = events[-1].id
    return tuple(events)


class Ear:
    """Listens to a bell."""

    def __init__(self) -> None:
        self.rings: asyncio.Queue[Ring | None] = asyncio.Queue()

    def hear(self, ring: Ring | None) -> None:
        self.rings.put_nowait(ring)

    async def next(self) -> Ring | None:
        async with asyncio.timeout(10):
            ring = await self.rings.get()
        return None if ring is None else Ring(tuple(ring.events), ring.ending)
