"""The line to a provider on which one answer is heard, mended where that can be.

A connection that breaks says nothing of the answer: where the provider keeps it, the rest is asked
for on another one, and whoever listens does not notice. It never has anything made twice, and no
frame is heard twice, because the provider is told the place up to which frames were heard whole.

What surprises: a provider that restarts refuses connections, so being refused is no reason to give
up, for a while; and each frame that comes begins that while anew.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Self

from proxy.errors import (
    MidstreamError,
    ProviderError,
    ProviderRefused,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
)
from proxy.relay.ports import START, Keeper, Kept, Place, Provider, UpstreamRequest
from proxy.stream import Frame
from proxy.wire.sse import Parser
from proxy.wire.whole import Whole

MEND_S = 30.0
"""How long a broken line is tried to be mended. Chosen: a restart takes less, and the clients of a
Midstream wait as long for its store."""
_WAITS_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.0)
"""Before each try, half of it by chance; the last one again and again."""
_NAMED_WITHIN = 8
"""In how many first frames a name is looked for. Chosen: it stands in the very first."""
_CANCEL_S = 1.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Statuses with which what is still there may be refused for a moment."""


class Line:
    """See the module. Enter it, and iterate: each turn gives the frames of one read, at least one.

    Entering and iterating raise `ProviderError`. That the body has ended, and cannot be gone on
    with, is the end of the iteration. `draw` gives numbers from 0 to below 1.
    """

    def __init__(
        self,
        provider: Provider,
        request: UpstreamRequest,
        event_bytes_max: int,
        *,
        now_ns: Callable[[], int],
        draw: Callable[[], float],
        begun_as: str = "",
    ) -> None:
        self.heard_ns = 0
        """When the newest frames were read."""
        self.keeper: Keeper | None = None
        """Who can be asked for the rest, if anybody."""
        self.name = begun_as
        """By which the keeper knows the answer; one that has begun is listened to from there."""
        self.on_named: Callable[[str], None] | None = None
        self.on_mended: Callable[[float], None] | None = None
        """Called with the seconds for which it was broken."""
        self._provider = provider
        self._request = request
        self._event_bytes_max = event_bytes_max
        self._now_ns = now_ns
        self._draw = draw
        parse = Whole if request.is_whole else Parser
        self._parser: Whole | Parser = parse(event_bytes_max)
        self._answer: AbstractAsyncContextManager[AsyncIterable[bytes]] | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._was_open = False
        self._frames = 0
        self._last: Frame | None = None
        self._heard_number: int | None = None
        """After a cut: the newest number that was heard before it, until another is heard."""
        self._broken_at: float | None = None
        self._tries = 0

    async def __aenter__(self) -> Self:
        if not self.name:
            await self._open(self._provider.stream(self._request))
        else:
            assert isinstance(self._provider, Keeper), "an answer with a name is kept"
            self.keeper = self._provider
            await self._mend(ProviderTruncated())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Frame]:
        while True:
            assert self._chunks is not None, "it is entered"
            frames: Sequence[Frame] = ()
            try:
                frames = self._parser.feed(await anext(self._chunks))
            except ProviderTruncated as cut:
                await self._break(cut)
            except StopAsyncIteration:
                frames = self._parser.finish()
                if not frames and self.keeper is None:
                    raise
                if not frames:
                    await self._break(ProviderTruncated())
            if self._heard_number is not None:
                frames = self._unheard(frames, self._heard_number)
            if frames:
                self.heard_ns = self._now_ns()
                self._hear(frames)
                return frames

    @property
    def failure(self) -> MidstreamError | None:
        """What the next read would raise: no more frames will come."""
        return self._parser.failure

    async def cancel(self) -> None:
        """Tell whoever keeps the answer to stop, if anybody does. Waits a second at most."""
        if self.keeper is not None and self.name:
            with suppress(ProviderError, TimeoutError):  # it is the best that can be done
                async with asyncio.timeout(_CANCEL_S):
                    await self.keeper.cancel(self._request, self.name)

    def _hear(self, frames: Sequence[Frame]) -> None:
        if self.keeper is not None:
            if not self.name and self._frames < _NAMED_WITHIN:
                self._look_for_name(self.keeper, frames)
            self._last = frames[-1]
        self._frames += len(frames)
        if self._broken_at is not None:
            self._broken_at, self._tries = None, 0

    def _unheard(self, frames: Sequence[Frame], heard: int) -> Sequence[Frame]:
        """Those that were not heard before a cut: not every provider goes on from the place."""
        assert self.keeper is not None, "it was mended"
        for place, frame in enumerate(frames):
            number = self.keeper.number_in(frame)
            if number is None or number > heard:
                self._heard_number = None
                return frames[place:]
        return ()

    def _look_for_name(self, keeper: Keeper, frames: Sequence[Frame]) -> None:
        names = map(keeper.name_in, frames[:_NAMED_WITHIN])
        name = next((name for name in names if name), "")
        if name:
            self._named(name)

    def _named(self, name: str) -> None:
        is_new = not self.name
        self.name = name
        if is_new and self.on_named is not None:
            self.on_named(name)

    async def _open(self, answer: AbstractAsyncContextManager[AsyncIterable[bytes]]) -> None:
        opened = await answer.__aenter__()
        self._answer, self._chunks = answer, aiter(opened)
        self._was_open = True
        if isinstance(opened, Kept):
            self.keeper = opened.keeper
            if opened.name:
                self._named(opened.name)

    # --- mending ----------------------------------------------------------------------------

    async def _break(self, cut: ProviderTruncated) -> None:
        """The connection is gone. Have another one, or raise `cut`."""
        answer, self._answer = self._answer, None
        assert answer is not None, "something was heard on it"
        with suppress(ProviderTruncated):  # it comes out again
            await answer.__aexit__(type(cut), cut, cut.__traceback__)
        if self.keeper is None or not self.name:
            raise cut
        self._parser.finish()  # raises what it owes
        await self._mend(cut)

    async def _mend(self, cut: ProviderTruncated) -> None:
        loop = asyncio.get_running_loop()
        if self._broken_at is None:
            self._broken_at = loop.time()
        assert self.keeper is not None, "somebody has the rest"
        assert isinstance(self._parser, Parser), "an answer in one piece is not kept"
        event_id = self._parser.last_id.decode(errors="replace")
        place = Place(self._frames, event_id, self._last) if self._frames else START
        while loop.time() < self._broken_at + MEND_S:
            longest_s = _WAITS_S[min(self._tries, len(_WAITS_S) - 1)]
            self._tries += 1
            await asyncio.sleep(longest_s * (1 + self._draw()) / 2)
            was_open = self._was_open
            try:
                await self._open(self.keeper.resume(self._request, self.name, place))
            except MidstreamError as error:
                if not _may_pass(error):
                    raise cut from error
                continue
            self._parser = Parser(self._event_bytes_max)
            self._parser.last_id = place.event_id.encode()
            self._heard_number = None if self._last is None else self.keeper.number_in(self._last)
            if was_open and self.on_mended is not None:
                self.on_mended(loop.time() - self._broken_at)
            return
        raise cut


def _may_pass(error: MidstreamError) -> bool:
    match error:
        case ProviderRefused():
            return error.upstream_status in _PASSING
        case ProviderStalled():
            return error.deadline == "connect"
        case _:
            return isinstance(error, ProviderUnreachable)
