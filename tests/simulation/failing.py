"""Providers that fail in every way there is, as a seed decides; some of them keep their answers.

Each word that one says is its own: `<p3.0>` is the first of the third answer of p. So a text tells
by itself from which answers it was put together. What surprises: a provider that keeps answers has
each of them whole, however it was cut off, and may break off again when it is asked for the rest.
"""

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from proxy.errors import MidstreamError, ProviderRefused, ProviderTruncated, ProviderUnreachable
from proxy.observe import Peer
from proxy.policy.breaker import Rule
from proxy.policy.quotas import Kind, Limit
from proxy.relay.ports import Deadlines, Kept, Patience, Place, UpstreamRequest
from proxy.stream import Frame
from tests.relay.charging import Told

POOL_TOKENS = 10_000_000
CHUNK = b'{"id":"c%d","object":"chat.completion.chunk","created":1,"model":"m","choices":[%b]%b}'
ERROR = b'data: {"error":{"message":"x","code":"server_error"}}\n\n'
INPUT_TOKENS = 7


class Failing(Told):
    """Refuses, breaks off, ends too early, stalls, or reports an error after 200."""

    def __init__(self, name: str, rng: random.Random, *, may_be_full: bool) -> None:
        super().__init__(())
        self.name = name
        self.peer = Peer(name)
        self.deadlines = Deadlines(
            first_event_s=rng.choice([3, 60]), idle_s=rng.choice([3, 30]), total_s=600
        )
        self.patience = Patience(retries=rng.choice([0, 0, 1, 2]))
        self.rest = Rule(rest_after=rng.choice([0, 1, 2, 5]), rest_s=rng.choice([1, 10]))
        self.limits: list[Limit] = []
        if rng.random() < 0.7:
            is_full = may_be_full and rng.random() < 0.2
            amount = 10 if is_full else POOL_TOKENS
            self.limits.append(Limit(f"provider:{name}", Kind.TOKENS_PER_DAY, amount))
        self.words: dict[int, Sequence[str]] = {}
        """What each answer says when it is whole."""
        self.connections = 0
        self._rng = rng
        self._pace_s = rng.choice([0.01, 0.3, 2.0])
        self._fails = rng.choice([0.0, 0.3, 0.8, 0.8])

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterable[bytes]]:
        self.asked.append(request)
        answer = len(self.asked)
        if self._rng.random() < self._fails / 2:
            await asyncio.sleep(self._rng.random())
            raise self._refusal()
        count = self._rng.choice([1, 3, 10])
        self.words[answer] = [f"<{self.name}{answer}.{n}>" for n in range(count)]
        said = frames_of(answer, self.words[answer])
        with_error = self._rng.random() < 0.25
        async with self._connected():
            yield self._as_heard(self._play(said, 0, with_error=with_error), answer, said)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1

    def _refusal(self) -> MidstreamError:
        return self._rng.choice(
            [
                ProviderRefused(self.name, 503, retry_after_s=self._rng.choice([None, 1.0, 30.0])),
                ProviderRefused(self.name, 401),
                ProviderRefused(self.name, 400),
                ProviderUnreachable(self.name, "no connection"),
            ]
        )

    def _as_heard(
        self, chunks: AsyncIterator[bytes], answer: int, said: Sequence[bytes]
    ) -> AsyncIterable[bytes]:
        del answer, said
        return chunks

    async def _play(
        self, said: Sequence[bytes], after: int, *, with_error: bool = False
    ) -> AsyncIterator[bytes]:
        """What comes after so many frames, to its end or to where it breaks."""
        rng = self._rng
        broken_at = rng.randrange(len(said) + 1) if rng.random() < self._fails else None
        how = "error" if with_error else rng.choice(["cut", "end", "stall"])
        for n, data in enumerate(said):
            if n == broken_at and n >= after:
                if how == "cut":
                    raise ProviderTruncated
                if how == "stall":
                    await asyncio.get_running_loop().create_future()
                if how == "error":
                    yield ERROR
                return
            if n >= after:
                await asyncio.sleep(rng.random() * self._pace_s)
                yield b"id: %d\ndata: " % (n + 1) + data[:3]
                yield data[3:] + b"\n\n"


class Keeping(Failing):
    """One that keeps what it makes. What `proxy.relay.ports.Keeper` says."""

    def __init__(self, name: str, rng: random.Random, *, may_be_full: bool) -> None:
        super().__init__(name, rng, may_be_full=may_be_full)
        self._kept: dict[str, Sequence[bytes]] = {}

    def _as_heard(self, chunks: AsyncIterator[bytes], answer: int, said: Sequence[bytes]) -> Kept:
        self._kept[str(answer)] = said
        return Kept(chunks, self, str(answer))

    def name_in(self, frame: Frame) -> str | None:
        raise AssertionError(f"each answer has its name from the start: {frame}")

    def number_in(self, frame: Frame) -> int | None:
        del frame
        return None  # it always goes on from the place that it is told

    @asynccontextmanager
    async def resume(
        self, request: UpstreamRequest, name: str, place: Place
    ) -> AsyncIterator[Kept]:
        del request
        luck = self._rng.random()
        if luck < 0.1:
            raise ProviderRefused(self.name, 404)
        if luck < 0.3:
            raise ProviderRefused(self.name, 503)
        if luck < 0.4:
            raise ProviderUnreachable(self.name, "restarting")
        said, after = self._kept[name], int(place.event_id or 0)
        if after >= len(said):
            raise ProviderTruncated
        async with self._connected():
            yield Kept(self._play(said, after), self, name)

    async def cancel(self, request: UpstreamRequest, name: str) -> None:
        del request
        assert name in self._kept


def frames_of(answer: int, words: Sequence[str]) -> Sequence[bytes]:
    """The data of a whole answer in the chat dialect, with what it used."""
    choice = b'{"index":0,"delta":{%b},"finish_reason":%b}'
    contents = [
        b'"role":"assistant","content":""',
        *(b'"content":"%b"' % w.encode() for w in words),
    ]
    usage = b',"usage":{"prompt_tokens":%d,"completion_tokens":%d}' % (INPUT_TOKENS, len(words))
    return [
        *(CHUNK % (answer, choice % (content, b"null"), b"") for content in contents),
        CHUNK % (answer, choice % (b"", b'"stop"'), b""),
        CHUNK % (answer, b"", usage),
        b"[DONE]",
    ]
