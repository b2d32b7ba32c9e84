"""A client that wants one answer, whatever happens: it asks, its readers read, and then it looks.

Asks with an idempotency key until it has its stream, on any worker, and asks anew if that stream
ended before its first content. In the end it looks at every stream that its key has made, and so
finds those that it was never told of.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec

from tests.chaos.outcome import Passing, Refused, refuse
from tests.chaos.plan import Transport, has_content, plan_legs, plan_wish, steady_legs
from tests.chaos.processes import Worker
from tests.chaos.reading import PASSING, SILENT_S, Reader, serving
from tests.chaos.record import Anomaly, Fault, History, Watched

_RETRY_S = 0.2
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=2)
"""Longer than a create waits for its first content."""
_POST_TIMEOUT = aiohttp.ClientTimeout(sock_connect=2, sock_read=SILENT_S)


class Made(NamedTuple):
    """A stream that a create has led to, and the answer that brings its events, if asked for."""

    stream: str
    answer: aiohttp.ClientResponse | None


class _Found(msgspec.Struct):
    id: str
    ending: str | None = None
    last_event_id: int = 0


class _Listed(msgspec.Struct):
    data: list[_Found]


class Client:
    """See the module."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        workers: Sequence[Worker],
        seed: int,
        key: str,
        transports: tuple[Transport, ...],
        *,
        is_steady: bool = False,
    ) -> None:
        self.watched: dict[str, Watched] = {}
        """Every stream of this key."""
        self.anomalies: list[Anomaly] = []
        self.creates = 0
        self.refusals: list[tuple[int, str | None]] = []
        """Of creates that led to no stream: status and `retry-after`, or 0 and how the line broke.
        That nobody listens is no answer, and not among them."""
        self.held_s = 0.0
        """How long the key stayed with a stream that had ended before its first content."""
        self._http = http
        self._workers = workers
        self._seed = seed
        self._key = key
        self._transports = transports
        self._is_steady = is_steady
        self._wish = plan_wish(seed, key)
        self._rng = random.Random(f"{seed} client {key}")

    async def live(self) -> None:
        """From the first ask to the last look."""
        while True:
            made = await self._create_new()
            watched, repeat = await self._read_all(made)
            if any(not history.is_over for history in watched.histories):
                return  # refused: that is noted
            if has_content(watched.known):
                break
        again = await self._create(is_streamed=False)
        for stream in {again.stream, repeat or again.stream}:
            if stream != watched.id:
                self._note(Fault.ASKED_TWICE, f"{stream} was made beside {watched.id}")
        await self._look_at_all()

    # --- asking -------------------------------------------------------------------------------

    async def _create_new(self) -> Made:
        """Until the key makes a stream that is not over already."""
        ended_at = time.monotonic()
        while True:
            made = await self._create(is_streamed=self._wish.is_streamed)
            if made.stream not in self.watched:
                return made
            self.held_s = max(self.held_s, time.monotonic() - ended_at)
            if made.answer is not None:
                made.answer.close()
            await asyncio.sleep(_RETRY_S)

    async def _create(self, *, is_streamed: bool) -> Made:
        """Until somebody says which stream it is."""
        while True:
            worker = await serving(self._workers, self._rng.randrange(len(self._workers)))
            try:
                return await self._post(worker.url, is_streamed=is_streamed)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(_RETRY_S)
            except (Passing, *PASSING) as error:
                if not isinstance(error, Passing):
                    self.refusals.append((0, repr(error)))
                await asyncio.sleep(_RETRY_S)

    async def _post(self, url: str, *, is_streamed: bool) -> Made:
        self.creates += 1
        headers = {"Idempotency-Key": self._key, "Midstream-Tag": self._key}
        if not is_streamed:
            headers["Prefer"] = "respond-async"
        body = {
            "model": "chaos",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": self._key}],
        }
        timeout = _POST_TIMEOUT if is_streamed else _TIMEOUT
        address = f"{url}/v1/chat/completions"
        answer = await self._http.post(address, json=body, headers=headers, timeout=timeout)
        if is_streamed and answer.status == 200:
            return Made(answer.headers["Midstream-Stream"], answer)
        async with answer:
            text = await answer.text()
            if answer.status == 202:
                return Made(msgspec.json.decode(text, type=_Found).id, None)
            self.refusals.append((answer.status, answer.headers.get("Retry-After")))
            try:
                refuse(answer.status, text)
            except Refused as refused:
                self._note(Fault.REFUSED, f"create: {refused}")
            raise Passing(f"{answer.status}")

    async def _ask_again(self) -> str | None:
        """The stream of one more ask, while the first one is read."""
        if self._wish.asks_again_s is None:
            return None
        await asyncio.sleep(self._wish.asks_again_s)
        return (await self._create(is_streamed=False)).stream

    # --- reading ------------------------------------------------------------------------------

    async def _read_all(self, made: Made) -> tuple[Watched, str | None]:
        """All readers to the end of one stream; and the stream of a repeated ask."""
        async with self._watching(made.stream) as watched, asyncio.TaskGroup() as tasks:
            for number in range(self._wish.readers):
                reader = self._reader(watched, number)
                tasks.create_task(reader.read(made.answer if number == 0 else None))
            again = tasks.create_task(self._ask_again())
        return watched, again.result()

    @asynccontextmanager
    async def _watching(self, stream: str) -> AsyncIterator[Watched]:
        watched = self.watched[stream] = Watched(stream, self._key, time.monotonic())
        yield watched
        watched.state = await self._state(stream)

    def _reader(self, watched: Watched, number: int) -> Reader:
        count, name = len(self._workers), f"{self._key} {len(self.watched)}"
        if self._is_steady:
            transport = self._transports[number % len(self._transports)]
            legs = steady_legs(self._rng.randrange(count), count, transport)
        else:
            legs = plan_legs(self._seed, name, number, count, self._transports)
        history = History(watched.id, f"reader {number}", watched.known, time.monotonic())
        watched.histories.append(history)
        return Reader(self._http, self._workers, history, legs)

    # --- looking ------------------------------------------------------------------------------

    async def _look_at_all(self) -> None:
        """Streams of this key that nobody was told of have an end too, and no content."""
        listed = msgspec.json.decode(
            await self._get(f"/v1/streams?tag={quote(self._key)}"), type=_Listed
        )
        for found in listed.data:
            if found.id not in self.watched:
                async with self._watching(found.id) as watched:
                    await self._reader(watched, 0).read()

    async def _state(self, stream: str) -> tuple[str | None, int]:
        found = msgspec.json.decode(await self._get(f"/v1/streams/{stream}"), type=_Found)
        return found.ending, found.last_event_id

    async def _get(self, path: str) -> bytes:
        while True:
            worker = await serving(self._workers, self._rng.randrange(len(self._workers)))
            try:
                async with self._http.get(worker.url + path, timeout=_TIMEOUT) as answer:
                    body = await answer.read()
                    refuse(answer.status, body.decode("utf-8", "replace"))
                    return body
            except Refused as refused:
                self._note(Fault.REFUSED, f"GET {path}: {refused}")
                return b'{"data":[],"id":"nobody"}'
            except (Passing, *PASSING):
                await asyncio.sleep(_RETRY_S)

    def _note(self, fault: Fault, what: str) -> None:
        self.anomalies.append(Anomaly(fault, self._key, what))
