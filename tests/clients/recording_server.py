"""A provider that plays recordings over HTTP, and a tee that listens to what a client is sent.

The provider answers `NAME` with the bytes of `NAME.chat.sse`, or what else it is asked in, an event
at a time, or with its unstreamed twin. An OpenAI that was not asked for usage does not tell it. Asked
for `NAME~PACE` the provider waits after every event until the tee has seen a heartbeat go by to
that client: so there is one between every two events, however slow the machine is, and no test
waits for longer than that takes. `NAME!3` is the first 3 events, and then an end in good order.
"""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.clients.hearing import Kind
from tests.server import RECORDINGS

ENDS: dict[Kind, str] = {
    "openai": ".chat.sse",
    "responses": ".responses.sse",
    "anthropic": ".messages.sse",
}
_PATHS: dict[str, Kind] = {
    "/v1/chat/completions": "openai",
    "/v1/responses": "responses",
    "/v1/messages": "anthropic",
}
_PASSAGES = {
    "/v1/embeddings": ".embeddings.json",
    "/v1/messages/count_tokens": ".count_tokens.json",
}
_HEARTBEAT_WITHIN_S = 10.0
_PACED = re.compile(rb'"model": ?"[^"]*~([^"]+)"')
_BLOCK = re.compile(rb".*?(?:\n\n|\r\n\r\n)", re.DOTALL)
_DATA = re.compile(rb"^data:", re.MULTILINE)


class Pace:
    """One answer's way to one client: after which events a heartbeat went by."""

    def __init__(self, events_max: int) -> None:
        self.events_max = events_max
        """After so many events there is no more waiting."""
        self.heartbeats_after: set[int] = set()
        self.ids: list[int] = []
        self._changed = asyncio.Event()

    def hear(self, block: bytes) -> None:
        """One line that ends a comment, or one whole block of lines, as the client was sent it."""
        lines = dict(line.split(b": ", 1) for line in block.splitlines() if b": " in line)
        if b"id" in lines:
            self.ids.append(int(lines[b"id"]))
        else:
            assert block == b": ping\n" or lines.get(b"event") == b"ping", block
            self.heartbeats_after.add(len(self.ids))
            self._changed.set()

    async def wait(self, count: int) -> None:
        """Until a heartbeat has followed the event `count`."""
        async with asyncio.timeout(_HEARTBEAT_WITHIN_S):
            while count <= self.events_max and count not in self.heartbeats_after:
                self._changed.clear()
                await self._changed.wait()


class RecordingServer:
    """See the module. `running_recordings` makes one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.url = ""
        self.paces: dict[str, Pace] = {}
        self._loop = loop
        self._runners: list[web.AppRunner] = []
        self._sessions: list[aiohttp.ClientSession] = []

    def tee(self, upstream: str) -> str:
        """The address of a tee in front of `upstream`."""
        return asyncio.run_coroutine_threadsafe(self._open_tee(upstream), self._loop).result(10)

    async def open(self) -> None:
        """Start the provider. On the loop, like everything below."""
        self.url = await self._listen(self._play)

    async def close(self) -> None:
        """Stop everything."""
        for session in self._sessions:
            await session.close()
        for runner in self._runners:
            await runner.cleanup()

    async def _listen(self, handler: web.RequestHandler | object) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _play(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if request.path in _PASSAGES:
            whole = RECORDINGS / f"{asked['model']}{_PASSAGES[request.path]}"
            return web.Response(body=whole.read_bytes(), content_type="application/json")
        whole_name, _, pace_name = asked["model"].partition("~")
        name, _, events_max = whole_name.partition("!")
        file = RECORDINGS / f"{name}{ENDS[_PATHS[request.path]]}"
        if not asked.get("stream"):
            return web.Response(
                body=file.with_suffix(".json").read_bytes(), content_type="application/json"
            )
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        has_usage = (asked.get("stream_options") or {}).get("include_usage", False)
        count = 0
        for recorded in blocks_of(file):
            if events_max and count >= int(events_max):
                break
            block = recorded if has_usage else without_usage(recorded)
            if block is None:
                continue
            await answer.write(block)
            count += is_event(block)
            if pace_name:
                await self.paces[pace_name].wait(count)
        return answer

    async def _open_tee(self, upstream: str) -> str:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        )
        self._sessions.append(session)

        async def pass_on(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            paced = _PACED.search(body)
            assert paced is not None, body
            pace = self.paces[paced[1].decode()]
            headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
            url = upstream + request.path_qs
            async with session.request(request.method, url, data=body, headers=headers) as came:
                answer = web.StreamResponse(
                    status=came.status, headers={"content-type": came.headers["content-type"]}
                )
                await answer.prepare(request)
                unheard = b""
                async for piece in came.content.iter_any():
                    await answer.write(piece)
                    unheard = _listen_to(unheard + piece, pace)
                return answer

        return await self._listen(pass_on)


def _listen_to(raw: bytes, pace: Pace) -> bytes:
    """Tell `pace` of what is whole; what is not yet."""
    while raw:
        end = raw.find(b"\n") + 1 if raw.startswith(b":") else raw.find(b"\n\n") + 2
        if end < (1 if raw.startswith(b":") else 2):
            break
        pace.hear(raw[:end])
        raw = raw[end:]
    return raw


def recorded(kind: Kind) -> list[str]:
    """The names of all recordings of a provider."""
    files = RECORDINGS.glob(f"*{ENDS[kind]}")
    names = sorted(file.name.removesuffix(ENDS[kind]) for file in files)
    assert names
    return names


def asking_for_usage(kind: Kind) -> dict[str, Any]:
    """The field that makes a provider tell everything that is in a recording."""
    return {"stream_options": {"include_usage": True}} if kind == "openai" else {}


def blocks_of(file: Path) -> list[bytes]:
    """A recording in pieces that each end with a blank line."""
    raw = file.read_bytes()
    blocks = _BLOCK.findall(raw)
    assert b"".join(blocks) == raw, f"{file} does not end with a blank line"
    return blocks


def is_event(block: bytes) -> bool:
    """Whether a piece is an event, not a comment alone."""
    return _DATA.search(block) is not None


def without_usage(block: bytes) -> bytes | None:
    """What an OpenAI says in its place that was not asked for usage. None for nothing at all."""
    data = b"\n".join(line[5:] for line in block.splitlines() if line.startswith(b"data:"))
    if b'"usage"' not in data or b"chat.completion.chunk" not in data:
        return block
    chunk = json.loads(data)
    if chunk.get("usage") is not None:
        return None if chunk["choices"] == [] else block
    chunk.pop("usage", None)
    return b"data: %b\n\n" % json.dumps(chunk).encode()


@contextmanager
def running_recordings() -> Iterator[RecordingServer]:
    """A provider on a thread and a port of its own, until the block is left."""
    loop = asyncio.new_event_loop()
    server = RecordingServer(loop)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.open(), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
