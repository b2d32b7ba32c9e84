"""Reading a stream over a WebSocket.

What surprises: the key rides in the handshake, which a browser could not do, and goes again when
the server asks for it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec

from proxy.errors import (
    AheadOfStream,
    Draining,
    InternalError,
    LineLost,
    NotPermitted,
    PromiseBroken,
    ServerRefused,
    StoreFull,
    StoreUnavailable,
    StreamGone,
    StreamLimitReached,
    StreamNotFound,
    TargetsResting,
)
from proxy.stream import Event, StreamId
from proxy.terminal.heard import SILENCE_S, End, Heard, Opened, data_of
from proxy.terminal.server import CONNECT_S, Server, mapped, visible

_PING_S: Final = 15.0
_MESSAGE_BYTES_MAX: Final = 65 * 1024 * 1024
"""The largest event that a server can be set to, and its envelope."""
_CLOSED_FOR_GOOD: Final = {4400: 400, 4401: 401, 4403: 403}
"""Close codes that a new connection would meet again, as statuses."""
_CLOSED: Final = {
    1000: "the server closed it",
    1001: "the server is going away",
    1006: "it broke",
    4408: "it was too slow",
}
_PASSING: Final = frozenset(
    kind.code
    for kind in (
        StoreUnavailable,
        StoreFull,
        Draining,
        StreamLimitReached,
        TargetsResting,
        InternalError,
    )
)
"""Codes of errors that another try may not meet."""
_STATUS: Final = {
    kind.code: kind.status for kind in (StreamNotFound, AheadOfStream, StreamGone, NotPermitted)
}
"""What those that it meets would have been over HTTP, where not 400."""


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
    """See `Line`."""
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
                        yield Event(message.id, message.event, data_of(message.data))
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
        is_about_the_key = error.status == 401
        raise ServerRefused(
            url, error.status, "no WebSocket is made", is_of_the_line=not is_about_the_key
        ) from error
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
        raise LineLost(_CLOSED.get(code, f"closed with {code}"))
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
    return ServerRefused(url, _STATUS.get(message.code, 400), said)
