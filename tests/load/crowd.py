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


class SseReader(asyncio.Protocol):
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
        if not self.is_answered:
            self.is_answered = True
            if not data.startswith(b"HTTP/1.1 200"):
                self.crowd.refused.append(data[:200])
            self.crowd.answered += 1
        self.beats += data.count(self.crowd.beat)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_open = False

    def ask(self, request: bytes) -> None:
        """Send the request."""
        assert self.transport is not None, "connected"
        self.transport.write(request)


class Crowd:
    """Readers of the `streams` of a server, in turn."""

    def __init__(self, url: str, streams: Sequence[str], beat: bytes) -> None:
        self.beat = beat
        """What a heartbeat has in it, and nothing else."""
        self.readers: list[SseReader] = []
        self.answered = 0
        self.refused: list[bytes] = []
        """The beginnings of answers that are no success."""
        self._address = address_of(url)
        self._requests = [
            f"GET /v1/streams/{stream}/events HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n"
            "accept: text/event-stream\r\n\r\n".encode()
            for stream in streams
        ]

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
        _, reader = await loop.create_connection(lambda: SseReader(self), *self._address)
        self.readers.append(reader)
        reader.ask(self._requests[number % len(self._requests)])

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
