"""Parts of uvicorn's HTTP connection, in a tenth of the memory.

Each connection has several, and ten thousand readers that wait are ten thousand connections
(measured by tests/load). They do only what uvicorn asks of them.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl

from proxy.downstream.websocket.waiting import Gate


class Flow(FlowControl):
    """uvicorn's, with a smaller event."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = cast("asyncio.Event", Gate())


class Pipeline(list[Any]):
    """uvicorn's deque of requests that wait for the one before: an empty deque takes 760 bytes."""

    __slots__ = ()

    def appendleft(self, waiting: object) -> None:
        """As a deque does."""
        self.insert(0, waiting)
