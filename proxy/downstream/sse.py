"""A cursor's events as server-sent events, on one HTTP response.

Pulls from the cursor and sends; holds at most one batch, until the connection has taken it.
A reader that takes nothing is dropped by the protocol (see `http`), and may resume. Two things
surprise: a send to a client that has left succeeds silently, so leaving is watched for beside;
and nothing is sent before the first event or the first heartbeat, so that an early failure can
still be an HTTP status.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from litestar.types import ASGIApp, HTTPResponseBodyEvent, Receive, Scope, Send

from proxy.downstream.auth import must_not_be_revoked
from proxy.downstream.exchange import Headers, common_headers, request_id
from proxy.downstream.http import Wire, wire_of
from proxy.downstream.leaving import unless_left
from proxy.errors import StreamGone
from proxy.relay.cursor import Cursor
from proxy.relay.tail import Batch
from proxy.wire.sse import encode_batch, encode_first

_RETRY_MS = 1000
"""What a browser waits before it comes back. Chosen: the library's first step."""

_AWAY_MS = 250
_AWAY_SPREAD_MS = 1500
"""When those come back who were sent away: not at once, and not all at the same moment."""

_FLUSH_S = 1.0
"""How long a connection that is broken off may take to send what it has."""


class SseSettings(msgspec.Struct, frozen=True):
    """What a response is told by dialect and config."""

    heartbeat: bytes
    heartbeat_s: float


class EventStream:
    """The response. `instead`, if given, may answer in its place (see `generate`)."""

    def __init__(
        self,
        cursor: Cursor,
        settings: SseSettings,
        headers: Sequence[tuple[str, str]],
        *,
        instead: Callable[[], Awaitable[ASGIApp | None]] | None = None,
    ) -> None:
        self._cursor = cursor
        self._settings = settings
        self._headers = headers
        self._instead = instead

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send to the end of the stream, or of the reader."""
        cursor, wire = self._cursor, wire_of(scope)
        left = wire.watch(cursor.close)
        try:
            if self._instead is not None:
                ask, self._instead = self._instead, None
                other = await unless_left(ask(), left)
                must_not_be_revoked(cursor)
                if cursor.is_closed:
                    return
                if other is not None:
                    await other(scope, receive, send)
                    return
            must_not_be_revoked(cursor)
            await self._begin(scope, send)
            # Litestar looks into each message for the start, which it has seen now.
            send = scope["state"].get("send", send)
            await self._send_events(wire, send)
            if cursor.is_revoked:
                await break_off(wire, left)
                return
            if cursor.is_sent_away and not (cursor.is_at_end or cursor.is_closed):
                if cursor.is_bound:
                    await break_off(wire, left)
                    return
                await send(_come_back(scope))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            cursor.close()
            wire.unwatch()

    async def _begin(self, scope: Scope, send: Send) -> None:
        """Send status and headers, and let go of what was only needed for them."""
        scope["state"]["status"] = 200
        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": self._start_headers(scope),
        }
        await send(start)  # type: ignore[arg-type]
        self._headers = ()

    def _start_headers(self, scope: Scope) -> Headers:
        headers = common_headers(scope)
        headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
        headers.append((b"x-accel-buffering", b"no"))
        headers.extend((name.encode(), value.encode()) for name, value in self._headers)
        return headers

    async def _send_events(self, wire: Wire, send: Send) -> None:
        cursor, settings = self._cursor, self._settings
        is_first = True
        while True:
            try:
                batch = await cursor.next(settings.heartbeat_s)
            except StreamGone:
                return
            if batch is not None:
                frames = first_frames(batch) if is_first else batch_frames(batch)
                is_first = False
            elif cursor.is_closed or cursor.is_at_end or cursor.is_sent_away:
                return
            else:
                frames = settings.heartbeat
            await send({"type": "http.response.body", "body": frames, "more_body": True})
            if cursor.is_sent_away or (batch is not None and batch.ending is not None):
                return
            if wire.is_behind:
                del frames, batch  # a client that takes nothing holds them once, in its connection
                await wire.taken()


def batch_frames(batch: Batch) -> bytes:
    """A batch on the wire, made once for all readers of it."""
    if batch.frames is None:
        batch.frames = encode_batch(batch.events)
    return batch.frames


def first_frames(batch: Batch) -> bytes:
    """The same with the `retry:` that rides in a connection's first event."""
    return encode_first(batch.events[0], _RETRY_MS) + encode_batch(batch.events[1:])


def _come_back(scope: Scope) -> HTTPResponseBodyEvent:
    """The last that a reader hears who is sent elsewhere: when to come back."""
    spread_ms = int(request_id(scope)[-4:], 16) * _AWAY_SPREAD_MS // 0x10000
    body = b"retry: %d\n\n" % (_AWAY_MS + spread_ms)
    return {"type": "http.response.body", "body": body, "more_body": True}


async def break_off(wire: Wire, left: asyncio.Future[None]) -> None:
    """Close the connection in the middle of the answer, once the client has what was sent.

    To an SDK that cannot resume, an orderly end would be the end of the answer.
    """
    wire.close()
    await asyncio.wait({left}, timeout=_FLUSH_S)
    wire.abort()
