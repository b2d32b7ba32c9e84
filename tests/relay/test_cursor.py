"""A reader's waits are its own, whatever the store does meanwhile."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.relay.cursor import Cursor
from proxy.relay.ports import Append, Page
from proxy.relay.tail import Tail
from proxy.store.memory import MemoryJournal, MemoryStore
from proxy.stream import Birth, Event, State, StreamId, new_stream_id
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

HEARTBEAT_S = 2.0
STALL_S = 5.0


class StallingJournal(MemoryJournal):
    """Answers a read only `STALL_S` after it was asked."""

    reads = 0

    async def read(self, stream: StreamId, after: int) -> Page | None:
        self.reads += 1
        await asyncio.sleep(STALL_S)
        return await super().read(stream, after)


@asynccontextmanager
async def reading() -> AsyncIterator[tuple[StallingJournal, Tail, Cursor]]:
    """A cursor at the beginning of a journal of three events, written elsewhere."""
    birth = Birth(
        id=new_stream_id(secrets.token_bytes(20)),
        owner="o",
        dialect="openai.chat",
        model="m",
        provider="p",
        created_at=0.0,
        retention_s=60.0,
    )
    journal = StallingJournal(MemoryStore(VirtualClock()), lease_s=60)
    events = [Event(place, "", b"{}") for place in (1, 2, 3)]
    await journal.append([Append(birth.id, 1, 1, events, birth)])
    tail = Tail(birth.id, last_id=0, is_local=False)
    tail.doubt()

    async def ensure_watch(tail: Tail) -> None:
        """Nobody rings."""

    cursor = Cursor(
        tail,
        0,
        State(birth, 1, 0),
        journal,
        look_again_s=15,
        ensure_watch=ensure_watch,
        on_close=lambda _: None,
        on_trouble=lambda: None,
    )
    try:
        yield journal, tail, cursor
    finally:
        cursor.close()


def test_a_store_that_stalls_does_not_hold_up_heartbeats() -> None:
    async def scenario() -> None:
        async with reading() as (journal, _, cursor):
            loop = asyncio.get_running_loop()
            begun = loop.time()
            assert await cursor.next(HEARTBEAT_S) is None
            assert await cursor.next(HEARTBEAT_S) is None
            assert round(loop.time() - begun, 3) == 2 * HEARTBEAT_S
            batch = await cursor.next(HEARTBEAT_S)
            assert batch is not None
            assert [event.id for event in batch.events] == [1, 2, 3]
            assert journal.reads == 1, "the same look went on all the time"

    run(scenario())


def test_a_late_look_repeats_nothing_that_came_by_another_way() -> None:
    async def scenario() -> None:
        async with reading() as (_, tail, cursor):
            assert await cursor.next(HEARTBEAT_S) is None
            tail.extend([Event(place, "", b"{}") for place in (1, 2)], None)
            heard: list[int] = []
            while len(heard) < 3:
                batch = await cursor.next(HEARTBEAT_S)
                heard += [] if batch is None else [event.id for event in batch.events]
            assert heard == [1, 2, 3]

    run(scenario())


def test_who_does_not_wait_still_hears_what_the_store_has() -> None:
    async def scenario() -> None:
        async with reading() as (_, _, cursor):
            batch = await cursor.next(0)
            assert batch is not None
            assert batch.last_id == 3

    run(scenario())
