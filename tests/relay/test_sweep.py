"""When the sweep may bury: while the whole store was well for a whole lease, and not before."""

import asyncio
import json

import msgspec

from proxy.errors import StoreUnavailable
from proxy.relay.ports import Admission, Append
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Birth, Ending, Event, StreamId
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock
from tests.wire import recorded

BIRTH = Birth(
    id=StreamId("left"),
    owner="o",
    dialect="openai.chat",
    model="m",
    provider="p",
    created_at=0.0,
    retention_s=3600.0,
)


class PartlyAway(MemoryJournal):
    """Some part of the store stands still for a while, though not the one with the ledger."""

    is_well = False
    stands_still_s = 0.0

    async def pulse(self) -> None:
        await asyncio.sleep(self.stands_still_s)
        if not self.is_well:
            raise StoreUnavailable("some part of it")


async def buried_after(journal: PartlyAway, store: MemoryStore, wait_s: float) -> bool:
    """Whether a stream whose producer is dead has its ending by then."""
    switchboard = make_switchboard(journal, MemoryLedger(store, LEASE_S))
    async with switchboard.running():
        await asyncio.sleep(wait_s)
        state = await switchboard.state(BIRTH.id)
    return state.ending is Ending.INTERRUPTED


def left_behind() -> tuple[PartlyAway, MemoryStore]:
    store = MemoryStore(VirtualClock())
    return PartlyAway(store, LEASE_S), store


async def leave(store: MemoryStore) -> None:
    dead = MemoryJournal(store, LEASE_S)
    admission = Admission(stream=BIRTH.id, owner="o", created_at=0.0, keep_s=3600.0)
    await MemoryLedger(store, LEASE_S).admit(admission)
    await dead.append([Append(BIRTH.id, 1, 1, birth=BIRTH)])


def test_nobody_is_buried_while_a_part_of_the_store_is_away() -> None:
    async def story() -> None:
        journal, store = left_behind()
        await leave(store)
        assert not await buried_after(journal, store, 10 * LEASE_S)

    run(story())


def test_nobody_is_buried_while_a_part_of_the_store_is_slow_to_answer() -> None:
    async def story() -> None:
        journal, store = left_behind()
        journal.is_well, journal.stands_still_s = True, LEASE_S / 3
        await leave(store)
        assert not await buried_after(journal, store, 10 * LEASE_S)

    run(story())


def test_the_dead_are_buried_one_lease_after_the_whole_store_is_well() -> None:
    async def story() -> None:
        journal, store = left_behind()
        await leave(store)
        asyncio.get_running_loop().call_later(20.0, setattr, journal, "is_well", True)
        assert not await buried_after(journal, store, 20.0 + LEASE_S - 1.0)

        journal, store = left_behind()
        await leave(store)
        journal.is_well = True
        assert await buried_after(journal, store, LEASE_S + 1.5)

    run(story())


def test_a_response_whose_worker_died_ends_under_its_own_id_with_what_was_said() -> None:
    said = recorded.events("text.responses.sse")[:6]

    async def story() -> Event:
        journal, store = left_behind()
        journal.is_well = True
        birth = msgspec.structs.replace(BIRTH, dialect="openai.responses")
        admission = Admission(stream=BIRTH.id, owner="o", created_at=0.0, keep_s=3600.0)
        await MemoryLedger(store, LEASE_S).admit(admission)
        dead = MemoryJournal(store, LEASE_S)
        await dead.append([Append(BIRTH.id, 1, 1, birth=birth)])
        await dead.append([Append(BIRTH.id, 1, 1, events=said)])
        assert await buried_after(journal, store, 3 * LEASE_S)
        page = await dead.read(BIRTH.id, len(said))
        assert page is not None
        (last,) = page.events
        return last

    last = run(story())
    event = json.loads(last.data)
    assert (last.id, last.name, event["sequence_number"]) == (7, "response.failed", 6)
    response = event["response"]
    assert response["id"] == json.loads(said[0].data)["response"]["id"]
    assert response["error"]["code"] == "stream_interrupted"
    assert response["output"][0]["content"][0]["text"] == "Hello there"
