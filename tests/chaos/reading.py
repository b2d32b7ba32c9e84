"""A reader that hops between workers and transports, and goes on after the last event it has.

Owns what a good client does: it cuts its own line, comes back elsewhere, tries again on a broken
connection, a 5xx or a 409 of a lagging store, and never on anything that is final. It compares
nothing; it only writes down what came.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence

import aiohttp
import msgspec

from tests.chaos.outcome import DONE, QUOTED_DONE, Passing, Refused, refuse
from tests.chaos.plan import Leg
from tests.chaos.processes import Worker
from tests.chaos.record import Fault, History
from tests.chaos.sockets import hear_socket

SILENT_S = 20.0
"""Longer than any pause between two signs of life: a heartbeat comes at least every 15 s."""
_RETRY_S = 0.1
_POLL_WAIT_S = 10
_CONNECT_S = 2.0
_HEARTBEAT = b": ping\n"
PASSING = (aiohttp.ClientError, ConnectionError, TimeoutError)


class _PolledEvent(msgspec.Struct):
    id: int
    event: str
    data: msgspec.Raw


class _Polled(msgspec.Struct):
    events: list[_PolledEvent]
    last_id: int
    ended: bool
    ending: str | None


_polled_decoder = msgspec.json.Decoder(_Polled)


async def serving(workers: Sequence[Worker], preferred: int) -> Worker:
    """The preferred one, or the next one that serves, as a load balancer would choose."""
    while True:
        for step in range(len(workers)):
            worker = workers[(preferred + step) % len(workers)]
            if worker.is_serving:
                return worker
        await asyncio.sleep(_RETRY_S)


class Reader:
    """One reader of one stream. `read` it to the end."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        workers: Sequence[Worker],
        history: History,
        legs: Iterator[Leg],
    ) -> None:
        self._http = http
        self._workers = workers
        self._history = history
        self._legs = legs

    async def read(self, post: aiohttp.ClientResponse | None = None) -> None:
        """To the end, or to what is final. `post` is an answer that is under way already."""
        history = self._history
        if post is not None:
            history.legs.append("post")
            with contextlib.suppress(*PASSING), self._listening():
                await self._hear_sse(post, 1 << 60)
            history.posted = history.last_id
        while not history.is_over:
            leg = next(self._legs)
            worker = await serving(self._workers, leg.worker)
            history.legs.append(f"{leg.transport}@{worker.lives[-1].name}")
            try:
                await self._cut(leg, worker)
            except Refused as refused:
                history.note(Fault.REFUSED, str(refused))
                return
            except (Passing, *PASSING) as error:
                history.legs.append(str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            else:
                await asyncio.sleep(0 if history.is_over else leg.pause_s)

    async def _cut(self, leg: Leg, worker: Worker) -> None:
        """One leg, until it is cut by its plan."""
        cutting = asyncio.timeout(leg.cut_s)
        try:
            async with cutting:
                match leg.transport:
                    case "sse":
                        with self._listening():
                            await self._sse(leg, worker.url)
                    case "poll":
                        await self._poll(leg, worker.url)
                    case "ws":
                        with self._listening():
                            await hear_socket(
                                self._http, worker.url, self._history, leg.take, _CONNECT_S
                            )
        except TimeoutError:
            if not cutting.expired():
                raise

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self._history.listening.append((begin, time.monotonic()))

    # --- server-sent events -------------------------------------------------------------------

    async def _sse(self, leg: Leg, url: str) -> None:
        history = self._history
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(history.last_id)}
        address = f"{url}/v1/streams/{history.stream}/events"
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_S, sock_read=SILENT_S)
        answer = await self._http.get(address, headers=headers, timeout=timeout)
        try:
            if answer.status == 204:
                history.end(None)
                return
            if answer.status != 200:
                refuse(answer.status, await answer.text())
            await self._hear_sse(answer, leg.take)
        finally:
            answer.close()

    async def _hear_sse(self, answer: aiohttp.ClientResponse, take: int) -> None:
        """Until the server closes, or `take` events are read."""
        rest = b""
        try:
            async for chunk in answer.content.iter_any():
                now = time.monotonic()
                if _HEARTBEAT in chunk:
                    self._history.heartbeats.append((now, self._history.legs[-1]))
                *blocks, rest = (rest + chunk).split(b"\n\n")
                for block in blocks:
                    if self._hear_block(block, now):
                        take -= 1
                        if take == 0:
                            return
        except aiohttp.SocketTimeoutError:
            self._history.note(Fault.SILENT, f"nothing came for {SILENT_S:g} s")
        finally:
            answer.close()

    def _hear_block(self, block: bytes, now: float) -> bool:
        """Whether the block is an event."""
        fields: dict[bytes, bytes] = {}
        for line in block.split(b"\n"):
            field, _, value = line.partition(b": ")
            fields[field] = value
        if b"data" not in fields:
            return False
        name = fields.get(b"event", b"").decode()
        self._history.hear(int(fields.get(b"id", b"0")), name, fields[b"data"], now)
        return True

    # --- long-poll ----------------------------------------------------------------------------

    async def _poll(self, leg: Leg, url: str) -> None:
        history = self._history
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_S, sock_read=SILENT_S)
        take = leg.take
        while take > 0:
            address = (
                f"{url}/v1/streams/{history.stream}/events"
                f"?after={history.last_id}&wait={_POLL_WAIT_S}&limit={min(take, 1000)}"
            )
            with self._listening():
                async with self._http.get(address, timeout=timeout) as answer:
                    body = await answer.read()
            if answer.status != 200:
                refuse(answer.status, body.decode("utf-8", "replace"))
            polled = _polled_decoder.decode(body)
            now = time.monotonic()
            for event in polled.events:
                data = bytes(event.data)
                history.hear(event.id, event.event, DONE if data == QUOTED_DONE else data, now)
            take -= len(polled.events)
            if polled.ended:
                history.end(polled.ending, polled.last_id)
                return
            if polled.last_id != history.last_id:
                history.note(Fault.LOST, f"the cursor is said to be at {polled.last_id}")
            await asyncio.sleep(leg.pause_s)
