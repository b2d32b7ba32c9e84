"""Looking at the proxy once a second, for everybody who watches, and not at all for nobody.

Owns the one task that looks, which lives as long as somebody watches. It keeps nothing of what it
saw but the newest picture. What surprises: while the store is away there still is a picture each
second, which says so, with what was last known; and of streams beyond `_TRACKED_MAX` only the
newest are seen, for all states are asked for anew each time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from proxy.downstream.overview import Found, encoded, overview
from proxy.downstream.resting import resting_targets
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.policy.pools import most_shared
from proxy.policy.quotas import Limit
from proxy.relay.switchboard import Switchboard
from proxy.stream import State, StreamId

EVERY_S: Final = 1.0
_LOOK_S: Final = 0.8
"""How long a look may take. Chosen: what is late is told with the next picture."""
_PAGE: Final = 100
_FIRST_PAGES: Final = 3
"""How far back the first look goes. Later ones know what ran, and look for what is new."""
_TRACKED_MAX: Final = 200
_POOLS_MAX: Final = 500
"""Whose limits are looked at, to find those that are most used. Chosen: 3,500 limits
are 6 ms of the store's time."""


class Looks:
    """See the module."""

    def __init__(
        self,
        switchboard: Switchboard,
        observer: Observer,
        providers: Callable[[], Sequence[str]],
        limits: Callable[[], Sequence[Limit]],
    ) -> None:
        self._switchboard = switchboard
        self._observer = observer
        self._providers = providers
        self._limits = limits
        self._watching = 0
        self._task: asyncio.Task[None] | None = None
        self._newest = b""
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Somebody looks, while inside."""
        self._watching += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._watching -= 1
            if self._watching == 0:
                task, self._task, self._newest = self._task, None, b""
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @property
    def newest(self) -> bytes:
        """The newest picture, as JSON; empty before the first one."""
        return self._newest

    async def next(self, shown: bytes) -> bytes:
        """The newest picture, as soon as it is another one than `shown`."""
        while self._newest == shown:
            await self._changed.wait()
        return self._newest

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        eye = _Eye(self._switchboard, self._providers, self._limits)
        due_at = loop.time()
        while True:
            try:
                self._newest = await eye.look()
            except Exception as error:  # noqa: BLE001 - a task's root: who watches must not hang
                self._observer.internal_error(error)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            due_at = max(due_at + EVERY_S, loop.time())
            await asyncio.sleep(due_at - loop.time())


class _Eye:
    """One look after the other."""

    def __init__(
        self,
        switchboard: Switchboard,
        providers: Callable[[], Sequence[str]],
        limits: Callable[[], Sequence[Limit]],
    ) -> None:
        self._switchboard = switchboard
        self._providers = providers
        self._limits = limits
        self._found = Found((), (), (), ())
        self._found_at: float | None = None
        self._away_since: float | None = None

    async def look(self) -> bytes:
        """A picture, in at most `_LOOK_S`."""
        now = self._switchboard.clock.now()
        begun = asyncio.get_running_loop().time()
        rates: dict[StreamId, float] = {}
        try:
            async with asyncio.timeout(_LOOK_S):
                found = await self._find()
        except (StoreUnavailable, TimeoutError):
            self._away_since = begun if self._away_since is None else self._away_since
            away_s = begun - self._away_since
            return encoded(overview(self._found, rates, now=now, store_away_s=away_s))
        if self._found_at is not None:
            had = {state.birth.id: state.last_id for state in self._found.running}
            passed_s = begun - self._found_at
            rates = {
                state.birth.id: (state.last_id - had[state.birth.id]) / passed_s
                for state in found.running
                if state.birth.id in had
            }
        self._found, self._found_at, self._away_since = found, begun, None
        return encoded(overview(found, rates, now=now, store_away_s=None))

    async def _find(self) -> Found:
        """Four round trips, or five."""
        limits = self._limits()
        now = self._switchboard.clock.now()
        return Found(
            reports=await self._switchboard.reports(),
            running=await self._running(),
            standings=await self._switchboard.standings(most_shared(limits, _POOLS_MAX)),
            providers=self._providers(),
            pools=len({limit.pool for limit in limits}),
            resting=resting_targets(self._switchboard.resting.seen(), now),
        )

    async def _running(self) -> list[State]:
        known = [state.birth.id for state in self._found.running]
        fresh: list[StreamId] = []
        cursor: str | None = None
        for _ in range(1 if self._found_at is not None else _FIRST_PAGES):
            page = await self._switchboard.list(None, None, cursor, _PAGE)
            fresh += page.streams
            cursor = page.next_cursor
            if cursor is None:
                break
        wanted = list(dict.fromkeys([*known, *fresh]))
        states = await self._switchboard.states(wanted) if wanted else ()
        running = [s for s in states if s is not None and s.ending is None and not s.is_erased]
        return running[:_TRACKED_MAX]
