"""Reading one stream over a WebSocket, until the line is cut by either side."""

import time

import aiohttp
import msgspec

from tests.chaos.outcome import DONE, QUOTED_DONE, Passing, Refused
from tests.chaos.record import Fault, History

_PING_S = 10.0
"""After so long without a word we ask whether anybody is there."""
_FINAL = frozenset({"stream_not_found", "stream_expired", "invalid_event_id", "invalid_request"})
_READY_S = 10.0


class _Ready(msgspec.Struct, tag="ready"):
    heartbeat_s: float


class _Event(msgspec.Struct, tag="event"):
    stream: str
    id: int
    event: str
    data: msgspec.Raw


class _End(msgspec.Struct, tag="end"):
    stream: str
    ending: str
    last_id: int


class _Error(msgspec.Struct, tag="error"):
    code: str
    message: str


_decoder = msgspec.json.Decoder(_Ready | _Event | _End | _Error)


async def hear_socket(
    http: aiohttp.ClientSession, url: str, history: History, take: int, connect_s: float
) -> None:
    """Until the end, until `take` events are read, or until the server closes."""
    address = f"ws{url.removeprefix('http')}/v1/ws"
    timeout = aiohttp.ClientWSTimeout(ws_close=connect_s)
    async with http.ws_connect(
        address, protocols=("midstream.v1",), heartbeat=_PING_S, timeout=timeout
    ) as socket:
        message = await socket.receive(timeout=_READY_S)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Passing(f"closed {socket.close_code} before ready")
        ready = _decoder.decode(message.data)
        if not isinstance(ready, _Ready):
            raise Refused(f"{ready} instead of ready")
        ask = {"type": "subscribe", "stream": history.stream, "after": history.last_id}
        await socket.send_str(msgspec.json.encode(ask).decode())
        while take > 0:
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                history.legs.append(f"closed {socket.close_code}")
                return
            take -= _hear(history, _decoder.decode(message.data))


def _hear(history: History, said: _Ready | _Event | _End | _Error) -> int:
    """How many events that was; at the end, as many as anybody wants."""
    match said:
        case _Event():
            data = bytes(said.data)
            now = time.monotonic()
            if said.stream != history.stream:
                history.note(Fault.CHANGED, f"an event of {said.stream}")
            history.hear(said.id, said.event, DONE if data == QUOTED_DONE else data, now)
            return 1
        case _End():
            history.end(said.ending, said.last_id)
            return 1 << 60
        case _Error():
            if said.code in _FINAL:
                raise Refused(f"{said.code}: {said.message}")
            raise Passing(said.code)
        case _Ready():
            raise Refused("ready twice")
