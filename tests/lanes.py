"""Talking on a Responses WebSocket with nothing of the product's code: aiohttp."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.talking import Line

ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})


class LaneTalk(Line):
    """One connection. What comes is kept as text, byte for byte."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__(ws)
        self.heard: dict[str | None, list[str]] = {}
        """What came in each lane, and has not been asked for."""

    async def create(self, model: str, lane: str | None = None, **fields: object) -> None:
        """Ask for a response."""
        await self.say("response.create", lane, **{"model": model, "input": "hi", **fields})

    async def say(self, kind: str, lane: str | None = None, **fields: object) -> None:
        """Send one message."""
        named = {} if lane is None else {"stream_id": lane}
        await self.ws.send_json({"type": kind, **named, **fields})

    async def hear(self) -> tuple[str | None, str]:
        """The next message, and its lane."""
        text = await self.ws.receive_str(timeout=20)
        return json.loads(text).get("stream_id"), text

    async def next(self, lane: str | None = None) -> dict[str, Any]:
        """The next message in a lane."""
        while not self.heard.get(lane):
            name, text = await self.hear()
            self.heard.setdefault(name, []).append(text)
        said: dict[str, Any] = json.loads(self.heard[lane].pop(0))
        return said

    async def to_the_end(self, lane: str | None = None) -> list[str]:
        """The texts of all that comes in a lane, with the one that ends a response."""
        texts: list[str] = []
        while not texts or json.loads(texts[-1])["type"] not in ENDS:
            while not self.heard.get(lane):
                name, text = await self.hear()
                self.heard.setdefault(name, []).append(text)
            texts.append(self.heard[lane].pop(0))
        return texts

    async def error(self, lane: str | None = None) -> dict[str, Any]:
        """The next message in a lane, which is an error."""
        said = await self.next(lane)
        assert said["type"] == "error", said
        return said


@asynccontextmanager
async def lanes(
    http: aiohttp.ClientSession, url: str, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[LaneTalk]:
    """A connection, as it is after the handshake."""
    async with http.ws_connect(f"{url}/v1/responses", headers=headers, max_msg_size=0) as ws:
        yield LaneTalk(ws)


def without_lane(text: str, lane: str | None) -> str:
    """The journal's event, of a message in a lane."""
    if lane is None:
        return text
    tail = f',"stream_id":"{lane}"}}'
    assert text.endswith(tail), text[-300:]
    return text.removesuffix(tail) + "}"


async def journal_of(
    http: aiohttp.ClientSession, url: str, tag: str, *, headers: Mapping[str, str] | None = None
) -> str:
    """The stream that was made with this tag."""
    async with http.get(f"{url}/v1/streams?tag={tag}", headers=headers) as answer:
        (found,) = (await answer.json())["data"]
        return str(found["id"])
