"""`midstream top`: looks at a proxy every now and then, and draws what it sees.

What surprises: a pace takes two looks, so what is printed once has waited for a second one. A
server that goes away is no reason to leave: the last picture stays, and says so.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import aiohttp
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from proxy.errors import LineLost, ServerRefused, ServerUnreachable
from proxy.terminal.keyboard import keys
from proxy.terminal.picture import (
    SORTS,
    Look,
    StreamSeen,
    WorkerSeen,
    as_json,
    picture,
    rates,
)
from proxy.terminal.resting import TargetSeen
from proxy.terminal.server import Server, ask, open_session

_OK: Final = 0
_STOPPED: Final = 130
_PAGES_MAX: Final = 5
"""Of running streams in one look. Chosen: 500 fill every screen, and no server minds."""
_PAGE: Final = 100
_ENDED: Final = 20
_ONCE_S: Final = 1.0
"""Between the two looks of what is printed once."""


class TopWish(msgspec.Struct, frozen=True):
    """What the command was told."""

    server: Server
    every_s: float
    is_once: bool
    is_json: bool
    sort: str
    """One of `SORTS`."""


class _Page(msgspec.Struct, frozen=True):
    data: list[StreamSeen]
    next: str | None = None


class _Targets(msgspec.Struct, frozen=True):
    data: list[TargetSeen]


class _Workers(msgspec.Struct, frozen=True):
    data: list[WorkerSeen]


def top(wish: TopWish) -> int:
    """Watch; the exit code. Raises `ServerError` if the first look cannot be had."""
    is_live = sys.stdout.isatty() and sys.stdin.isatty() and not (wish.is_once or wish.is_json)
    try:
        asyncio.run(_watch(wish) if is_live else _print(wish))
    except KeyboardInterrupt:
        return _OK if is_live else _STOPPED  # in the live picture it is how one leaves
    return _OK


# --- looking ------------------------------------------------------------------------------------


class _Watcher:
    """Looks, and knows whether it may see the workers."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self._session = session
        self._server = server
        self._is_operator = True

    async def look(self) -> Look:
        """What there is now. Raises `ServerError`."""
        workers = await self._workers() if self._is_operator else None
        resting = await self._resting() if self._is_operator else ()
        running, has_more = await self._running()
        clock_s = time.monotonic()
        ended = await self._page(f"status=ended&limit={_ENDED}")
        return Look(datetime.now(UTC), clock_s, running, ended.data, workers, has_more, resting)

    async def _workers(self) -> list[WorkerSeen] | None:
        try:
            return (await ask(self._session, self._server, "/v1/workers", _Workers)).data
        except ServerRefused as refused:
            if refused.answered != 403:
                raise
            self._is_operator = False
            return None

    async def _resting(self) -> Sequence[TargetSeen]:
        try:
            return (await ask(self._session, self._server, "/v1/targets", _Targets)).data
        except ServerRefused as refused:
            if refused.answered != 404:
                raise
            return ()  # it is older than this

    async def _running(self) -> tuple[list[StreamSeen], bool]:
        found: list[StreamSeen] = []
        query = f"status=running&limit={_PAGE}"
        for _ in range(_PAGES_MAX):
            page = await self._page(query)
            found += page.data
            if page.next is None:
                return found, False
            query = f"status=running&limit={_PAGE}&cursor={page.next}"
        return found, True

    async def _page(self, query: str) -> _Page:
        return await ask(self._session, self._server, f"/v1/streams?{query}", _Page)


@asynccontextmanager
async def _watcher(server: Server) -> AsyncIterator[_Watcher]:
    async with open_session(server) as session:
        yield _Watcher(session, server)


# --- printed ------------------------------------------------------------------------------------


async def _print(wish: TopWish) -> None:
    """One table; as JSON one line for each look, without an end unless it is to be once."""
    async with _watcher(wish.server) as watcher:
        before = await watcher.look()
        while True:
            is_last = wish.is_once or not wish.is_json
            await asyncio.sleep(min(wish.every_s, _ONCE_S) if is_last else wish.every_s)
            look = await watcher.look()
            pace = rates(before, look)
            if wish.is_json:
                sys.stdout.buffer.write(as_json(look, pace, wish.sort) + b"\n")
                sys.stdout.buffer.flush()
            else:
                console = Console(highlight=False)
                console.print(picture(look, pace, width=console.width, height=None, sort=wish.sort))
            if is_last:
                return
            before = look


# --- live ---------------------------------------------------------------------------------------


class _Screen:
    """The live picture: what was seen, and how it is sorted."""

    def __init__(self, live: Live, sort: str) -> None:
        self._live = live
        self._sort = sort
        self._before: Look | None = None
        self._look: Look | None = None
        self._trouble = ""

    def show(self, look: Look) -> None:
        """What was seen now."""
        self._before, self._look, self._trouble = self._look, look, ""
        self.draw()

    def tell(self, trouble: str) -> None:
        """Why nothing was seen."""
        self._trouble = trouble
        self.draw()

    def sort_otherwise(self) -> None:
        """By the next of `SORTS`."""
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self.draw()

    def draw(self) -> None:
        """Anew, for the size that the terminal has now."""
        if self._look is None:
            return
        size = self._live.console.size
        drawn = picture(
            self._look,
            rates(self._before, self._look),
            width=size.width,
            height=size.height,
            sort=self._sort,
            trouble=self._trouble,
            hint=f"by {self._sort}; s sorts otherwise, q leaves",
        )
        self._live.update(drawn, refresh=True)


async def _watch(wish: TopWish) -> None:
    """Until q is pressed. The first look is taken before the screen is."""
    console = Console(highlight=False)
    async with _watcher(wish.server) as watcher:
        first = await watcher.look()
        with (
            keys(sys.stdin.fileno()) as pressed,
            Live(Text(""), console=console, screen=True, auto_refresh=False) as live,
        ):
            screen = _Screen(live, wish.sort)
            screen.show(first)
            looking = asyncio.create_task(_keep_looking(watcher, screen, wish.every_s))
            try:
                while (key := await _next_key(pressed, looking)) not in {"q", "Q"}:
                    if key == "s":
                        screen.sort_otherwise()
                    else:
                        screen.draw()
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)


async def _next_key(pressed: asyncio.Queue[str], looking: asyncio.Task[None]) -> str:
    """What is pressed next. Raises what `looking` fails with, if that comes first."""
    getting = asyncio.create_task(pressed.get())
    try:
        await asyncio.wait({getting, looking}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            await looking
        return await getting
    finally:
        getting.cancel()


async def _keep_looking(watcher: _Watcher, screen: _Screen, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            screen.show(await watcher.look())
        except (LineLost, ServerUnreachable) as error:
            screen.tell(f"{error.reason}; trying again")
