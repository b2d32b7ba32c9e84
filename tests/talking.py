"""Talking over a WebSocket as clients do, with nothing of the product's code: aiohttp."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

V1 = "midstream.v1"


class Line:
    """One connection, whatever is spoken there."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def closed(self) -> int:
        """The code of the close that comes next; what is said before it is passed over."""
        while True:
            message = await self.ws.receive(timeout=20)
            if message.type is aiohttp.WSMsgType.CLOSE:
                return int(message.data)
            assert message.type is aiohttp.WSMsgType.TEXT, message


class Talk(Line):
    """One connection to ``/v1/ws``."""

    async def say(self, kind: str, **fields: object) -> None:
        """Send one message."""
        await self.ws.send_json({"type": kind, **fields})

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        said: dict[str, Any] = await self.ws.receive_json(timeout=20)
        return said

    async def ask(self, kind: str, **fields: object) -> dict[str, Any]:
        """Send one message, and get the next one."""
        await self.say(kind, **fields)
        return await self.hear()

    async def hear_to_the_end(self) -> list[dict[str, Any]]:
        """All messages up to and with the next `end`."""
        heard = [await self.hear()]
        while heard[-1]["type"] != "end":
            heard.append(await self.hear())
        return heard


@asynccontextmanager
async def talking(
    http: aiohttp.ClientSession,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    protocols: Sequence[str] = (V1,),
) -> AsyncIterator[Talk]:
    """A connection, as it is after the handshake."""
    async with http.ws_connect(
        f"{url}/v1/ws", protocols=protocols, headers=headers, max_msg_size=0
    ) as ws:
        yield Talk(ws)


@asynccontextmanager
async def talking_openly(http: aiohttp.ClientSession, url: str) -> AsyncIterator[Talk]:
    """A connection to a server with open access, which is ready."""
    async with talking(http, url) as talk:
        assert (await talk.hear())["type"] == "ready"
        yield talk


async def refused(
    http: aiohttp.ClientSession,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    protocols: Sequence[str] = (V1,),
) -> int:
    """The status that a handshake is refused with."""
    try:
        async with talking(http, url, headers=headers, protocols=protocols):
            raise AssertionError("the handshake was not refused")
    except aiohttp.WSServerHandshakeError as error:
        return error.status
