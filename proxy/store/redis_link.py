"""A connection to one Redis server: bytes out, replies in, one caller at a time.

It never retries, never reconnects and never hands a reply to anybody but the caller who is
waiting: whatever breaks an exchange in the middle, cancellation too, closes the connection.
What surprises: it is not redis-py's. That costs 3 us more for each reply, and packing with
hiredis 2 us more for each command, on the path that every token takes; redis-py still reads the
URL and makes the TLS context. RESP2 is spoken, where every command has exactly one reply.
"""

import asyncio
import contextlib
import copy
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, cast

import hiredis
from redis.asyncio.connection import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.exceptions import RedisError

from proxy.errors import ConfigInvalid

Reply: TypeAlias = "int | bytes | hiredis.ReplyError | list[Reply] | None"

_NOTHING_YET: Final = object()


def pack(*arguments: bytes | str | int) -> bytes:
    """One command, as it goes over the wire."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Link(asyncio.Protocol):
    """See the module. Made by `Endpoint.connect`.

    Either somebody asks with `exchange`, or, once `listen` was called, every reply is a push.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._reader = hiredis.Reader(notEnoughData=_NOTHING_YET)
        self._transport: asyncio.Transport | None = None
        self._awaited = 0
        self._replies: list[Reply] = []
        self._future: asyncio.Future[None] | None = None
        self._on_push: Callable[[Reply], None] | None = None
        self._on_loss: Callable[[str], None] | None = None

    # --- for its user -------------------------------------------------------------------------

    async def exchange(self, packed: bytes, count: int) -> list[Reply]:
        """Send `count` commands, and wait for their replies; errors among them are returned.

        Raises ConnectionError. The connection is closed if this does not run to its end.
        """
        assert self._future is None, "one caller at a time"
        if self.is_closed:
            raise ConnectionResetError("the connection was closed")
        self._awaited = count
        self._future = asyncio.get_running_loop().create_future()
        try:
            self.send(packed)
            await self._future
        except BaseException:
            self.abort("an exchange was broken off")
            raise
        replies, self._replies, self._future = self._replies, [], None
        return replies

    def listen(self, on_push: Callable[[Reply], None], on_loss: Callable[[str], None]) -> None:
        """From now on call `on_push` with every reply, and once `on_loss` with the reason."""
        self._on_push = on_push
        self._on_loss = on_loss
        if self.is_closed:
            on_loss("the connection was closed")

    def send(self, packed: bytes) -> None:
        """Send without waiting, if it is still open. Only for those who listen."""
        if self._transport is not None and not self.is_closed:
            self._transport.write(packed)

    def abort(self, reason: str) -> None:
        """Close at once. Whoever waits is told `reason`."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()
        if self._future is not None and not self._future.done():
            self._future.set_exception(ConnectionResetError(reason))
        if self._on_loss is not None:
            self._on_loss(reason)

    # --- for the event loop -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes: some replies, or parts of them."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING_YET:
                self._take(reply)
        except hiredis.ProtocolError as error:
            self.abort(f"it does not speak Redis: {error}")

    def _take(self, reply: Reply) -> None:
        if self._on_push is not None:
            if not self.is_closed:
                self._on_push(reply)
        elif len(self._replies) < self._awaited and self._future is not None:
            self._replies.append(reply)
            if len(self._replies) == self._awaited and not self._future.done():
                self._future.set_result(None)
        else:
            self.abort("it answered what nobody had asked")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by either side."""
        self.abort(str(exc) if exc is not None else "the server closed the connection")


class Way(Protocol):
    """How to reach the server that is to be asked, wherever it is by now."""

    async def connect(self) -> Link:
        """A link to it. Raises OSError. The caller bounds the time."""
        ...


class Endpoint:
    """Where one server is, and how to be let in: a ``redis://``, ``rediss://`` or ``unix://`` URL.

    Raises `ConfigInvalid` for one that cannot be understood.
    """

    def __init__(self, url: str) -> None:
        try:
            options = dict(parse_url(url))
            kind = cast("type[Connection]", options.pop("connection_class", Connection))
            # Never connected: it only knows what all the options of a URL mean.
            self._settings = kind(**options, driver_info=None)  # type: ignore[arg-type]
            self._ssl = self._read_ssl()
            is_local = isinstance(self._settings, UnixDomainSocketConnection)
            self.host, self.port = (
                ("", 0) if is_local else (self._settings.host, self._settings.port)
            )
        except (ValueError, TypeError, OSError, RedisError) as error:
            raise ConfigInvalid((f"[store] url cannot be used: {error}",)) from error

    def at(self, host: str, port: int) -> "Endpoint":
        """Another server that lets in by the same credentials, as this one does."""
        other = copy.copy(self)
        other.host, other.port = host, port
        return other

    def _read_ssl(self) -> ssl.SSLContext | None:
        if isinstance(self._settings, SSLConnection):
            return self._settings.ssl_context.get()
        return None

    async def connect(self) -> Link:
        """See `Way.connect`."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        if isinstance(settings, UnixDomainSocketConnection):
            _, link = await loop.create_unix_connection(Link, settings.path)
        else:
            transport, link = await loop.create_connection(
                Link, self.host, self.port, ssl=self._ssl
            )
            sock = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it is an early warning, not a need
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await self._introduce(link)
        return link

    async def _introduce(self, link: Link) -> None:
        settings = self._settings
        commands = []
        if settings.password:
            user = [settings.username] if settings.username else []
            commands.append(pack("AUTH", *user, settings.password))
        if settings.db:
            commands.append(pack("SELECT", settings.db))
        if not commands:
            return
        for reply in await link.exchange(b"".join(commands), len(commands)):
            if isinstance(reply, hiredis.ReplyError):
                link.abort("it was refused")
                raise ConnectionRefusedError(str(reply))
