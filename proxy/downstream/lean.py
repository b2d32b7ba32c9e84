"""Parts of uvicorn's connection, in a tenth of the memory.

Each connection has several, and ten thousand readers that wait are ten thousand connections
(measured by tests/load). They do only what uvicorn asks of them.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl


class Flag:
    """An `asyncio.Event` for one waiter, in a tenth of the memory: most are never waited for."""

    __slots__ = ("_future", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the waiter."""
        self._is_set = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def clear(self) -> None:
        """Let the next one wait."""
        self._is_set = False

    async def wait(self) -> None:
        """Return once it is set."""
        if not self._is_set:
            assert self._future is None or self._future.done(), "one waiter"
            self._future = asyncio.get_running_loop().create_future()
            await self._future


class Flow(FlowControl):
    """uvicorn's, with a smaller event."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        flag = Flag()
        flag.set()
        self._is_writable_event = cast("asyncio.Event", flag)


class Pipeline(list[Any]):
    """uvicorn's deque of requests that wait for the one before: an empty deque takes 760 bytes."""

    __slots__ = ()

    def appendleft(self, waiting: object) -> None:
        """As a deque does."""
        self.insert(0, waiting)
