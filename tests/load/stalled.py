"""Readers that stop reading: what they hold of a worker, whom they hurt, where they go on.

The streams flow all the time, and each has a reader that takes everything. Two spans of equal
length are compared, one without and one with the stalled, because a worker grows with its
running streams anyway.
"""

import asyncio
import socket
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import httptools
import msgspec

from tests.bench import machine
from tests.bench.contenders import mock_provider
from tests.bench.job import Plan, Spread, spread_of
from tests.bench.load import Notes, Stream
from tests.load.crowd import address_of, allow_readers
from tests.reading import Seen, ask, parse_sse, read_poll, read_sse, session
from tests.server import Served, serving

_RECEIVE_BYTES = 4096
"""Of a stalled reader's kernel, so that the server's side is what fills."""
_LOOK_S = 0.1
_PAGE_KIB = 4
_KIB = 1024
_MORE_EVENTS = 20
"""Read by each that comes back."""

Say = Callable[[str], None]


class StalledSettings(msgspec.Struct, frozen=True):
    """The load. Half of the streams say small events, half of them large ones."""

    readers: int = 1000
    streams: int = 20
    reader_stall_s: float = 30
    span_s: float = 34
    opens_per_s: float = 200
    small_bytes: int = 280
    small_per_s: float = 100
    large_bytes: int = 16_000
    large_per_s: float = 5


class StalledFigures(msgspec.Struct, frozen=True):
    """What was seen."""

    grown_mib: float
    """Resident memory of the worker, from before the stalled came to its most while they stood."""
    grown_without_mib: float
    """The same in a span of the same length without them."""
    kib_per_stalled: float
    """What is left of the difference, for each."""
    kernel_kib_per_stalled: float
    """Of TCP's buffers, both ends of every connection together."""
    delay_before: Spread
    """Of the readers that take everything."""
    delay_coming: Spread
    """While the stalled connect."""
    delay_during: Spread
    dropped_s: float
    """From the last one's stop to when the worker had let go of all."""
    resumed: int
    """How many went on exactly where they were."""
    failures: list[str]


class _Delays(Notes):
    """The delays of the span that is running."""

    def __init__(self) -> None:
        super().__init__((0, 0))
        self.span = array("q")

    def token(self, now_ns: int, delay_ns: int, before_ns: int | None) -> None:
        del now_ns, before_ns
        self.span.append(delay_ns)

    def take(self) -> Spread:
        """The delays since the last time."""
        taken, self.span = self.span, array("q")
        return spread_of(taken)


class _StalledReader(asyncio.Protocol):
    """Asks for a stream from its beginning, takes what comes first, and reads no more."""

    def __init__(self, stream: str, request: bytes) -> None:
        self.stream = stream
        self.has_left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._has_stopped = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None, "connected"
        if not self._has_stopped:
            self._has_stopped = True
            self._transport.pause_reading()
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.has_left.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    async def read_on(self) -> list[Seen]:
        """What it got before it was dropped."""
        assert self._transport is not None, "connected"
        self._transport.resume_reading()
        async with asyncio.timeout(10):
            await self.has_left
        return parse_sse(b"".join(self._body))


