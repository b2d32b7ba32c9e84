"""A proxy of the kind that companies have: an HTTP/1.1 server that makes tunnels."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Tunnels:
    """What it was asked, and where it is."""

    def __init__(self, status: int) -> None:
        self.url = ""
        self.heads: list[str] = []
        self._status = status

    @classmethod
    @asynccontextmanager
    async def running(
        cls, tls: ssl.SSLContext | None = None, *, status: int = 200
    ) -> AsyncIterator["Tunnels"]:
        """Answers each CONNECT with `status`, and makes the tunnel if that is 200."""
        tunnels = cls(status)
        server = await asyncio.start_server(tunnels._serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        tunnels.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        try:
            yield tunnels
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        writer.write(b"HTTP/1.1 %d Whatever\r\n\r\n" % self._status)
        if self._status == 200:
            host, _, port = head.split()[1].rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()
