"""Clients that come and go for as long as is asked, and what is left of them in the worker.

After the rounds everything has to be as before: tasks, timers, descriptors; the store holds
nothing that does not expire; and the worker's memory does not follow the rounds.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import redis

from tests.bench import machine
from tests.load.crowd import allow_readers
from tests.load.idle import open_descriptors, surplus
from tests.load.lives import LIVES, Client
from tests.load.served import Holds, look
from tests.reading import session
from tests.server import RECORDINGS, Served, serving
from tests.stories.test_slow_and_gone_readers import write_big_recording

_SETTLE_S = 20.0
_FAILURES_MAX = 10
_KIB = 1024

Say = Callable[[str], None]


_LINK = "proxy.store.redis_link.Link"
_LINKS_MAX = 11
"""To one store: 2 for appends, 8 for calls, and that of the bells."""


class ChurnSettings(msgspec.Struct, frozen=True):
    """The load."""

    minutes: float = 10
    lives: int = 300
    """At once, in each round. A life has one to four connections."""
    rounds_min: int = 3
    warm_rounds: int = 3
    """Before the first look: what is loaded once is loaded in these."""
    seed: int = 1


class ChurnFigures(msgspec.Struct, frozen=True):
    """What was seen."""

    rounds: int
    lives: int
    rss_mib: list[float]
    """After each round."""
    slope_kib_per_round: float
    """Of a line through the second half of them."""
    slope_mib_per_hour: float
    left_tasks: dict[str, int]
    left_timers: int
    left_descriptors: int
    left_objects: dict[str, int]
    """Classes of the product of which there are more than before."""
    keys: dict[str, int]
    """In the store, by kind; all of them with an expiry."""
    eternal_keys: list[str]
    """Those without one."""
    running: int
    """Streams that the ledger still counts as running."""
    failures: list[str]


class Churn:
    """One run."""

    def __init__(self, settings: ChurnSettings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._failures: list[str] = []
        self._rss: list[float] = []

    async def measure(self, folder: Path) -> ChurnFigures:
        """Let clients live for `minutes`, then look at what is left."""
        allow_readers(8 * self._settings.lives)
        recordings = folder / "recordings"
        recordings.mkdir(parents=True)
        await asyncio.to_thread(write_big_recording, recordings / "big.chat.sse", 1000)
        config = _config(recordings)
        with serving(folder, config, module="tests.load.served") as served:
            for number in range(self._settings.warm_rounds):
                await self._round(served, -1 - number)
            descriptors = await self._settle(served)
            before = look(served)
            begun, rounds = time.monotonic(), 0
            while (
                rounds < self._settings.rounds_min
                or time.monotonic() - begun < self._settings.minutes * 60
            ):
                await self._round(served, rounds)
                rounds += 1
                self._rss.append(machine.rss_bytes(served.process.pid) / _KIB**2)
                self._say(f"round {rounds}: {self._rss[-1]:.1f} MiB")
            lasted_s = time.monotonic() - begun
            await self._settle(served, descriptors)
            after = await self._hold_against(served, before)
            figures = self._figures(served, before, after, lasted_s)
            left = open_descriptors(served.process.pid) - descriptors
            pooled = _pooled(before, after)
            return msgspec.structs.replace(figures, left_descriptors=left - pooled)

    async def _round(self, served: Served, number: int) -> None:
        """All lives at once, from a session of its own."""
        async with session() as http:
            lives = []
            for place in range(self._settings.lives):
                dice = random.Random(f"{self._settings.seed} {number} {place}")
                life = LIVES[place % len(LIVES)]
                lives.append(life(Client(http, served.url, dice)))
            outcomes = await asyncio.gather(*lives, return_exceptions=True)
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException) and len(self._failures) < _FAILURES_MAX:
                name = LIVES[place % len(LIVES)].__name__
                self._failures.append(f"round {number}, {place}, {name}: {outcome!r}")

    async def _settle(self, served: Served, descriptors: int | None = None) -> int:
        """Wait until nothing runs and nobody is connected; how many descriptors are open then."""
        loop = asyncio.get_running_loop()
        until, least, since = loop.time() + _SETTLE_S, 1_000_000, loop.time()
        while loop.time() < until and loop.time() - since < 2:
            now = open_descriptors(served.process.pid)
            if now < least:
                least, since = now, loop.time()
            elif descriptors is not None and now <= descriptors:
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)  # retentions and graces of a second
        return open_descriptors(served.process.pid)

    async def _hold_against(self, served: Served, before: Holds) -> Holds:
        """What it holds, once that is no more than before; or when that has taken too long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _SETTLE_S
        while True:
            after = look(served)
            is_as_before = not surplus(before, after) and after.timers <= before.timers
            if is_as_before or loop.time() > until:
                return after
            await asyncio.sleep(1)

    def _figures(
        self, served: Served, before: Holds, after: Holds, lasted_s: float
    ) -> ChurnFigures:
        with redis.Redis(unix_socket_path=f"{served.log.parent}/data/valkey.sock") as store:
            keys, eternal, running = _keys(store)
        pooled = _pooled(before, after)
        slope = _slope(self._rss[len(self._rss) // 2 :])
        return ChurnFigures(
            rounds=len(self._rss),
            lives=len(self._rss) * self._settings.lives,
            rss_mib=[round(rss, 2) for rss in self._rss],
            slope_kib_per_round=slope * _KIB,
            slope_mib_per_hour=slope * len(self._rss) / lasted_s * 3600,
            left_tasks=surplus(before, after),
            left_timers=after.timers - before.timers,
            left_descriptors=0,
            left_objects={
                name: count - before.objects.get(name, 0)
                for name, count in after.objects.items()
                if count > before.objects.get(name, 0) and not (name == _LINK and pooled)
            },
            keys=keys,
            eternal_keys=eternal,
            running=running,
            failures=self._failures,
        )


def _keys(store: redis.Redis) -> tuple[dict[str, int], list[str], int]:
    """How many keys of each kind there are, which never expire, and who counts as running."""
    kinds: Counter[str] = Counter()
    eternal, running = [], 0
    for raw in store.scan_iter(count=1000):
        key = raw.decode()
        kinds[_kind(key)] += 1
        if store.pttl(key) == -1:
            eternal.append(key)
        if _kind(key) == "running":
            running = int(store.zcard(key))
    return dict(kinds), eternal, running


def _kind(key: str) -> str:
    """The part of a key's name that is a word."""
    parts = [part for part in key.replace("{", ":").replace("}", ":").split(":") if part]
    words = [part for part in parts[1:] if part.isalpha() and len(part) < 12]
    return words[-1] if words else key


def _slope(values: Sequence[float]) -> float:
    """Of the line that fits best, for each step."""
    count = len(values)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    above = sum((place - middle) * (value - mean) for place, value in enumerate(values))
    return above / sum((place - middle) ** 2 for place in range(count))


def _pooled(before: Holds, after: Holds) -> int:
    """Connections to the store that are new: pools keep as many as were ever needed at once."""
    links = after.objects.get(_LINK, 0)
    return max(0, links - before.objects.get(_LINK, 0)) if links <= _LINKS_MAX else 0


def _config(recordings: Path) -> str:
    return f"""
[server]
connections_max = 20000
streams_max = 20000
headers_s = 2
body_s = 2
[store]
url = "embedded"
path = "data"
retention_s = 60
[streams]
heartbeat_s = 0.5
lease_s = 5
reader_stall_s = 1
first_content_s = 2
[providers.churn]
kind = "scripted"
recordings = "{RECORDINGS}"
events_per_s = 200
total_s = 30
[providers.big]
kind = "scripted"
recordings = "{recordings}"
events_per_s = 2000
total_s = 3
[models."churn/*"]
targets = ["churn/*"]
[models."big/*"]
targets = ["big/*"]
"""
