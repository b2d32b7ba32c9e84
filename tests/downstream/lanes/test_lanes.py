"""Who waits in a lane, and for whom."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.downstream.lanes.lanes import Lane, Lanes, Turn
from proxy.downstream.lanes.messages import Resume
from proxy.errors import LaneLimit, WaitingLimit

Scenario = Callable[["Played"], Awaitable[None]]


class Played:
    """Lanes whose turns last until they are told to end."""

    def __init__(self, tasks: asyncio.TaskGroup, waiting_bytes_max: int = 1000) -> None:
        self.is_open = True
        self.lanes = Lanes(tasks, self._perform, lambda: self.is_open, waiting_bytes_max)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.is_making = False
        self._ends: dict[str, asyncio.Event] = {}

    def enter(self, lane: str | None, turn: str, size: int = 1) -> None:
        self._ends[turn] = asyncio.Event()
        self.lanes.enter(lane, Resume(turn), size)

    async def end(self, *turns: str) -> None:
        for turn in turns:
            self._ends[turn].set()
        await settle()

    async def _perform(self, lane: Lane, turn: Turn) -> None:
        assert isinstance(turn, Resume)
        self.begun.append(turn.response_id)
        lane.is_making = self.is_making
        await self._ends[turn.response_id].wait()
        lane.is_making = False
        self.ended.append(turn.response_id)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def play(scenario: Scenario) -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            played = Played(tasks)
            await scenario(played)
            played.lanes.leave()

    asyncio.run(run())


def test_a_lane_does_one_after_the_other_and_lanes_do_not_wait_for_each_other() -> None:
    async def scenario(played: Played) -> None:
        for turn in ("a1", "a2", "a3"):
            played.enter("a", turn)
        played.enter(None, "n1")
        await settle()
        assert played.begun == ["a1", "n1"]
        await played.end("n1", "a1")
        assert played.begun == ["a1", "n1", "a2"]
        await played.end("a2", "a3")
        assert played.ended == ["n1", "a1", "a2", "a3"]
        played.enter("a", "a4")
        await played.end("a4")
        assert played.ended[-1] == "a4"

    play(scenario)


def test_sixteen_are_active_and_the_others_begin_in_the_order_they_came() -> None:
    async def scenario(played: Played) -> None:
        turns = [f"t{n}" for n in range(20)]
        for turn in turns:
            played.enter(turn, turn)
        await settle()
        assert played.begun == turns[:16]
        await played.end("t3", "t9")
        assert played.begun == turns[:18]

    play(scenario)


def test_thirty_two_names_are_enough_and_stay_taken() -> None:
    async def scenario(played: Played) -> None:
        for n in range(32):
            played.enter(f"lane{n}", f"t{n}")
            await played.end(f"t{n}")
        with pytest.raises(LaneLimit):
            played.enter("one more", "x")
        played.enter(None, "unnamed")
        played.enter("lane0", "again")
        await played.end("unnamed", "again")
        assert played.ended[-2:] == ["unnamed", "again"]

    play(scenario)


def test_a_flood_of_turns_is_refused_and_what_waits_still_comes() -> None:
    async def scenario(played: Played) -> None:
        for n in range(1000):
            try:
                played.enter("a", f"t{n}")
            except WaitingLimit:
                break
        assert n == 128
        await settle()
        played.enter("a", "room")
        with pytest.raises(WaitingLimit):
            played.enter("b", "full")
        await played.end(*(f"t{k}" for k in range(n)), "room")
        for _ in range(50):
            await settle()
        assert played.ended == [*(f"t{k}" for k in range(n)), "room"]

    play(scenario)


def test_what_waits_is_bounded_in_bytes_but_one_always_may() -> None:
    async def scenario(played: Played) -> None:
        played.enter("a", "huge", 5000)
        await settle()
        played.enter("a", "huge too", 5000)
        with pytest.raises(WaitingLimit):
            played.enter("a", "small", 1)
        await played.end("huge", "huge too")
        played.enter("a", "small", 1)
        await played.end("small")
        assert played.ended == ["huge", "huge too", "small"]

    play(scenario)


def test_a_refused_turn_does_not_take_a_name() -> None:
    async def scenario(played: Played) -> None:
        played.enter("a", "huge", 5000)
        await settle()
        played.enter("a", "waits", 5000)
        for n in range(100):
            with pytest.raises(WaitingLimit):
                played.enter(f"lane{n}", "no", 5000)
        await played.end("huge", "waits")
        played.enter("b", "yes")
        await played.end("yes")
        assert played.ended[-1] == "yes"

    play(scenario)


def test_when_the_client_leaves_what_is_made_is_made_and_nothing_else_is_begun() -> None:
    async def scenario(played: Played) -> None:
        played.is_making = True
        played.enter("a", "made")
        played.enter("a", "waits")
        await settle()
        played.is_making = False
        played.enter("b", "read")
        await settle()
        played.is_open = False
        played.lanes.leave()
        await settle()
        await played.end("made", "waits", "read")
        assert played.begun == ["made", "read"]
        assert played.ended == ["made"]

    play(scenario)


def test_nothing_is_begun_for_a_client_whose_line_is_cut_before_anybody_has_heard_of_it() -> None:
    async def scenario(played: Played) -> None:
        played.enter("a", "sent")
        played.enter("a", "waits")
        await settle()
        played.is_open = False
        await played.end("sent")
        assert played.begun == ["sent"]

    play(scenario)
