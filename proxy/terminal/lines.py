"""The three ways of reading a stream: WebSocket, server-sent events, long-poll.

Each is one connection's worth (long-poll: a row of polls): it yields `Opened`, events as they
come, and `End`; or raises `ServerError`. It never tries again and does not judge ids: that is
the follower's. What surprises: server-sent events do not tell the ending, so a connection that
was closed is followed by a question for the stream's state.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import aiohttp
import msgspec

from proxy.errors import (
    Draining,
    InternalError,
    LineLost,
    PromiseBroken,
    ServerRefused,
    StoreFull,
    StoreUnavailable,
    StreamLimitReached,
)
from proxy.stream import DONE, Event, StreamId
from proxy.terminal.event_source import EventSource
from proxy.terminal.server import CONNECT_S, Server, ask, check_status, mapped, visible

SILENCE_S: Final = 40.0
"""After which an open connection is given up. Specified: a server shows life every 15 s."""
_POLL_WAIT_S: Final = 25
_PING_S: Final = 15.0
_MESSAGE_BYTES_MAX: Final = 65 * 1024 * 1024
"""The largest event that a server can be set to, and its envelope."""
_EVENTS_BYTES_MAX: Final = 64 * 1024 * 1024
_CLOSED_FOR_GOOD: Final = {4400: 400, 4401: 401, 4403: 403}
"""Close codes that a new connection would meet again, as statuses."""
_PASSING: Final = frozenset(
    kind.code for kind in (StoreUnavailable, StoreFull, Draining, StreamLimitReached, InternalError)
)
"""Codes of errors that another try may not meet."""


class Opened(NamedTuple):
    """The server has answered: what comes now is the stream."""


class End(NamedTuple):
    """The stream has ended, and everything was heard."""

    ending: str
    last_id: int


Heard = Opened | Event | End


Line = Callable[
    [aiohttp.ClientSession, Server, StreamId, int], AsyncGenerator[Opened | Event | End, None]
]
"""Reads a stream after an event id, over one connection."""


class StreamError(msgspec.Struct, frozen=True):
    """Why a stream did not complete."""

    code: str
    message: str


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


class StreamState(msgspec.Struct, frozen=True):
    """What ``GET /v1/streams/{id}`` tells, as far as it is used here."""

    dialect: str
    last_event_id: int
    ending: str | None = None
    usage: Usage | None = None
    error: StreamError | None = None


async def read_state(
    session: aiohttp.ClientSession, server: Server, stream: StreamId
) -> StreamState:
    """The stream's state. Raises `ServerError`."""
    return await ask(session, server, f"/v1/streams/{stream}", StreamState)


# --- server-sent events -------------------------------------------------------------------------


