"""The lanes of one connection: in each one response after the other, and all beside each other.

Owns who waits, in what order, and how much of it there may be. What a turn does is its session's
matter. A lane that waits for nothing has no task. What surprises: a name is never forgotten, so
that a client that makes names up reaches an end, as it does at the service.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from proxy.downstream.lanes.messages import Create, Resume, lane_tail
from proxy.errors import LaneLimit, WaitingLimit

_LANES_MAX = 32
"""Names on one connection, as at the service."""
_ACTIVE_MAX = 16
"""Responses that are made or read at a time on one connection, as at the service."""
_WAITING_MAX = 128
"""Turns that wait on one connection. Chosen: eight for each that can be active."""

Turn = Create | Resume


class Lane:
    """One of them. `take` gives out what is next."""

    __slots__ = ("_waiting", "is_making", "name", "response_id", "tail", "task")

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.tail = lane_tail(name)
        self.task: asyncio.Task[None] | None = None
        self.is_making = False
        """A stream is just being made: that is not broken off half way."""
        self.response_id: str | None = None
        """Of the response that it is sending, as soon as that is known."""
        self._waiting: deque[tuple[Turn, int]] = deque()

    def __len__(self) -> int:
        """How many turns wait."""
        return len(self._waiting)

    def put(self, turn: Turn, size: int) -> None:
        """The last to come."""
        self._waiting.append((turn, size))

    def take(self) -> tuple[Turn, int]:
        """The first that came, and its bytes."""
        return self._waiting.popleft()


class Lanes:
    """See the module. `perform` does one turn and raises nothing.

    Turns that wait have at most `waiting_bytes_max` bytes, or are one alone. None is begun any more
    for a client that `is_open` says has left.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        perform: Callable[[Lane, Turn], Awaitable[None]],
        is_open: Callable[[], bool],
        waiting_bytes_max: int,
    ) -> None:
        self._tasks = tasks
        self._perform = perform
        self._is_open = is_open
        self._waiting_bytes_max = waiting_bytes_max
        self._lanes: dict[str | None, Lane] = {None: Lane(None)}
        self._active = asyncio.Semaphore(_ACTIVE_MAX)
        self._waiting = 0
        self._waiting_bytes = 0

    def enter(self, name: str | None, turn: Turn, size: int) -> None:
        """Do `turn` when all before it in its lane are done. Raises `LaneLimit`, `WaitingLimit`."""
        lane = self._lanes.get(name)
        if lane is None and len(self._lanes) > _LANES_MAX:  # the one without a name is not counted
            raise LaneLimit(_LANES_MAX)
        is_too_much = self._waiting_bytes + size > self._waiting_bytes_max
        if self._waiting >= _WAITING_MAX or (self._waiting and is_too_much):
            raise WaitingLimit
        if lane is None:
            lane = self._lanes[name] = Lane(name)
        lane.put(turn, size)
        self._waiting += 1
        self._waiting_bytes += size
        if lane.task is None:
            lane.task = self._tasks.create_task(self._run(lane))

    def making(self, response_id: str) -> Lane | None:
        """The lane in which a response is just sent."""
        running = (lane for lane in self._lanes.values() if lane.task is not None)
        return next((lane for lane in running if lane.response_id == response_id), None)

    def leave(self) -> None:
        """The client has left: what is only read is read no more."""
        for lane in self._lanes.values():
            if lane.task is not None and not lane.is_making:
                lane.task.cancel()

    async def _run(self, lane: Lane) -> None:
        try:
            while len(lane):
                async with self._active:
                    if not self._is_open():
                        return
                    turn, size = lane.take()
                    self._waiting -= 1
                    self._waiting_bytes -= size
                    await self._perform(lane, turn)
                lane.response_id = None
        finally:
            lane.task = None
