"""One client on one Responses WebSocket: hears what it says, and lets its lanes do it.

What surprises: the lanes take their turns in tasks of their own, so that the client is always
listened to, and that what waits can be refused when it becomes too much.
"""

from collections.abc import Mapping

from proxy.downstream.desk import Desk
from proxy.downstream.lanes import messages
from proxy.downstream.lanes.lanes import Lane, Lanes, Turn
from proxy.downstream.lanes.memory import Memory
from proxy.downstream.lanes.turns import DIALECT, Turns
from proxy.downstream.problems import problem_headers
from proxy.downstream.quota_headers import quota_headers
from proxy.downstream.websocket.connection import Connection
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.errors import InternalError, MidstreamError, QuotaExceeded

_TOO_SLOW = 1013
"""Try again later: a close that the SDKs come back after, if they are told to."""


class LanesSession:
    """See the module. `headers` are what is kept of the handshake's."""

    def __init__(
        self,
        desk: Desk,
        socket: WebSocketProtocol,
        memory: Memory,
        request: str,
        headers: Mapping[str, str],
    ) -> None:
        self._desk = desk
        self._request = request
        self._memory = memory
        self._connection = Connection(desk, socket, lambda _: None, too_slow=_TOO_SLOW)
        self._channel = self._connection.channel
        self._turns = Turns(desk, self._connection, memory, request, headers)
        self._lanes = Lanes(
            self._connection.tasks,
            self._perform,
            lambda: socket.is_open,
            desk.settings.message_bytes_max,
        )
        self._steered = 0
        socket.take_messages_up_to(desk.settings.message_bytes_max)

    async def run(self, token: str) -> None:
        """Until either side closes."""

        async def talk() -> None:
            if self._connection.take(token):
                await self._connection.listen(self._hear)

        await self._connection.run(talk, self._leave)

    # --- what it says ---------------------------------------------------------------------------

    async def _hear(self, text: str) -> None:
        lane = None
        try:
            fields = messages.read_fields(text)
            lane = messages.read_lane(fields)
            said = messages.read_message(fields)
            if not isinstance(said, messages.Steer):
                self._lanes.enter(lane, said, len(text))
                return
        except MidstreamError as error:
            await self._fail(error, lane)
            return
        await self._refuse_steering(said)

    async def _refuse_steering(self, said: messages.Steer) -> None:
        """No provider can be told more over HTTP while it answers."""
        lane = self._lanes.making(said.previous_response_id)
        if lane is None:
            code, what = "response_not_found", "No such response is being made on this connection."
        else:
            code = "steering_not_supported"
            what = "The provider of this response takes no input while it answers; cancel it, or "
            what += "send the input with the next response.create."
        frame = messages.steer_failed_frame(
            said,
            code,
            what,
            lane=None if lane is None else lane.name,
            sequence_number=self._steered,
        )
        self._steered += 1
        await self._channel.send(frame)

    async def _fail(self, error: MidstreamError, lane: str | None) -> None:
        problem = error.problem()
        headers = problem_headers(problem)
        if isinstance(error, QuotaExceeded):
            now = self._desk.switchboard.clock.now()
            headers += quota_headers(DIALECT, error.standings, now)
        frame = messages.error_frame(problem, lane, self._turns.dialect, headers, self._request)
        await self._channel.send(frame)

    # --- a turn ---------------------------------------------------------------------------------

    async def _perform(self, lane: Lane, turn: Turn) -> None:
        """The root of a turn: whatever fails in it is told, and ends nothing else."""
        try:
            await self._turns.take(lane, turn)
        except MidstreamError as error:
            await self._fail(error, lane.name)
        except Exception as error:  # noqa: BLE001 - a bug, in the log under the request's id
            self._desk.observer.internal_error(error, request=self._request)
            await self._fail(InternalError(), lane.name)

    def _leave(self) -> None:
        self._lanes.leave()
        self._memory.forget()
