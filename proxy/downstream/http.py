"""uvicorn's HTTP/1.1 protocol, with the limits that it lacks, and a handle on the socket.

uvicorn with httptools takes headers without end, and waits for them for ever; and an ASGI
application can neither see what a client has not taken yet nor drop a connection. All four
are mended here. A connection becomes a WebSocket only where one is served and there is room for
it: any other wish to upgrade is passed over, and answered as the plain request that it also is.
"""

import asyncio
from typing import Any, ClassVar, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.downstream.websocket.protocol import WebSocketProtocol

EXTENSION = "midstream.wire"
"""The key of a `Wire` in ``scope["extensions"]``."""
WS_PATH = "/v1/ws"
"""Where a connection may become a WebSocket."""


class Wire:
    """What a response may know of, and do to, its connection."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def unsent_bytes(self) -> int:
        """What was given to the connection, and has not gone to the kernel."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close the connection once it has sent what it has; of an answer there is no more."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection now, with what is unsent."""
        self._transport.abort()


class HttpLimits(NamedTuple):
    """What one request may take."""

    header_bytes_max: int
    header_count_max: int
    headers_s: float
    """From the first byte of a request (or the opening of the connection) to its last header."""
    body_s: float
    """From the last header to the last byte of the body."""
    linger_s: float
    """A client that takes nothing of the end of its answer for so long is dropped."""


class LimitedProtocol(HttpToolsProtocol):
    """See the module. `limits` is set by `limited_protocol`."""

    limits: HttpLimits
    keeps_alive: ClassVar[bool] = True
    """Whether a connection may be used again; not when the process is about to stop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._is_receiving = False
        self._is_refused = False
        self._is_upgrading = False
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its deadline."""
        super().connection_made(transport)
        self._arm(self.limits.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the deadline back."""
        self._disarm()
        super().connection_lost(exc)

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
        wire: Any = Wire(self.transport)  # ASGI's types know only dictionaries here
        self.scope["extensions"] = {EXTENSION: wire}

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
        if not self.keeps_alive and self.cycle is not None:
            self.cycle.keep_alive = False
        if self.parser.should_upgrade() and not self._is_upgrading:
            self.cycle.keep_alive = False  # the parser takes nothing after a wish to upgrade

    def on_message_complete(self) -> None:
        """The request is here."""
        self._is_receiving = False
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is in the hands of the connection: see that the client takes it."""
        self._watch_unsent()
        super().on_response_complete()

    def _watch_unsent(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent > 0 and self._deadline is None:
            self._unsent = unsent
            self._deadline = self.loop.call_later(self.limits.linger_s, self._expire_unsent)

    def _expire_unsent(self) -> None:
        """Drop a client that has taken nothing of what is left for `linger_s`."""
        self._deadline = None
        if 0 < self.transport.get_write_buffer_size() < self._unsent:
            self._watch_unsent()
        elif self.transport.get_write_buffer_size() > 0:
            self.transport.abort()

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
            self.url.partition(b"?")[0] == WS_PATH.encode()
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
        self.connections.discard(self)
        protocol = WebSocketProtocol(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        protocol.take_over(self.url, self.headers)
        self.transport.set_protocol(protocol)

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
    return type("MidstreamProtocol", (LimitedProtocol,), {"limits": limits})