class Stalled:
    """One run."""

    def __init__(self, settings: StalledSettings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._delays = _Delays()
        self._stalled: list[_StalledReader] = []
        self._failures: list[str] = []

    async def measure(self, folder: Path) -> StalledFigures:
        """Let the streams flow, the stalled come, be dropped, and come back."""
        allow_readers(self._settings.readers)
        with ExitStack() as stack:
            port, _ = stack.enter_context(mock_provider())
            config = _config(port, self._settings)
            env = {"LOAD_PROVIDER_KEY": "not-a-secret"}
            served = stack.enter_context(serving(folder, config, env=env))
            async with session() as http:
                streams = await self._begin(http, served)
                async with asyncio.TaskGroup() as tasks:
                    takers = [
                        tasks.create_task(self._take_all(served, name, plan))
                        for name, plan in streams
                    ]
                    figures = await self._spans(served, [name for name, _ in streams])
                    for taker in takers:
                        taker.cancel()
                resumed = await self._resume(http, served)
            return msgspec.structs.replace(figures, resumed=resumed)

    async def _begin(self, http: aiohttp.ClientSession, served: Served) -> list[tuple[str, Plan]]:
        settings = self._settings
        lasts_s = 4 * settings.span_s + settings.readers / settings.opens_per_s + 60
        kinds = [
            Plan(int(lasts_s * per_s), per_s, size)
            for size, per_s in (
                (settings.small_bytes, settings.small_per_s),
                (settings.large_bytes, settings.large_per_s),
            )
        ]
        plans = [kinds[number % 2] for number in range(settings.streams)]
        return [(await ask(http, served.url, plan.model), plan) for plan in plans]

    async def _take_all(self, served: Served, stream: str, plan: Plan) -> None:
        """A reader that takes everything, until it is cancelled."""
        taker = Stream(_request(served.url, stream), plan.events, b"data: [DONE]", self._delays)
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: taker, *address_of(served.url))
            await taker.over
            self._failures.append(f"a reader that takes everything was cut off: {taker.failure()}")
        finally:
            if taker.is_misplaced:
                self._failures.append("an event out of its place")
            taker.leave()

    async def _spans(self, served: Served, streams: Sequence[str]) -> StalledFigures:
        settings, pid = self._settings, served.process.pid
        await asyncio.sleep(settings.span_s / 4)  # warm
        self._delays.take()
        rss = machine.rss_bytes(pid)
        grown_without = await self._most(pid, settings.span_s) - rss
        before = self._delays.take()
        self._say(f"before: p99 {before.p99:.2f} ms, grown by {grown_without / _KIB**2:.1f} MiB")

        connections, rss, kernel = _connections(pid), machine.rss_bytes(pid), _kernel_kib()
        self._stalled = await self._come(served, streams)
        coming = self._delays.take()
        watching = asyncio.create_task(_dropped_s(pid, connections, 2 * settings.span_s))
        await asyncio.sleep(1)
        kernel = _kernel_kib() - kernel
        grown = await self._most(pid, settings.span_s - 1) - rss
        during = self._delays.take()
        dropped_s = await watching
        self._say(f"during: p99 {during.p99:.2f} ms, grown by {grown / _KIB**2:.1f} MiB")
        if _connections(pid) > connections:
            self._failures.append("the worker has not dropped all")
        return StalledFigures(
            grown_mib=grown / _KIB**2,
            grown_without_mib=grown_without / _KIB**2,
            kib_per_stalled=(grown - grown_without) / _KIB / settings.readers,
            kernel_kib_per_stalled=kernel / settings.readers,
            delay_before=before,
            delay_coming=coming,
            delay_during=during,
            dropped_s=dropped_s,
            resumed=0,
            failures=self._failures,
        )

    async def _come(self, served: Served, streams: Sequence[str]) -> list[_StalledReader]:
        loop = asyncio.get_running_loop()
        begun, stalled = loop.time(), []
        for number in range(self._settings.readers):
            await asyncio.sleep(max(0.0, begun + number / self._settings.opens_per_s - loop.time()))
            stream = streams[number % len(streams)]
            stalled.append(await _stall(served.url, stream))
        return stalled

    async def _most(self, pid: int, span_s: float) -> int:
        """The largest that the process was in the time to come."""
        loop = asyncio.get_running_loop()
        until, most = loop.time() + span_s, 0
        while loop.time() < until:
            most = max(most, machine.rss_bytes(pid))
            await asyncio.sleep(_LOOK_S)
        return most

    async def _resume(self, http: aiohttp.ClientSession, served: Served) -> int:
        """Let each read what it was sent, and some more after that: is it the journal?"""
        resumed = 0
        journals: dict[str, list[Seen]] = {}
        for reader in self._stalled:
            if reader.stream not in journals:
                await http.post(f"{served.url}/v1/streams/{reader.stream}/cancel")
                journal = await read_poll(http, served.url, reader.stream, 0, None)
                journals[reader.stream] = journal
            journal = journals[reader.stream]
            seen = await reader.read_on()
            at = len(seen)
            seen += await read_sse(http, served.url, reader.stream, at, _MORE_EVENTS)
            if at > 0 and seen == journal[: at + _MORE_EVENTS]:
                resumed += 1
            else:
                self._failures.append(f"{at} events and {len(seen) - at} more are not the journal")
        return resumed


async def _stall(url: str, stream: str) -> _StalledReader:
    """A reader that has taken its first bytes, or will."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, address_of(url))
    _, reader = await loop.create_connection(
        lambda: _StalledReader(stream, _request(url, stream)), sock=client
    )
    return reader


def _request(url: str, stream: str) -> bytes:
    return (
        f"GET /v1/streams/{stream}/events HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n"
        "accept: text/event-stream\r\n\r\n"
    ).encode()


def _config(port: int, settings: StalledSettings) -> str:
    return f"""
[server]
drain_s = 0.1
[store]
url = "embedded"
path = "data"
[streams]
reader_stall_s = {settings.reader_stall_s}
[providers.mock]
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:LOAD_PROVIDER_KEY"
[models."bench-*"]
targets = ["mock/*"]
"""


async def _dropped_s(pid: int, connections: int, wait_s: float) -> float:
    """How long it takes until the process holds no more than so many connections."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while _connections(pid) > connections and loop.time() - begun < wait_s:
        await asyncio.sleep(_LOOK_S)
    return loop.time() - begun


def _connections(pid: int) -> int:
    """Sockets of a process but those to its store: its pool may grow at any time, and keeps them."""
    unix = {line.split()[6] for line in Path("/proc/net/unix").read_text().split("\n")[1:-1]}
    links = map(_link, Path(f"/proc/{pid}/fd").iterdir())
    return sum(link.startswith("socket:") and link[8:-1] not in unix for link in links)


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _kernel_kib() -> int:
    """What all TCP buffers of the machine take."""
    for line in Path("/proc/net/sockstat").read_text().split("\n"):
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * _PAGE_KIB
    raise AssertionError("Linux says it there")
