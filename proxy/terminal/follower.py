"""One cursor over however many connections: it resumes, changes transport, and checks.

Owns the place in the stream, the pauses between tries and the choice of transport. It yields
each event once, in order, or raises. What surprises: a server that cannot be reached, or says
that it is busy, is nobody's fault: only a line that was made and brought nothing counts
against its transport.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

import aiohttp
import msgspec

from proxy.errors import LineLost, PromiseBroken, ServerRefused, ServerUnreachable
from proxy.stream import Event, StreamId
from proxy.terminal.heard import End, Line, Opened
from proxy.terminal.server import Server

_PAUSE_MAX_S: Final = 30.0
_PAUSE_SPREAD: Final = 0.25
"""Of a pause, more or less: those who were cut off together do not come back together."""
_FRUITLESS_MAX: Final = 2
"""Tries without a single event, in a row, after which a transport is passed over."""


class Setback(msgspec.Struct, frozen=True):
    """What is known when a line was lost."""

    error: LineLost | ServerRefused | ServerUnreachable
    fruitless: int
    """Tries of this transport in a row, this one too, that were its own fault."""
    has_another: bool
    """Whether there is a transport after this one."""


def is_final(setback: Setback) -> bool:
    """Whether there is no use in going on.

    A refusal may be that of a proxy on the way that knows no WebSocket: such a one is final only
    where no other transport is left.
    """
    error = setback.error
    if not isinstance(error, ServerRefused):
        return False
    return not (error.is_of_the_line and setback.has_another)


def is_passed_over(setback: Setback) -> bool:
    """Whether the next transport is to be tried."""
    return setback.has_another and setback.fruitless >= _FRUITLESS_MAX


def pause_s(tries: int, spread: float) -> float:
    """How long to wait after `tries` tries in a row that failed; `spread` is from -1 to 1."""
    return min(2.0 ** (tries - 1), _PAUSE_MAX_S) * (1 + _PAUSE_SPREAD * spread)


class Follower:
    """See the module. `after` is the id of the newest event that it gave out."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: Server,
        stream: StreamId,
        after: int,
        lines: Mapping[str, Line],
        *,
        tell: Callable[[str], None],
        spread: Callable[[], float],
    ) -> None:
        self.after = after
        self._session = session
        self._server = server
        self._stream = stream
        self._lines = list(lines.items())
        self._tell = tell
        self._spread = spread
        self._tries = 0
        self._fruitless = 0
        self._was_open = False

    async def follow(self) -> AsyncGenerator[Event | End, None]:
        """Every event after `after`, then the end. Raises `ServerError` for what is final."""
        while True:
            before = self.after
            try:
                async with aclosing(self._read()) as heard:
                    async for one in heard:
                        yield one
                        if isinstance(one, End):
                            return
            except (LineLost, ServerRefused, ServerUnreachable) as error:
                await self._recover(error, has_come=self.after > before)

    async def _read(self) -> AsyncGenerator[Event | End, None]:
        """What one line brings, checked. Raises `LineLost` at the latest when it is over."""
        name, line = self._lines[0]
        async with aclosing(line(self._session, self._server, self._stream, self.after)) as heard:
            async for one in heard:
                match one:
                    case Opened():
                        self._tell_opened(name)
                    case End():
                        if one.last_id != self.after:
                            raise PromiseBroken(
                                f"it ended at event {one.last_id}, and event {self.after} was last"
                            )
                        yield one
                    case Event():
                        if one.id != self.after + 1:
                            raise PromiseBroken(f"event {one.id} came after event {self.after}")
                        self.after = one.id
                        yield one
        raise LineLost("the server closed it")

    def _tell_opened(self, name: str) -> None:
        place = f", resumed after {self.after}" if self._was_open and self.after else ""
        self._was_open = True
        self._tell(f"connected over {name}{place}")

    async def _recover(
        self, error: LineLost | ServerRefused | ServerUnreachable, *, has_come: bool
    ) -> None:
        """Wait and choose, so that the next try has a chance; or raise `error`."""
        if has_come:
            self._tries = self._fruitless = 0
        elif not isinstance(error, ServerUnreachable) and error.is_of_the_line:
            self._fruitless += 1
        self._tries += 1
        setback = Setback(error, self._fruitless, has_another=len(self._lines) > 1)
        if is_final(setback):
            raise error
        if is_passed_over(setback):
            (name, _), (another, _), *_ = self._lines
            del self._lines[0]
            self._tries = self._fruitless = 0
            self._tell(f"{name} brings nothing, going on over {another}")
            return
        wait_s = pause_s(self._tries, self._spread())
        if isinstance(error, LineLost):
            wait_s = max(wait_s, error.retry_after_s or 0)
        reason = error.said if isinstance(error, ServerRefused) else error.reason
        self._tell(f"line lost ({reason}), again in {wait_s:.0f} s")
        await asyncio.sleep(wait_s)
