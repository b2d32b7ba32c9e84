"""What clients do to a proxy, each as one short life: the churn is made of these.

A life asks for what it needs, checks what it can, and leaves nothing open. Its dice are its own,
so that a seed and a number name it.
"""

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections.abc import Awaitable, Callable

import aiohttp

from tests.load.crowd import address_of
from tests.reading import READERS, Seen, ask, lower, parse_sse, read_poll, read_sse

MODEL = "churn/long"
_BODY = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
_CHAT = "/v1/chat/completions"
_EXPIRED_S = 2.5
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset."""


class Broken(Exception):
    """A client saw what it should never see."""


class Client:
    """Who lives: a session, the server's address, dice."""

    def __init__(self, http: aiohttp.ClientSession, url: str, dice: random.Random) -> None:
        self.http = http
        self.url = url
        self.dice = dice

    async def read_in_pieces(self, stream: str, seen: list[Seen]) -> list[Seen]:
        """Go on behind `seen`, over another transport each time, to the end."""
        while True:
            read = READERS[self.dice.choice(sorted(READERS))]
            take = self.dice.choice([1, 5, 20, None])
            fresh = await read(self.http, self.url, stream, len(seen), take)
            seen = seen + fresh
            if take is None or not fresh:
                return seen

    async def expect(self, status: int, method: str, path: str, **sent: object) -> None:
        """Raise `Broken` if it is answered otherwise."""
        asking = self.http.request(method, self.url + path, **sent)  # type: ignore[arg-type]
        async with asking as answer:
            text = await answer.text()
        if answer.status != status:
            raise Broken(f"{method} {path} was {answer.status}, not {status}: {text[:300]}")


def _check(seen: list[Seen], journal: list[Seen]) -> None:
    if seen != journal:
        raise Broken(f"{len(seen)} events are not the journal's {len(journal)}")


async def cut_and_resume(client: Client) -> None:
    """Ask, lose the line after some events, and go on over any transport to the end."""
    async with client.http.post(client.url + _CHAT, json=_BODY) as answer:
        stream = lower(answer.headers)["midstream-stream"]
        raw, take = b"", client.dice.randrange(40)
        async for chunk in answer.content.iter_any():
            raw += chunk
            if raw.count(b"\n\n") >= take:
                answer.close()
                break
        begun = parse_sse(raw)
    seen = await client.read_in_pieces(stream, begun)
    _check(seen, await read_poll(client.http, client.url, stream, 0, None))


async def cancelled(client: Client) -> None:
    """Start an answer, stop it, and read what there is."""
    stream = await ask(client.http, client.url, MODEL)
    await read_sse(client.http, client.url, stream, 0, client.dice.randrange(10))
    await client.expect(200, "POST", f"/v1/streams/{stream}/cancel")
    seen = await read_sse(client.http, client.url, stream, 0, None)
    if "stream_cancelled" not in seen[-1].data and seen[-1].data != "[DONE]":  # it was too late
        raise Broken(f"a cancelled stream ends with {seen[-1]}")


async def deleted(client: Client) -> None:
    """Erase an answer that others are reading."""
    stream = await ask(client.http, client.url, MODEL)
    reading = asyncio.create_task(read_sse(client.http, client.url, stream, 0, None))
    await asyncio.sleep(client.dice.random() * 0.3)
    await client.expect(204, "DELETE", f"/v1/streams/{stream}")
    with contextlib.suppress(AssertionError, aiohttp.ClientError):  # or it had ended
        await reading
    await client.expect(410, "GET", f"/v1/streams/{stream}/events")


async def expired(client: Client) -> None:
    """Keep an answer for a second after its end."""
    stream = await ask(client.http, client.url, MODEL, headers={"Midstream-Retention": "1"})
    with contextlib.suppress(AssertionError):  # expired while it is read
        await read_poll(client.http, client.url, stream, 0, None)
    await asyncio.sleep(_EXPIRED_S)
    await client.expect(410, "GET", f"/v1/streams/{stream}/events")


async def gone(client: Client) -> None:
    """Leave at any moment: in the request, before the answer, in it; orderly or not."""
    loop = asyncio.get_running_loop()
    body = json.dumps(_BODY | {"stream": client.dice.random() < 0.7}).encode()
    wish = client.dice.choice([b"", b"midstream-detach: cancel\r\n", b"midstream-detach: 1\r\n"])
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\n" + wish
    ) + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    with socket.socket() as raw:
        raw.setblocking(False)
        await loop.sock_connect(raw, address_of(client.url))
        if client.dice.random() < 0.5:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await loop.sock_sendall(raw, request[: client.dice.choice([30, 150, None])])
        await asyncio.sleep(client.dice.random() * 0.4)


async def stalled(client: Client) -> None:
    """Ask for a stream's events, and take none of them until dropped."""
    stream = await ask(client.http, client.url, "big/big")
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await loop.sock_connect(raw, address_of(client.url))
        request = f"GET /v1/streams/{stream}/events HTTP/1.1\r\nhost: localhost\r\n"
        await loop.sock_sendall(raw, request.encode() + b"accept: text/event-stream\r\n\r\n")
        await asyncio.sleep(client.dice.choice([0.2, 2.5]))


async def repeated(client: Client) -> None:
    """Send one request three times with its key, at once: it is one stream."""
    headers = {"Idempotency-Key": f"key-{client.dice.random()}"}

    async def send() -> str:
        async with client.http.post(client.url + _CHAT, json=_BODY, headers=headers) as answer:
            await answer.read()
            return str(lower(answer.headers).get("midstream-stream"))

    streams = set(await asyncio.gather(send(), send(), send()))
    if len(streams) != 1:
        raise Broken(f"one key made {streams}")


async def whole(client: Client) -> None:
    """Ask for one JSON answer, and read it."""
    await client.expect(200, "POST", _CHAT, json=_BODY | {"stream": False})


async def refused(client: Client) -> None:
    """Ask for what there is not."""
    events = {"Accept": "text/event-stream"}
    await client.expect(400, "POST", _CHAT, data=b"{", headers={"Content-Type": "application/json"})
    await client.expect(404, "POST", _CHAT, json=_BODY | {"model": "nobody"})
    await client.expect(415, "POST", _CHAT, data=b"x")
    await client.expect(404, "GET", "/v1/streams/st_00000000000000000000000000/events")
    await client.expect(404, "GET", "/nowhere")
    stream = await ask(client.http, client.url, MODEL)
    path = f"/v1/streams/{stream}/events"
    await client.expect(400, "GET", path, headers=events | {"Last-Event-ID": "x"})
    await client.expect(409, "GET", f"{path}?after=100000", headers=events)


Life = Callable[[Client], Awaitable[None]]
LIVES: tuple[Life, ...] = (
    *(cut_and_resume, cancelled, deleted, expired, gone, gone),
    *(stalled, repeated, whole, refused),
)