async def over_sse(
    session: aiohttp.ClientSession, server: Server, stream: StreamId, after: int
) -> AsyncGenerator[Heard, None]:
    """See `Line`."""
    url = f"{server.url}/v1/streams/{stream}/events"
    headers = {"accept": "text/event-stream", "last-event-id": str(after)}
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=SILENCE_S)
    with mapped(server.url):
        async with session.get(
            url, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            await check_status(server.url, answer)
            yield Opened()
            source = EventSource(_EVENTS_BYTES_MAX)
            async for chunk in answer.content.iter_any():
                for event in source.feed(chunk):
                    after = event.id
                    yield event
    state = await read_state(session, server, stream)
    if state.ending is None or state.last_event_id > after:
        raise LineLost("the server closed it")
    yield End(state.ending, state.last_event_id)


# --- long-poll ----------------------------------------------------------------------------------


class _PolledEvent(msgspec.Struct, frozen=True):
    id: int
    event: str
    data: msgspec.Raw


class _Polled(msgspec.Struct, frozen=True):
    events: list[_PolledEvent]
    last_id: int
    ended: bool
    ending: str | None = None


_polled_decoder: Final = msgspec.json.Decoder(_Polled)


async def over_poll(
    session: aiohttp.ClientSession, server: Server, stream: StreamId, after: int
) -> AsyncGenerator[Heard, None]:
    """See `Line`."""
    url = f"{server.url}/v1/streams/{stream}/events"
    headers = {"accept": "application/json"}
    timeout = aiohttp.ClientTimeout(total=SILENCE_S, connect=CONNECT_S)
    is_first = True
    while True:
        params = {"after": str(after), "wait": str(0 if is_first else _POLL_WAIT_S)}
        with mapped(server.url):
            async with session.get(
                url, headers=headers, params=params, timeout=timeout, allow_redirects=False
            ) as answer:
                await check_status(server.url, answer)
                body = await answer.read()
        polled = _read_poll(body)
        if is_first:
            is_first = False
            yield Opened()
        for one in polled.events:
            yield Event(one.id, one.event, _data(one.data))
        after = polled.last_id
        if polled.ended:
            yield End(polled.ending or "", polled.last_id)
            return


def _read_poll(body: bytes) -> _Polled:
    try:
        return _polled_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PromiseBroken("the answer to a poll is of another shape") from error


def _data(raw: msgspec.Raw) -> bytes:
    """As the provider sent it: of all data only the terminator is put into quotes."""
    data = bytes(raw)
    return DONE if data == b'"[DONE]"' else data


# --- WebSocket ----------------------------------------------------------------------------------


class _Message(msgspec.Struct, frozen=True):
    """Of any type. What is not named here is not needed."""

    type: str
    stream: str = ""
    id: int = 0
    event: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    ending: str = ""
    last_id: int = 0
    code: str = ""
    message: str = ""
    retry_after_s: float | None = None


_message_decoder: Final = msgspec.json.Decoder(_Message)


async def over_ws(
    session: aiohttp.ClientSession, server: Server, stream: StreamId, after: int
) -> AsyncGenerator[Heard, None]:
    """See `Line`. The key rides in the handshake, and again when the server asks for it."""
    url = f"{server.url}/v1/ws"
    subscribe = {"type": "subscribe", "stream": stream, "after": after}
    is_ready = False
    with mapped(server.url):
        async with _connect(session, url) as socket:
            while True:
                message = await _receive(socket, server.url)
                match message.type:
                    case "ready" if not is_ready:  # it comes again after each auth
                        is_ready = True
                        await _say(socket, subscribe)
                        yield Opened()
                    case "event" if message.stream == stream:
                        yield Event(message.id, message.event, _data(message.data))
                    case "end" if message.stream == stream:
                        yield End(message.ending, message.last_id)
                        return
                    case "reauthenticate" if server.key is not None:
                        await _say(socket, {"type": "auth", "token": server.key.reveal()})
                    case "error":
                        raise _refused(server.url, message)
                    case _:
                        pass  # what this version does not know it did not ask for


@asynccontextmanager
async def _connect(
    session: aiohttp.ClientSession, url: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A connection, pinged so that a dead one is noticed."""
    try:
        connecting = session.ws_connect(
            url,
            protocols=("midstream.v1",),
            heartbeat=_PING_S,
            max_msg_size=_MESSAGE_BYTES_MAX,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
        )
        async with asyncio.timeout(CONNECT_S):
            socket = await connecting
    except aiohttp.WSServerHandshakeError as error:
        if error.status >= 500 or error.status == 429:
            is_busy = error.status in {429, 503}
            raise LineLost(
                f"the server answers {error.status}", is_of_the_line=not is_busy
            ) from error
        raise ServerRefused(url, error.status, "no WebSocket is made") from error
    try:
        yield socket
    finally:
        await socket.close()


async def _receive(socket: aiohttp.ClientWebSocketResponse, url: str) -> _Message:
    """The next message. Raises `LineLost`, and `ServerRefused` for a close that is final."""
    message = await socket.receive(timeout=SILENCE_S)
    if message.type is not aiohttp.WSMsgType.TEXT:
        code = socket.close_code or 1006
        if code in _CLOSED_FOR_GOOD:
            said = message.extra if isinstance(message.extra, str) else ""
            reason = visible(said) or f"closed with {code}"
            raise ServerRefused(url, _CLOSED_FOR_GOOD[code], reason)
        raise LineLost("the server is going away" if code == 1001 else f"closed with {code}")
    try:
        return _message_decoder.decode(message.data)
    except msgspec.DecodeError as error:
        raise PromiseBroken("a WebSocket message of another shape") from error


async def _say(socket: aiohttp.ClientWebSocketResponse, message: Mapping[str, object]) -> None:
    await socket.send_str(msgspec.json.encode(message).decode())


def _refused(url: str, message: _Message) -> LineLost | ServerRefused:
    said = visible(message.message) or message.code
    if message.code in _PASSING:
        return LineLost(said, is_of_the_line=False, retry_after_s=message.retry_after_s)
    return ServerRefused(url, 400, said)


LINES: Final[Mapping[str, Line]] = {"ws": over_ws, "sse": over_sse, "poll": over_poll}
"""Every way of reading, the best first."""
