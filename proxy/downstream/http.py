"""uvicorn's HTTP/1.1 protocol, with the limits that it lacks, and a handle on the connection.

uvicorn with httptools takes headers without end, and waits for them for ever; it keeps what a
client does not take for as long as the client likes; and an ASGI application can neither drop a
connection nor, without a task of its own, hear that the client has left. All five are mended
here. What surprises: whatever the kernel does not take pauses the answer at once, so a client
that takes nothing holds one batch here, and a client that takes all costs no timer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from litestar.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.downstream.stall import Stall

EXTENSION = "midstream.wire"
"""The key of a `Wire` in ``scope["extensions"]``."""


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


class _Flag:
    """An `asyncio.Event` for one waiter, in a tenth of the memory: most are never waited for."""

    __slots__ = ("_future", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._is_set = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        if not self._is_set:
            assert self._future is None or self._future.done(), "one waiter"
            self._future = asyncio.get_running_loop().create_future()
            await self._future


class _Flow(FlowControl):
    """uvicorn's, with a smaller event."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        flag: Any = _Flag()
        flag.set()
        self._is_writable_event = flag


class _Pipeline(list[Any]):
    """uvicorn's deque of requests that wait for the one before: an empty deque takes 760 bytes."""

    __slots__ = ()

    def appendleft(self, waiting: object) -> None:
        self.insert(0, waiting)


class LimitedProtocol(HttpToolsProtocol):
    """See the module. `limits` is set by `limited_protocol`."""

    # Slots, because a dictionary of more than 30 attributes takes 1 KiB more than one of fewer.
    __slots__ = (
        "_deadline",
        "_header_bytes",
        "_is_receiving",
        "_is_refused",
        "_stall",
        "_wire",
    )
    limits: HttpLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        super().__init__(*args, **kwargs)
        self.pipeline = cast("deque[Any]", _Pipeline())
        self._header_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._is_receiving = False
        self._is_refused = False
        self._wire: Any = None
        self._stall: Stall = None  # type: ignore[assignment]  # with the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its deadline."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
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
        super().on_headers_complete()
        if self.cycle is not None:  # of a request that is upgraded there is none
            flag: Any = _Flag()
            self.cycle.message_event = flag

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
