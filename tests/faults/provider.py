"""A provider that misbehaves on purpose: which way, the model that it is asked for says.

Raw HTTP on loopback. Under ``/good`` it answers well, whatever is asked; elsewhere it plays the
script of the fault that is named before the ``:`` of the model. Faults that come before any
request have a door, a port of their own, for each dialect. It knows of every ask when, and
whether the other side has left: `Ask.over` is what "the connection is closed" means here.
"""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import assert_never, cast

from tests.faults.words import Words, words
from tests.upstream.fake_provider import (
    LAST_CHUNK,
    Deaf,
    Finish,
    Reset,
    Send,
    Sleep,
    Stall,
    Step,
    chunk,
    head,
)

Script = Callable[[Words], Sequence[Step]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_DIALECTS = {"completions": "chat", "messages": "messages", "responses": "responses"}
"""By the last part of the path."""
_TCP_ESTABLISHED = 1
_LOOK_S = 0.02
"""How often it is looked whether somebody has left who is not read from: no event tells."""


class Ask:
    """One request, or one connection through a door."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.over = asyncio.Event()
        """The script has been played to its end, or the client has left."""
        self.left_at: float | None = None
        """When the client had left, if the script had not ended."""


class _Line(asyncio.StreamReaderProtocol):
    """One connection. `gone` is set when the other side has closed it."""

    def __init__(
        self,
        serve: Serve,
    ) -> None:
        super().__init__(asyncio.StreamReader(limit=1 << 22), serve)
        self.gone = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def eof_received(self) -> bool:
        self.gone.set()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class Provider:
    """See the module. `async with Provider.running(…) as provider`."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.url = ""
        self.doors: dict[tuple[str, str], str] = {}
        """The URL of each, by fault and dialect."""
        self._scripts = scripts
        self._asks: dict[tuple[str, str, str], list[Ask]] = {}
        self._changed = asyncio.Event()
        self._lines: set[_Line] = set()

    @classmethod
    @asynccontextmanager
    async def running(
        cls, scripts: Mapping[str, Script], doors: Mapping[str, Script] | None = None
    ) -> AsyncIterator["Provider"]:
        """Listens while inside."""
        provider, loop = cls(scripts), asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:

            async def listen(serve: Serve) -> str:
                server = await loop.create_server(
                    lambda: provider._line(serve), "127.0.0.1", 0, backlog=1024
                )
                stack.callback(server.close)
                return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

            provider.url = await listen(provider._serve)
            for fault, script in (doors or {}).items():
                for dialect in _DIALECTS.values():
                    provider.doors[fault, dialect] = await listen(
                        provider._door(fault, dialect, script)
                    )
            try:
                yield provider
            finally:
                await provider._close()

    def _line(self, serve: Serve) -> "_Line":
        line = _Line(self._served(serve))
        self._lines.add(line)
        return line

    def _served(self, serve: Serve) -> Serve:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
            writer.close()

        return served

    async def _close(self) -> None:
        """Drop every connection, and wait until nobody speaks on one."""
        for line in self._lines:
            if line.transport is not None:
                line.transport.abort()
        await asyncio.gather(*(line.gone.wait() for line in self._lines if line.transport))
        await asyncio.sleep(0)  # who waited for bytes hears of it

    def asks(self, side: str, dialect: str, model: str) -> list[Ask]:
        """What the `bad` or `good` side was asked, in order."""
        return self._asks.get((side, dialect, model), [])

    async def asked(self, side: str, dialect: str, model: str, count: int = 1) -> Ask:
        """The ask of that number, when it has come."""
        async with asyncio.timeout(10):
            while len(self.asks(side, dialect, model)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.asks(side, dialect, model)[count - 1]

    # --- a connection -----------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        path = first.split(" ")[1]
        headers = {name.lower(): value for name, _, value in (x.partition(":") for x in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        model, dialect = body["model"], _DIALECTS[path.rpartition("/")[2]]
        side = "good" if path.startswith("/good/") else "bad"
        said = words(dialect, side)
        script = _well(said) if side == "good" else self._scripts[model.partition(":")[0]](said)
        await self._play(script, writer, self._note(side, dialect, model))

    def _door(self, fault: str, dialect: str, script: Script) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del reader
            ask = self._note("bad", dialect, fault)
            await self._play(script(words(dialect, "bad")), writer, ask)

        return serve

    def _note(self, side: str, dialect: str, model: str) -> Ask:
        ask = Ask()
        self._asks.setdefault((side, dialect, model), []).append(ask)
        self._changed.set()
        return ask

    async def _play(self, script: Sequence[Step], writer: asyncio.StreamWriter, ask: Ask) -> None:
        """To its end, or until the client has left. Raises `ConnectionResetError` if it has."""
        line = cast(_Line, writer.transport.get_protocol())
        is_deaf = isinstance(script[0], Deaf)
        playing = asyncio.ensure_future(_play_all(script, writer))
        leaving = asyncio.ensure_future(_left(writer) if is_deaf else line.gone.wait())
        try:
            await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                ask.left_at = time.monotonic()
                writer.transport.abort()
                raise ConnectionResetError
            playing.result()
        finally:
            playing.cancel()
            leaving.cancel()
            ask.over.set()


async def _left(writer: asyncio.StreamWriter) -> None:
    """The other side has closed, as only the kernel knows while nothing is read."""
    cast(asyncio.Transport, writer.transport).pause_reading()
    plug = writer.get_extra_info("socket")
    while plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED:
        await asyncio.sleep(_LOOK_S)


async def _play_all(script: Sequence[Step], writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    for step in script:
        match step:
            case Send(data):
                writer.write(data)
                await writer.drain()
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Stall():
                await asyncio.Event().wait()
            case Finish():
                transport.close()
                raise ConnectionResetError
            case Reset():
                # give the kernel what was written: a reset throws away what it still holds
                await asyncio.sleep(0.02)
                linger = struct.pack("ii", 1, 0)
                plug = transport.get_extra_info("socket")
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()
                raise ConnectionResetError
            case Deaf():
                pass
            case _:
                assert_never(step)


def _well(said: Words) -> Sequence[Step]:
    return [Send(head() + b"".join(chunk(event) for event in said.events) + LAST_CHUNK)]
