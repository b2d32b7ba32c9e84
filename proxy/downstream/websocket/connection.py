"""One client on one WebSocket, whatever is spoken there: who it is, and how it ends.

Owns what every such connection needs: its tasks, its credential, the way out, the bounds of what
comes in, the reasons to close. It knows no message; the session that speaks is told each text.
"""

import asyncio
from collections.abc import Awaitable, Callable

from proxy.downstream.desk import Desk
from proxy.downstream.watchdog import Watchdog
from proxy.downstream.websocket.channel import Channel
from proxy.downstream.websocket.credential import Credential
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.errors import NotAuthenticated, NotPermitted
from proxy.policy.keys import Principal

GOING_AWAY = 1001
BUG = 1011
BAD_MESSAGE = 4400
NOT_AUTHENTICATED = 4401
NOT_PERMITTED = 4403
TOO_SLOW = 4408
TOO_MANY_MESSAGES = 4429

_MESSAGES_MAX = 300
_MESSAGES_PER_S = 50.0
"""How many messages may come at once, and then in a second. Chosen: whoever comes back subscribes
to all its streams at once, thrice over; and no person's screen asks for 50 things a second."""

Talk = Callable[[], Awaitable[None]]
Hear = Callable[[str], Awaitable[None]]


class Connection:
    """See the module. `on_expiring` is told when its credential is about to run out."""

    def __init__(
        self,
        desk: Desk,
        socket: WebSocketProtocol,
        on_expiring: Callable[[float], None],
        *,
        too_slow: int = TOO_SLOW,
    ) -> None:
        self.socket = socket
        self.tasks = asyncio.TaskGroup()
        self._desk = desk
        self._too_slow = too_slow
        self._watchdog = Watchdog(
            socket.unsent_bytes, desk.settings.reader_stall_s, self._close_slow
        )
        self.channel = Channel(socket, self._watchdog)
        self._credential = Credential(desk, self.close_lost, on_expiring)
        self._loop = asyncio.get_running_loop()
        self._allowance = float(_MESSAGES_MAX)
        self._allowed_at = self._loop.time()

    @property
    def principal(self) -> Principal:
        """Whom it speaks for, as of the last look."""
        return self._credential.principal

    async def run(self, talk: Talk, leave: Callable[[], None]) -> None:
        """`talk`, then `leave`, which gives up what else would not end; until all tasks have."""
        switchboard = self._desk.switchboard
        try:
            async with self.tasks:
                try:
                    switchboard.on_send_away(self._send_away)
                    await talk()
                finally:
                    self._credential.stop()
                    self._watchdog.stop()
                    leave()
        finally:
            switchboard.off_send_away(self._send_away)

    def take(self, token: str) -> bool:
        """A credential, the first one or another; after a bad one the connection is closed."""
        try:
            self._credential.take(token)
        except NotAuthenticated as error:
            self.close_lost(str(error))
        except NotPermitted as error:
            self.socket.close(NOT_PERMITTED, str(error))
        return self.socket.is_open

    async def listen(self, hear: Hear) -> None:
        """Tell `hear` of each text, one after the other, until either side closes."""
        while self.socket.is_open:
            heard = await self.socket.receive()
            if heard["type"] != "websocket.receive" or not self.socket.is_open:
                return
            text = heard.get("text")
            if not self._may_speak():
                self.socket.close(TOO_MANY_MESSAGES, "too many messages at once")
            elif text is None:
                self.socket.close(BAD_MESSAGE, "messages are text")
            else:
                await hear(text)

    def close_lost(self, reason: str) -> None:
        """Nobody may speak here, or nobody may any more."""
        self.socket.close(NOT_AUTHENTICATED, reason)

    def _send_away(self) -> None:
        self.socket.close(GOING_AWAY, "this worker is being stopped; connect again")

    def _close_slow(self) -> None:
        """The goodbye stands behind what is not taken: the protocol drops who takes none of it."""
        self.socket.close(self._too_slow, "nothing was taken for too long; resume")

    def _may_speak(self) -> bool:
        now = self._loop.time()
        gained = (now - self._allowed_at) * _MESSAGES_PER_S
        self._allowance = min(_MESSAGES_MAX, self._allowance + gained) - 1
        self._allowed_at = now
        return self._allowance >= 0
