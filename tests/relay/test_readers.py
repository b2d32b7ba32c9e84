"""How readers, and connections that have none, are told to go on elsewhere."""

import asyncio
from collections.abc import Callable

import pytest

from proxy.app import SystemEntropy, WallClock
from proxy.relay.errands import Errands
from proxy.relay.readers import Readers
from proxy.store.memory import MemoryJournal, MemoryStore


def with_readers(story: Callable[[Readers], None]) -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            errands = Errands(tasks, lambda: None)
            journal = MemoryJournal(MemoryStore(WallClock()), lease_s=5)
            story(Readers(journal, SystemEntropy(), errands, look_again_s=1))

    asyncio.run(scenario())


@pytest.mark.parametrize("bound_too", [False, True])
def test_who_asked_to_be_told_is_told_and_who_took_it_back_is_not(bound_too: bool) -> None:
    told: list[str] = []

    def stay() -> None:
        told.append("stay")

    def leave() -> None:
        told.append("leave")

    def story(readers: Readers) -> None:
        readers.on_send_away(stay)
        readers.on_send_away(leave)
        readers.off_send_away(leave)
        assert not told
        readers.send_away(bound_too=bound_too)

    with_readers(story)

    assert told == ["stay"]


def test_who_comes_when_all_are_sent_away_is_told_at_once() -> None:
    told: list[str] = []

    def story(readers: Readers) -> None:
        readers.send_away(bound_too=True)
        readers.on_send_away(lambda: told.append("late"))

    with_readers(story)

    assert told == ["late"]
