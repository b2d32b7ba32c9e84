"""Looking at the proxy for those who watch it."""

import asyncio

from proxy.downstream.looks import EVERY_S, Looks
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.simulation.world import VirtualClock, silent_observer


def test_a_picture_that_came_while_a_viewer_was_busy_is_not_missed() -> None:
    async def watch() -> None:
        store = MemoryStore(VirtualClock())
        switchboard = make_switchboard(MemoryJournal(store, LEASE_S), MemoryLedger(store, LEASE_S))
        looks = Looks(switchboard, silent_observer(), providers=list, limits=tuple)
        async with switchboard.running(), looks.watching():
            first = await looks.next(b"")
            await asyncio.sleep(EVERY_S * 1.4)
            async with asyncio.timeout(EVERY_S * 0.3):
                assert await looks.next(first) == looks.newest != first

    asyncio.run(watch())
