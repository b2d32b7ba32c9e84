"""One client on one Responses WebSocket: hears what it says, and lets its lanes do it.

A response that is made here is a stream like any other: it is in the journal before it is sent, and
whoever loses the connection reads on from there, here or over any other transport.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import assert_never

import msgspec

from proxy.downstream.auth import must_own
from proxy.downstream.create import Made, call_wishes, create, read_call
from proxy.downstream.describe import stream_headers
from proxy.downstream.desk import Desk
from proxy.downstream.lanes import messages
from proxy.downstream.lanes.lanes import Lane, Lanes, Turn
from proxy.downstream.problems import problem_headers
from proxy.downstream.quota_headers import quota_headers
from proxy.downstream.websocket.connection import Connection
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.downstream.wishes import read_stream_id
from proxy.errors import (
    InternalError,
    MalformedRequest,
    MidstreamError,
    QuotaExceeded,
    StreamGone,
)
from proxy.relay.cursor import Cursor
from proxy.relay.tail import Batch
from proxy.stream import Ending, State, StreamId
from proxy.wire.dialect import Dialect

DIALECT = "openai.responses"
_TOO_SLOW = 1013
"""Try again later: a close that the SDKs come back after, if they are told to."""
_WAIT_S = 60.0
"""Between two looks at a stream that is silent. Signs of life are the connection's."""
_LONG_BYTES = 32 * 1024
"""From here on a batch is a piece of a replay: whoever else this process serves comes first."""
_FINISH_S = 2.0
"""How long an early failure waits for its idempotency key to be released."""


class LanesSession:
    """See the module. `headers` are what is kept of the handshake's."""

    def __init__(
        self, desk: Desk, socket: WebSocketProtocol, request: str, headers: Mapping[str, str]
    ) -> None:
        self._desk = desk
        self._request = request
        self._headers = headers
        self._connection = Connection(desk, socket, lambda _: None, too_slow=_TOO_SLOW)
        self._channel = self._connection.channel
        self._lanes = Lanes(self._connection.tasks, self._perform, desk.settings.message_bytes_max)
        self._steered = 0
        socket.take_messages_up_to(desk.settings.message_bytes_max)

    async def run(self, token: str) -> None:
        """Until either side closes."""

        async def talk() -> None:
            if self._connection.take(token):
                await self._connection.listen(self._hear)

        await self._connection.run(talk, self._lanes.leave)

    @property
    def _dialect(self) -> Dialect:
        return self._desk.dialects[DIALECT]

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
        frame = messages.error_frame(problem, lane, self._dialect, headers, self._request)
        await self._channel.send(frame)

    # --- a turn ---------------------------------------------------------------------------------

    async def _perform(self, lane: Lane, turn: Turn) -> None:
        """The root of a turn: whatever fails in it is told, and ends nothing else."""
        try:
            match turn:
                case messages.Create():
                    lane.is_making = True
                    try:
                        state = (await self._make(turn)).state
                    finally:
                        lane.is_making = False
                    after = 0
                case messages.Resume():
                    state, after = await self._find(turn), turn.after
                case _:
                    assert_never(turn)
            del turn
            await self._read(lane, state, after)
        except MidstreamError as error:
            await self._fail(error, lane.name)
        except Exception as error:  # noqa: BLE001 - a bug, in the log under the request's id
            self._desk.observer.internal_error(error, request=self._request)
            await self._fail(InternalError(), lane.name)

    async def _make(self, said: messages.Create) -> Made:
        desk = self._desk
        key = said.idempotency_key
        own = {} if key is None else {"idempotency-key": key}
        try:
            wishes = call_wishes(desk, {**self._headers, **own})
            body = msgspec.json.encode(said.fields)
            principal = self._connection.principal
            made = await create(
                desk, read_call(principal, wishes, self._dialect, self._headers, body)
            )
        except MidstreamError as error:
            desk.observer.create_answered(DIALECT, error.status)
            raise
        desk.observer.create_answered(DIALECT, 200)
        return made

    async def _find(self, said: messages.Resume) -> State:
        state = await self._desk.switchboard.state(read_stream_id(said.response_id))
        must_own(self._connection.principal, state)
        if state.is_erased:
            raise StreamGone
        if state.birth.dialect != DIALECT:
            what = (
                f"This stream speaks {state.birth.dialect}; GET /v1/streams/{{id}}/events has it."
            )
            raise MalformedRequest(what, param="response_id")
        return state

    async def _read(self, lane: Lane, state: State, after: int) -> None:
        cursor = await self._desk.switchboard.follow(state, after, transport="websocket")
        try:
            await self._send(lane, cursor)
        finally:
            cursor.close()

    async def _send(self, lane: Lane, cursor: Cursor) -> None:
        """To the end of the stream, of the connection, or of the cursor."""
        while self._channel.is_open:
            batch = await cursor.next(_WAIT_S)
            if batch is None:
                if cursor.is_at_end or cursor.is_closed or cursor.is_sent_away:
                    return
                continue
            if _is_early_failure(batch):
                await self._tell_failure(lane, cursor.tail.stream)
                return
            frames = messages.event_frames(batch.events, lane.tail)
            is_last = batch.ending is not None
            if lane.response_id is None:
                lane.response_id = messages.response_id(batch.events[0])
            del batch  # a silent stream holds on to nothing
            await self._channel.send(frames)
            if is_last:
                return
            if len(frames) >= _LONG_BYTES:
                await asyncio.sleep(0)

    async def _tell_failure(self, lane: Lane, stream: StreamId) -> None:
        """Nothing but a failure came of it: an error, as it would be over HTTP."""
        producer = self._desk.switchboard.producer(stream)
        if producer is not None:
            with suppress(TimeoutError):  # the store is slow: the key is released later
                async with asyncio.timeout(_FINISH_S):
                    await producer.finished.wait()
        state = await self._desk.switchboard.state(stream)
        assert state.problem is not None, "it has failed"
        headers = problem_headers(state.problem)
        headers += stream_headers(state, self._desk.switchboard.clock.now())
        await self._channel.send(
            messages.error_frame(state.problem, lane.name, self._dialect, headers, self._request)
        )


def _is_early_failure(batch: Batch) -> bool:
    """Whether the journal's first event is its last, and says that the stream has failed."""
    is_failure = batch.ending not in {None, Ending.COMPLETED}
    return is_failure and len(batch.events) == 1 and batch.last_id == 1
