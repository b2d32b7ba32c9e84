"""Reading a stream as clients do, with nothing of the product's code: aiohttp and a few lines."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp


class Seen(NamedTuple):
    """One event as it arrived. `data` is the text of its JSON, white space and all."""

    id: int
    name: str
    data: str


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that leaves nothing behind."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as made:
        yield made


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def parse_sse(raw: bytes) -> list[Seen]:
    """The whole events of a body, after the rules of EventSource, ids included."""
    seen = []
    for block in raw.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        fields: dict[str, str] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        if "data" in fields and "id" in fields:
            seen.append(Seen(int(fields["id"]), fields.get("event", ""), fields["data"]))
    return seen


async def ask(
    http: aiohttp.ClientSession, url: str, model: str, *, headers: Mapping[str, str] | None = None
) -> str:
    """Start an answer without waiting for it; its stream id."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    asked = {"Prefer": "respond-async", **(headers or {})}
    async with http.post(f"{url}/v1/chat/completions", json=body, headers=asked) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["id"])


async def read_sse(
    http: aiohttp.ClientSession, url: str, stream: str, after: int, take: int | None
) -> list[Seen]:
    """Events after `after`: the next `take`, then the line is cut; or all to the end."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    address = f"{url}/v1/streams/{stream}/events"
    raw = b""
    async with http.get(address, headers=headers) as answer:
        if answer.status == 204:
            return []
        assert answer.status == 200, await answer.text()
        if take == 0:
            return []
        async for chunk in answer.content.iter_any():
            raw += chunk
            if take is not None and raw.count(b"\n\n") >= take and len(parse_sse(raw)) >= take:
                answer.close()
                break
    seen = parse_sse(raw)
    return seen if take is None else seen[:take]


async def read_poll(
    http: aiohttp.ClientSession, url: str, stream: str, after: int, take: int | None
) -> list[Seen]:
    """The same over long-poll."""
    seen: list[Seen] = []
    headers = {"Accept": "application/json"}
    while take is None or len(seen) < take:
        limit = 1000 if take is None else take - len(seen)
        address = f"{url}/v1/streams/{stream}/events?after={after}&wait=5&limit={limit}"
        async with http.get(address, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            page = _exactly(await answer.text())
        seen.extend(page.seen)
        after = page.last_id
        if page.is_ended:
            break
    return seen


class _Page(NamedTuple):
    seen: list[Seen]
    last_id: int
    is_ended: bool


def _exactly(text: str) -> _Page:
    """A poll's answer, with the data of each event as the bytes that were sent."""
    answer = json.loads(text)
    seen = []
    position = text.index("[") + 1
    for event in answer["events"]:
        data, position = _data(text, position, event["data"])
        seen.append(Seen(event["id"], event["event"], data))
    return _Page(seen, answer["last_id"], answer["ended"])


def _data(text: str, position: int, parsed: object) -> tuple[str, int]:
    """The next event's data as it was sent, and where it ends."""
    start = text.index('"data":', position) + len('"data":')
    value, end = json.JSONDecoder().raw_decode(text, start)
    assert value == parsed
    return ("[DONE]" if value == "[DONE]" else text[start:end]), end


async def read_ws(
    http: aiohttp.ClientSession, url: str, stream: str, after: int, take: int | None
) -> list[Seen]:
    """The same over WebSocket, on a connection of its own."""
    seen: list[Seen] = []
    async with http.ws_connect(f"{url}/v1/ws", protocols=["midstream.v1"]) as ws:
        assert (await ws.receive_json())["type"] == "ready"
        await ws.send_json({"type": "subscribe", "stream": stream, "after": after})
        while take is None or len(seen) < take:
            text = await ws.receive_str()
            said = json.loads(text)
            if said["type"] == "end":
                assert said["last_id"] == (seen[-1].id if seen else after)
                break
            assert said["type"] == "event", said
            assert said["stream"] == stream
            data, _ = _data(text, 0, said["data"])
            seen.append(Seen(said["id"], said["event"], data))
    return seen


READERS = {"sse": read_sse, "poll": read_poll, "ws": read_ws}
