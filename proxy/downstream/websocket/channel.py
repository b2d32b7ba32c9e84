"""The way to the client: one write at a time, in the order of asking.

No queue: who wants to send waits for its turn, then for the client to have taken what was sent
before. So a long replay and a live stream on one connection take turns, a batch each.
"""

import asyncio

from proxy.downstream.watchdog import Watchdog
from proxy.downstream.websocket.messages import Answer, encode
from proxy.downstream.websocket.protocol import WebSocketProtocol


class Channel:
    """See the module. `watchdog` is told what was sent."""

    def __init__(self, socket: WebSocketProtocol, watchdog: Watchdog) -> None:
        self._socket = socket
        self._watchdog = watchdog
        self._turn = asyncio.Lock()  # it is fair

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still arrive."""
        return self._socket.is_open

    async def send(self, frames: bytes) -> None:
        """Whole frames, in one write. To a client that has left, nothing."""
        async with self._turn:
            await self._socket.send_frames(frames)
            self._watchdog.sent_bytes += len(frames)

    async def say(self, answer: Answer) -> None:
        """One message."""
        await self.send(encode(answer))
