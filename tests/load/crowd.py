"""Many readers on one machine, each as lean as it can be: a raw connection, and two numbers.

What surprises: readers of one crowd are told apart by nothing but the stream they read, and a
crowd never parses more of HTTP than the status line.
"""

import asyncio
import resource
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

_SPARE = 200
"""Descriptors of a process beside its readers."""
_TOGETHER = 100
"""Connections that are opened at a time: less than any listening queue holds."""
_PATIENCE_S = 30.0


class TooFewDescriptors(Exception):
    """The machine does not allow so many connections."""

    def __str__(self) -> str:
        needed, allowed = self.args
        return (
            f"{needed} descriptors are needed for each process, and {allowed} are allowed: "
            f"raise the hard limit (ulimit -Hn {needed}), or ask for fewer readers"
        )


def allow_readers(readers: int) -> None:
    """Raise this process's limit of descriptors, and that of those it starts, if need be.

    Raises `TooFewDescriptors`.
    """
    needed = readers + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise TooFewDescriptors(needed, hard)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def address_of(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


class Reader(asyncio.Protocol):
    """Follows one stream, and counts its heartbeats."""

    __slots__ = ("beats", "crowd", "is_answered", "is_open", "transport")

    def __init__(self, crowd: "Crowd") -> None:
        self.crowd = crowd
        self.beats = 0
        self.is_answered = False
        self.is_open = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self.hear(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_open = False

    def answered(self, data: bytes, status: bytes) -> None:
        """The first bytes of the answer."""
        self.is_answered = True
        if not data.startswith(b"HTTP/1.1 " + status):
            self.crowd.refused.append(data[:200])
        self.crowd.answered += 1

    def send(self, data: bytes) -> None:
        assert self.transport is not None, "connected"
        self.transport.write(data)

    def ask(self, stream: str) -> None:
        """Begin to follow."""
        raise NotImplementedError

    def hear(self, data: bytes) -> None:
        """What the server says."""
        raise NotImplementedError


class SseReader(Reader):
    """Over server-sent events."""

    __slots__ = ()

    def ask(self, stream: str) -> None:
        self.send(
            f"GET /v1/streams/{stream}/events HTTP/1.1\r\nhost: {self.crowd.host}\r\n"
            "accept: text/event-stream\r\n\r\n".encode()
        )

    def hear(self, data: bytes) -> None:
        if not self.is_answered:
            self.answered(data, b"200")
        self.beats += data.count(_BEAT)


class WebSocketReader(Reader):
    """Over a WebSocket, of which only pings are looked at, and answered."""

    __slots__ = ("rest", "stream")

    def ask(self, stream: str) -> None:
        self.rest = b""
        self.stream = stream
        self.send(
            f"GET /v1/ws HTTP/1.1\r\nhost: {self.crowd.host}\r\nupgrade: websocket\r\n"
            "connection: upgrade\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "sec-websocket-protocol: midstream.v1\r\n\r\n".encode()
        )

    def hear(self, data: bytes) -> None:
        self.rest += data
        if not self.is_answered and b"\r\n\r\n" in self.rest:
            self.answered(data, b"101")
            self.rest = self.rest.partition(b"\r\n\r\n")[2]
            message = b'{"type":"subscribe","stream":"%b","after":0}' % self.stream.encode()
            self.send(_masked(_TEXT, message))
        while self.is_answered and (frame := _frame(self.rest)) is not None:
            kind, content, self.rest = frame
            if kind == _PING:
                self.beats += 1
                self.send(_masked(_PONG, content))


_BEAT = b": ping\n"
_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A
"""First bytes of frames, each whole in itself (RFC 6455 5.2)."""


def _masked(kind: int, content: bytes) -> bytes:
    """A client's frame of at most 125 bytes, with a mask that changes nothing."""
    return bytes([kind, 0x80 | len(content), 0, 0, 0, 0]) + content


def _frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The first frame of a server: its first byte, its content, what follows; None if not whole."""
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    return data[0], data[start : start + size], data[start + size :]


READERS: dict[str, type[Reader]] = {"sse": SseReader, "ws": WebSocketReader}


class Crowd:
    """Readers of the `streams` of a server, in turn."""

    def __init__(self, url: str, streams: Sequence[str], transport: str) -> None:
        self.host = urlsplit(url).netloc
        self.readers: list[Reader] = []
        self.answered = 0
        self.refused: list[bytes] = []
        """The beginnings of answers that are no success."""
        self._address = address_of(url)
        self._streams = streams
        self._kind = READERS[transport]

    async def grow(self, count: int, per_s: float) -> None:
        """Open `count` more, so many a second at most, and wait until all are answered."""
        loop = asyncio.get_running_loop()
        begun, opened = loop.time(), 0
        while opened < count:
            some = min(_TOGETHER, count - opened)
            await asyncio.gather(*(self._open(len(self.readers) + n) for n in range(some)))
            opened += some
            await asyncio.sleep(max(0.0, begun + opened / per_s - loop.time()))
        async with asyncio.timeout(_PATIENCE_S):
            while self.answered < len(self.readers):
                await asyncio.sleep(0.05)

    async def _open(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        _, reader = await loop.create_connection(lambda: self._kind(self), *self._address)
        self.readers.append(reader)
        reader.ask(self._streams[number % len(self._streams)])

    @property
    def open(self) -> int:
        """How many are still connected."""
        return sum(reader.is_open for reader in self.readers)

    def beats(self) -> list[int]:
        """Heartbeats that each has had."""
        return [reader.beats for reader in self.readers]

    def leave(self) -> None:
        """All close their connections."""
        for reader in self.readers:
            if reader.transport is not None:
                reader.transport.close()
        self.readers.clear()
        self.answered = 0
