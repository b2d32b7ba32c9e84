"""uvicorn's HTTP/1.1 protocol, with the limits that it lacks, and a handle on the connection.

uvicorn with httptools takes headers without end, and waits for them for ever; it keeps what a
client does not take for as long as the client likes; and an ASGI application can neither drop a
connection nor, without a task of its own, hear that the client has left. All five are mended
here. A connection becomes a WebSocket only where one is served and there is room for it: any
other wish to upgrade is passed over, and answered as the plain request that it also is. What
surprises: whatever the kernel does not take pauses the answer at once, so a client that takes
nothing holds one batch here, and a client that takes all costs no timer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, cast

from litestar.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.downstream.lean import Flow, Pipeline
from proxy.downstream.stall import Stall
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.downstream.websocket.waiting import Gate

EXTENSION = "midstream.wire"
"""The key of a `Wire` in ``scope["extensions"]``."""
WS_PATH = "/v1/ws"
LANES_PATH = "/v1/responses"
_WEBSOCKET_PATHS = frozenset({WS_PATH.encode(), LANES_PATH.encode()})
"""Where a connection may become a WebSocket."""


class Wire:
    """What a response may know of, and do to, its connection."""

    __slots__ = ("_flow", "_left", "_on_left", "_transport")

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow
        self._left: asyncio.Future[None] | None = None
        self._on_left: Callable[[], None] | None = None

    def watch(self, on_left: Callable[[], None]) -> asyncio.Future[None]:
        """Call `on_left`, and resolve the future returned, when the client has left.

        The request's body must have been read, and `unwatch` be called in the end.
        """
        self._left = asyncio.get_running_loop().create_future()
        self._on_left = on_left
        self._flow.resume_reading()  # what is not read has no end to be noticed
        if self._transport.is_closing():
            self.lost()
        return self._left

    def unwatch(self) -> None:
        """The response is over."""
        self._left = self._on_left = None

    def lost(self) -> None:
        """Called by the protocol: the connection is no more."""
        left, on_left = self._left, self._on_left
        self.unwatch()
        if left is not None and on_left is not None:
            left.set_result(None)
            on_left()

    @property
    def is_behind(self) -> bool:
        """Whether the kernel has not taken everything that was sent."""
        return self._flow.write_paused

    async def taken(self) -> None:
        """Wait until it has, or the connection is lost."""
        await self._flow.drain()

    def close(self) -> None:
        """Close the connection once it has sent what it has; of an answer there is no more."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection now, with what is unsent."""
        self._transport.abort()


def wire_of(scope: Scope) -> Wire:
    """The connection that a request came on."""
    extensions: Any = scope.get("extensions") or {}
    wire: Wire | None = extensions.get(EXTENSION)
    assert wire is not None, "served by our own protocol"
    return wire


class HttpLimits(NamedTuple):
    """What one request may take."""

    header_bytes_max: int
    header_count_max: int
    headers_s: float
    """From the first byte of a request (or the opening of the connection) to its last header."""
    body_s: float
    """From the last header to the last byte of the body."""
    stall_s: float
    """A client that takes nothing of what is unsent for so long is dropped. It may resume."""


