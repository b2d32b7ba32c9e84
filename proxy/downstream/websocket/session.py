"""One client on one WebSocket: listens to it, and does what it says.

Each thing that takes time (a stream that is read, a stream that is made or stopped) is a task of
its own, so that the client is always listened to: its goodbye is heard, its pings are answered.
What surprises: when the client leaves, streams that are just being made are not given up half
way; they are made, and have lost their first reader.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import assert_never

from proxy.downstream.auth import must_own
from proxy.downstream.create import call_wishes, create, dialect_at, read_call
from proxy.downstream.desk import Desk
from proxy.downstream.tracing import note_subscription, traced_message
from proxy.downstream.websocket import messages
from proxy.downstream.websocket.connection import NOT_AUTHENTICATED, Connection
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.downstream.websocket.subscription import send_events
from proxy.downstream.wishes import read_event_id, read_stream_id
from proxy.errors import (
    AlreadySubscribed,
    BodyTooLarge,
    InternalError,
    MalformedRequest,
    MidstreamError,
    StreamGone,
    SubscriptionLimit,
)
from proxy.observe import Span
from proxy.stream import State, StreamId

Work = Callable[[], Awaitable[None]]
"""What is done in a task of its own; not begun yet, for a task may be cancelled before it is."""

_STREAMS_MAX = 100
"""Read, or in the making, at a time on one connection (the contract)."""
_AUTH_S = 10.0
"""For the first message, if the handshake did not say who it is (the contract)."""
_AUTH_BYTES_MAX = 16 * 1024
"""Of a message from nobody yet. Chosen: several times the longest credential."""


class Session:
    """See the module. `handshake` are those of its headers that hold for each create."""

    def __init__(
        self, desk: Desk, socket: WebSocketProtocol, request: str, handshake: Mapping[str, str]
    ) -> None:
        self._desk = desk
        self._socket = socket
        self._request = request
        self._handshake = handshake
        self._connection = Connection(desk, socket, self._announce)
        self._channel = self._connection.channel
        self._reading: dict[StreamId, asyncio.Task[None]] = {}
        self._making = 0

    async def run(self, token: str | None) -> None:
        """Until either side closes. `token` is None if the handshake had none."""

        async def talk() -> None:
            if await self._begin(token):
                await self._connection.listen(self._hear)

        await self._connection.run(talk, self._stop_reading_all)

    # --- who it is ------------------------------------------------------------------------------

    async def _begin(self, token: str | None) -> bool:
        """Know who it is, and say so; False if that does not come to pass."""
        self._socket.take_messages_up_to(_AUTH_BYTES_MAX)
        if token is None:
            token = await self._first_message()
        if token is None or not self._connection.take(token):
            return False
        self._socket.take_messages_up_to(self._desk.settings.message_bytes_max)
        await self._channel.say(messages.Ready(self._desk.settings.heartbeat_s))
        return True

    async def _first_message(self) -> str | None:
        """Its token, or None after a close."""
        try:
            async with asyncio.timeout(_AUTH_S):
                heard = await self._socket.receive()
        except TimeoutError:
            self._socket.close(NOT_AUTHENTICATED, f"no auth came within {_AUTH_S:g} s")
            return None
        try:
            said = messages.read_message(str(heard.get("text") or ""))
        except MalformedRequest:
            said = None
        if isinstance(said, messages.Auth):
            return said.token
        self._socket.close(NOT_AUTHENTICATED, "the first message must be auth")
        return None

    def _announce(self, left_s: float) -> None:
        expiring = messages.Reauthenticate(round(max(left_s, 0.0), 1))
        self._connection.tasks.create_task(self._channel.say(expiring))

    # --- what it says ----------------------------------------------------------------------------

    async def _hear(self, text: str) -> None:
        try:
            said = messages.read_message(text)
        except MalformedRequest as error:
            known = messages.about(text)
            await self._channel.say(messages.failed(error, known.ref, known.stream))
            return
        match said:
            case messages.Auth():
                if self._connection.take(said.token):
                    ready = messages.Ready(self._desk.settings.heartbeat_s, said.ref)
                    await self._channel.say(ready)
            case messages.Ping():
                await self._channel.say(messages.Pong(said.ref))
            case messages.Unsubscribe():
                self._stop_reading(said.stream)
                await self._channel.say(messages.Unsubscribed(said.stream, said.ref))
            case messages.Subscribe():
                await self._subscribe(said)
            case messages.Create():
                self._do(partial(self._create, said), said.ref, None)
            case messages.Cancel():
                self._do(partial(self._cancel, said), said.ref, said.stream)
            case _:
                assert_never(said)

    def _do(self, work: Work, ref: messages.Ref | None, stream: str | None) -> asyncio.Task[None]:
        return self._connection.tasks.create_task(self._try(work, ref, stream))

    async def _try(self, work: Work, ref: messages.Ref | None, stream: str | None) -> None:
        """The root of a task: whatever fails in it is told, and ends nothing else."""
        try:
            await work()
        except MidstreamError as error:
            await self._channel.say(messages.failed(error, ref, stream))
        except Exception as error:  # noqa: BLE001 - a bug, in the log under the request's id
            self._desk.observer.internal_error(error, request=self._request)
            await self._channel.say(messages.failed(InternalError(), ref, stream))

    # --- reading, making, stopping --------------------------------------------------------------

    async def _find(self, stream: StreamId) -> State:
        state = await self._desk.switchboard.state(stream)
        must_own(self._connection.principal, state)
        if state.is_erased:
            raise StreamGone
        return state

    async def _subscribe(self, said: messages.Subscribe) -> None:
        try:
            stream = read_stream_id(said.stream)
            after = read_event_id(str(said.after))
            if stream in self._reading:
                raise AlreadySubscribed(stream)
            self._check_room()
        except MidstreamError as error:
            await self._channel.say(messages.failed(error, said.ref, said.stream))
            return
        self._reading[stream] = self._do(partial(self._follow, stream, after), said.ref, stream)

    def _check_room(self) -> None:
        if len(self._reading) + self._making >= _STREAMS_MAX:
            raise SubscriptionLimit(_STREAMS_MAX)

    def _stop_reading(self, stream: str) -> None:
        """Nothing of it is sent any more when this returns."""
        task = self._reading.pop(StreamId(stream), None)
        if task is not None:
            task.cancel()

    def _stop_reading_all(self) -> None:
        for task in self._reading.values():
            task.cancel()

    async def _follow(self, stream: StreamId, after: int) -> None:
        with traced_message(self._desk, "subscribe", self._handshake) as span:
            await self._read(stream, after, span)

    async def _read(self, stream: StreamId, after: int, span: Span | None) -> None:
        """The rest of the task that `_reading` holds for the stream."""
        cursor = None
        try:
            state = await self._find(stream)
            note_subscription(span, state.birth, after)
            cursor = await self._desk.switchboard.follow(state, after, transport="websocket")
            await send_events(cursor, self._channel)
        finally:
            if cursor is not None:
                cursor.close()
            if self._reading.get(stream) is asyncio.current_task():
                del self._reading[stream]

    async def _create(self, said: messages.Create) -> None:
        with traced_message(self._desk, "create", self._handshake) as span:
            self._check_room()
            self._making += 1  # until it is read: who takes no answer makes no more either
            try:
                stream = await self._make(said, span)
                await self._channel.say(messages.Created(stream, said.ref))
            finally:
                self._making -= 1
            if stream not in self._reading:  # else its events come already
                task = asyncio.current_task()
                assert task is not None, "a create is a task"
                self._reading[stream] = task
                await self._read(stream, 0, span)

    async def _make(self, said: messages.Create, span: Span | None) -> StreamId:
        desk = self._desk
        dialect = dialect_at(desk, said.path)
        body = bytes(said.body)
        if len(body) > desk.settings.body_bytes_max:
            raise BodyTooLarge(desk.settings.body_bytes_max)
        principal, wishes = self._connection.principal, call_wishes(desk, said.as_headers())
        try:
            call = read_call(principal, wishes, dialect, self._handshake, body, span)
            made = await create(desk, call)
        except MidstreamError as error:
            desk.observer.create_answered(dialect.name, error.status)
            raise
        desk.observer.create_answered(dialect.name, 200)
        return made.state.birth.id

    async def _cancel(self, said: messages.Cancel) -> None:
        state = await self._find(read_stream_id(said.stream))
        state = await self._desk.switchboard.cancel(state.birth.id)
        await self._channel.say(messages.cancelled(state, said.ref))
