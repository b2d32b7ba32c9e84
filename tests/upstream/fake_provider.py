"""A provider that does exactly what it is told: an HTTP/1.1 server on loopback.

For each request it plays one script: bytes, pauses, an end or a reset, in that order. It keeps
what it was asked, and knows at each moment which connections are open, so a test can say when a
client must have left. It understands nothing: a script writes its own status line and framing.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import assert_never, cast

import msgspec


class Send(msgspec.Struct, frozen=True):
    """Write these bytes, as they are."""

    data: bytes


class Sleep(msgspec.Struct, frozen=True):
    """Do nothing for a while."""

    seconds: float


class Stall(msgspec.Struct, frozen=True):
    """Never do anything again on this connection."""


class Finish(msgspec.Struct, frozen=True):
    """Close the connection in good order (FIN)."""


class Reset(msgspec.Struct, frozen=True):
    """Close the connection with a RST."""


class Deaf(msgspec.Struct, frozen=True):
    """As the first step: read nothing more, not even the request's body."""


Step = Send | Sleep | Stall | Finish | Reset | Deaf


class Received(msgspec.Struct, frozen=True):
    """One request, as it came."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    connection: int
    """Which connection it came on, counted from 1."""

    def header(self, name: str) -> str | None:
        """The one value of a header; None if it is not there."""
        values = [value for known, value in self.headers if known == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


# --- what a script is made of ---------------------------------------------------------------------


def head(
    status: int = 200,
    headers: Sequence[tuple[str, str]] = (("content-type", "text/event-stream"),),
    *,
    framing: str = "transfer-encoding: chunked",
) -> bytes:
    """A status line and headers. `framing` is the header that says how the body ends, or ""."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, framing] if framing else lines).encode("latin-1") + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def streamed(pieces: Iterable[bytes], *, pause_s: float = 0.0) -> list[Step]:
    """A whole, good answer of one chunk for each piece."""
    steps: list[Step] = [Send(head())]
    for piece in pieces:
        steps.append(Send(chunk(piece)))
        if pause_s:
            steps.append(Sleep(pause_s))
    return [*steps, Send(LAST_CHUNK)]


def whole(
    status: int,
    body: bytes,
    headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),),
) -> list[Step]:
    """An answer of known length."""
    return [Send(head(status, headers, framing=f"content-length: {len(body)}") + body)]


# --- the server -----------------------------------------------------------------------------------


class FakeProvider:
    """See the module. `async with FakeProvider.running() as provider`."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self.connections = 0
        """How many were ever accepted."""
        self.open = 0
        """How many are open now: neither side has closed."""
        self.steps_played = 0
        self.bytes_heard = 0
        self._alive: set[_Connection] = set()
        self._scripts: deque[Sequence[Step]] = deque()
        self._default: Sequence[Step] = (Stall(),)
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def running(cls, tls: ssl.SSLContext | None = None) -> AsyncIterator["FakeProvider"]:
        """Listens on a free port while inside, then cuts what is still open."""
        provider, loop = cls(), asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Connection(provider, provider._alive), "127.0.0.1", 0, ssl=tls, backlog=4096
        )
        port = server.sockets[0].getsockname()[1]
        provider.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        try:
            yield provider
        finally:
            server.close()
            tasks = [connection.task for connection in provider._alive if connection.task]
            provider.cut_all()
            await asyncio.gather(*tasks, return_exceptions=True)

    def plays(self, *scripts: Sequence[Step]) -> None:
        """The next requests are answered by these, in turn."""
        self._scripts.extend(scripts)

    def always_plays(self, script: Sequence[Step]) -> None:
        """What answers when no other script is left. Unset, it stalls."""
        self._default = script

    def cut_all(self) -> None:
        """Drop every open connection."""
        for connection in list(self._alive):
            connection.cut()

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> None:
        """Wait for something to become true of this provider; TimeoutError if it does not."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def next_script(self) -> Sequence[Step]:
        """For a connection."""
        return self._scripts.popleft() if self._scripts else self._default

    def note(self) -> None:
        """For a connection: something has changed."""
        self._changed.set()


class _Connection(asyncio.Protocol):
    def __init__(self, provider: FakeProvider, alive: set["_Connection"]) -> None:
        self._provider = provider
        self._alive = alive
        self._buffer = bytearray()
        self._is_over = False
        self._fresh = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not say so
        self._provider.connections += 1
        self._provider.open += 1
        self._number = self._provider.connections
        self._alive.add(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())
        self._provider.note()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._provider.bytes_heard += len(data)
        self._provider.note()
        self._fresh.set()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._leave()
        self._alive.discard(self)
        if self.task is not None:
            self.task.cancel()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._provider.open -= 1
        self._fresh.set()
        self._provider.note()

    async def _serve(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self._answer()

    async def _answer(self) -> None:
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        raw, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
        size = int(dict(headers).get("content-length", "0"))
        self._buffer = bytearray(rest)
        script = self._provider.next_script()
        if isinstance(script[0], Deaf):
            assert self._transport is not None
            self._transport.pause_reading()
        else:
            while len(self._buffer) < size:
                await self._more()
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        received = Received(method, path, headers, body, self._number)
        self._provider.requests.append(received)
        self._provider.note()
        for step in script:
            await self._play(step)
            self._provider.steps_played += 1
            self._provider.note()

    async def _more(self) -> None:
        if self._is_over:
            raise ConnectionResetError
        self._fresh.clear()
        await self._fresh.wait()

    async def _play(self, step: Step) -> None:
        assert self._transport is not None
        match step:
            case Send(data):
                self._transport.write(data)
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Stall():
                await asyncio.Event().wait()
            case Finish():
                self._transport.close()
                raise ConnectionResetError
            case Reset():
                # give the kernel what was written: a reset throws away what it still holds
                await asyncio.sleep(0.02)
                plug = self._transport.get_extra_info("socket")
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._transport.abort()
                raise ConnectionResetError
            case Deaf():
                pass
            case _:
                assert_never(step)