class LimitedProtocol(HttpToolsProtocol):
    """See the module. `limits` is set by `limited_protocol`."""

    # Slots, because a dictionary of more than 30 attributes takes 1 KiB more than one of fewer.
    __slots__ = (
        "_deadline",
        "_header_bytes",
        "_is_receiving",
        "_is_refused",
        "_is_upgrading",
        "_stall",
        "_wire",
    )
    limits: HttpLimits
    keeps_alive: ClassVar[bool] = True
    """Whether a connection may be used again; not when the process is about to stop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        super().__init__(*args, **kwargs)
        self.pipeline = cast("deque[Any]", Pipeline())
        self._header_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._is_receiving = False
        self._is_refused = False
        self._is_upgrading = False
        self._wire: Any = None
        self._stall: Stall = None  # type: ignore[assignment]  # with the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its deadline."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._wire = Wire(transport, self.flow)
        self._stall = Stall(transport, self.limits.stall_s)
        self._arm(self.limits.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the deadlines back, and tell who watches."""
        self._disarm()
        self._stall.end()
        self._unset_keepalive_if_required()  # uvicorn forgets it of a connection that was reset
        super().connection_lost(exc)
        self._wire.lost()

    def data_received(self, data: bytes) -> None:
        """A request that follows on the same connection gets its own deadline."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not (self._is_receiving or is_answering) and self._deadline is None:
            self._arm(self.limits.headers_s)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Count from nothing, and hand out the wire."""
        super().on_message_begin()
        self._header_bytes = 0
        self._is_receiving = True
        self.scope["extensions"] = {EXTENSION: self._wire}

    def on_url(self, url: bytes) -> None:
        """Count it with the headers."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count it."""
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)
        if len(self.headers) > self.limits.header_count_max:
            self._refuse()

    def on_headers_complete(self) -> None:
        """From here on the body's deadline runs."""
        self._arm(self.limits.body_s)
        self._is_upgrading = self.parser.should_upgrade() and self._may_be_websocket()
        super().on_headers_complete()
        if self._is_upgrading:
            return
        gate = Gate()
        gate.clear()
        self.cycle.message_event = cast("asyncio.Event", gate)
        if not self.keeps_alive or self.parser.should_upgrade():
            self.cycle.keep_alive = False  # the parser takes nothing after a wish to upgrade

    def on_message_complete(self) -> None:
        """The request is here."""
        self._is_receiving = False
        self._disarm()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Something is unsent: see that the client takes of it."""
        super().pause_writing()
        self._stall.begin()

    def resume_writing(self) -> None:
        """Everything is sent."""
        self._stall.end()
        super().resume_writing()

    # --- WebSocket ----------------------------------------------------------------------------

    def _may_be_websocket(self) -> bool:
        """Whether this is a handshake of RFC 6455 4.1, for what is served, and there is room.

        Not while an earlier answer is still under way on the connection.
        """
        headers = dict(self.headers)
        is_idle = self.cycle is None or self.cycle.response_complete
        is_full = self.limit_concurrency is not None and self.limit_concurrency <= max(
            len(self.connections), len(self.tasks)
        )
        return (
            self.url.partition(b"?")[0] in _WEBSOCKET_PATHS
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self._get_upgrade() == b"websocket"
            and headers.get(b"sec-websocket-version") == b"13"
            and b"sec-websocket-key" in headers
            and is_idle
            and not is_full
        )

    def _should_upgrade(self) -> bool:
        return self._is_upgrading

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: the answer says it."""

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, and what its request said; nothing here waits any more."""
        self._disarm()
        self.transport.set_write_buffer_limits()  # as they were: it looks after itself
        self.connections.discard(self)
        protocol = WebSocketProtocol(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        protocol.take_over(self.url, self.headers)
        self.transport.set_protocol(protocol)
        self.parser = None  # type: ignore[assignment]  # it holds us: let go at once, not in time

    # --- limits -------------------------------------------------------------------------------

    def _count(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > self.limits.header_bytes_max:
            self._refuse()

    def _refuse(self) -> None:
        """More headers than allowed: stop the parser, which asks for an answer to that."""
        self._is_refused = True
        raise HeadersTooLarge

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers when the parser stops; 431 if that was our doing."""
        self._disarm()
        if not self._is_refused:
            super().send_400_response(msg)
            return
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
            b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        """The request did not come in time."""
        self._deadline = None
        self.transport.abort()


class HeadersTooLarge(Exception):
    """Stops httptools in the middle of a message; never leaves this module's parser."""


def limited_protocol(limits: HttpLimits) -> type[LimitedProtocol]:
    """The protocol class for uvicorn's ``http=``."""
    return type("MidstreamProtocol", (LimitedProtocol,), {"limits": limits, "__slots__": ()})
