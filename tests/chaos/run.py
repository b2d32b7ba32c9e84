"""The stage, the crowd and the blows of a run, and what comes of it.

Owns the order of things. What is planned is drawn from the seed (`plan`), what happened is
judged by `verdict`; here they are only brought together, and every wait has a bound.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from tests.chaos import plan, processes
from tests.chaos.asking import Client
from tests.chaos.processes import Store, Worker
from tests.chaos.provider import read_book
from tests.chaos.reading import serving
from tests.chaos.record import Anomaly, Asked, Fault, Outage
from tests.chaos.verdict import Run, Verdict, judge

_RAMP_S = 6.0
"""In which the first clients begin, one after the other; then the kills."""
_CALM_S = 45.0
"""After the last kill: for the longest answer, a lease, and all that lags."""
_SETTLED_S = 10.0
"""In which the ledger has to count nothing as running any more."""
_RETENTION_S = 7200
"""Longer than any run: what has expired is on no list, and would be missing in the account."""
_LAG_EVERY_S = 0.1
_BUG_LINES = ("internal_error", "Traceback")
"""What a worker's log must not say."""


class Order(msgspec.Struct, frozen=True):
    """What is asked of a run."""

    seed: int
    folder: Path
    streams: int = 300
    """That run or are read at a time."""
    workers: int = 4
    worker_kills: int = 30
    store_kills: int = 10
    seconds: float = 36.0
    """In which the kills happen."""
    lease_s: float = 2.0
    heartbeat_s: float = 15.0
    drain_s: float = 5.0
    longest_s: float = 15.0
    """That an answer lasts, about."""
    transports: tuple[plan.Transport, ...] = ("sse", "poll", "ws")
    keeps_alive: bool = True
    """Clients use a connection for more than one request."""
    store: str = ""


class Stage(NamedTuple):
    """What is there before anybody comes."""

    http: aiohttp.ClientSession
    store: Store
    workers: list[Worker]


class Report(msgspec.Struct):
    """What came of it."""

    verdict: Verdict
    streams: int
    asks: int
    creates: int
    worker_kills: int
    store_kills: int
    lasted_s: float
    held_s: float
    """How long a key stayed with a stream that had ended before its first content, at most."""
    lag_s: float
    """How late this process itself was, at most."""
    stalls: int
    """How often it was so late that a lease after it nobody is judged."""


@asynccontextmanager
async def stage(order: Order) -> AsyncIterator[Stage]:
    """A store, a provider and workers that all serve."""
    order.folder.mkdir(parents=True, exist_ok=True)
    store = Store(order.folder, processes.store_program(order.store))
    connector = aiohttp.TCPConnector(limit=0, force_close=not order.keeps_alive)
    async with aiohttp.ClientSession(connector=connector) as http:
        try:
            await store.start()
            async with processes.provider(_book(order), order.seed, order.longest_s) as provider:
                config = {
                    "store": store.url,
                    "provider": provider,
                    "lease_s": order.lease_s,
                    "heartbeat_s": order.heartbeat_s,
                    "drain_s": order.drain_s,
                    "retention_s": _RETENTION_S,
                }
                async with processes.workers(order.folder, order.workers, http, config) as workers:
                    yield Stage(http, store, workers)
        finally:
            await store.stop()


def _book(order: Order) -> Path:
    return order.folder / "asked.jsonl"


class Crowd:
    """So many clients at a time: when one has what it wanted, the next one comes."""

    def __init__(self, order: Order, made: Callable[[str], Client]) -> None:
        self.clients: list[Client] = []
        self.is_closed = False
        """Nobody comes any more; who is there stays to the end."""
        self._order = order
        self._made = made
        self._numbers = itertools.count(1)
        self._rng = random.Random(f"{order.seed} crowd")
        self._coming: asyncio.Task[None] | None = None

    def open(self, ramp_s: float) -> None:
        """Let the first ones come, all within so many seconds."""
        self._coming = asyncio.create_task(self._come(ramp_s))

    async def close(self) -> None:
        """Wait until all have gone, but not for ever: what they lack then, they lack."""
        assert self._coming is not None, "open"
        self.is_closed = True
        await asyncio.wait({self._coming}, timeout=_CALM_S)
        self._coming.cancel()
        await asyncio.wait({self._coming})
        if not self._coming.cancelled():
            self._coming.result()

    async def _come(self, ramp_s: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._order.streams):
                tasks.create_task(self._place(self._rng.random() * ramp_s))

    async def _place(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        while True:
            client = self._made(f"key-{next(self._numbers):06}")
            self.clients.append(client)
            await client.live()
            if self.is_closed:
                return


class Blows:
    """Carries out the kills."""

    def __init__(self, order: Order, stage: Stage) -> None:
        self.worker_kills = 0
        self.store_kills = 0
        self._order = order
        self._stage = stage

    async def strike(self) -> None:
        """All of them. When somebody is not up yet to be killed, all later ones are put off."""
        order, stage = self._order, self._stage
        at_s = 0.0
        async with asyncio.TaskGroup() as tasks:
            for blow in plan.plan_blows(
                order.seed,
                workers=order.workers,
                worker_kills=order.worker_kills,
                store_kills=order.store_kills,
                seconds=order.seconds,
            ):
                await asyncio.sleep(blow.at_s - at_s)
                at_s = blow.at_s
                if blow.worker is None:
                    self.store_kills += 1
                    tasks.create_task(stage.store.kill(blow.down_s))
                else:
                    (await serving(stage.workers, blow.worker)).kill()
                    self.worker_kills += 1


class Lag:
    """How late this process wakes."""

    def __init__(self, lease_s: float) -> None:
        self.most_s = 0.0
        self.stalls: list[Outage] = []
        """When it woke too late for workers to have renewed their leases in good time."""
        self._stall_s = lease_s / 8

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            due = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            now = time.monotonic()
            self.most_s = max(self.most_s, now - due)
            if now - due > self._stall_s:
                self.stalls.append(Outage(due, now))


async def chaos(order: Order) -> Report:
    """Do it, and judge it."""
    begun = time.monotonic()
    lag = Lag(order.lease_s)
    watching = asyncio.create_task(lag.watch())
    try:
        async with stage(order) as staged:
            http, store, workers = staged
            crowd = Crowd(
                order, lambda key: Client(http, workers, order.seed, key, order.transports)
            )
            blows = Blows(order, staged)
            crowd.open(_RAMP_S)
            await asyncio.sleep(_RAMP_S)
            await blows.strike()
            await crowd.close()
            left = await unsettled(store)
    finally:
        watching.cancel()
    run = account(order, crowd.clients, staged)
    run.stalls, run.lag_s = lag.stalls, lag.most_s
    verdict = judge(run)
    verdict.anomalies += left
    return Report(
        verdict=verdict,
        streams=len(run.watched),
        asks=sum(isinstance(line, Asked) for line in run.book),
        creates=sum(client.creates for client in crowd.clients),
        worker_kills=blows.worker_kills,
        store_kills=blows.store_kills,
        lasted_s=time.monotonic() - begun,
        held_s=max(client.held_s for client in crowd.clients),
        lag_s=lag.most_s,
        stalls=len(lag.stalls),
    )


def account(order: Order, clients: Sequence[Client], staged: Stage) -> Run:
    """Everything that is known once the stage is empty."""
    return Run(
        book=read_book(_book(order)),
        watched=[each for client in clients for each in client.watched.values()],
        lives=[life for worker in staged.workers for life in worker.lives],
        outages=staged.store.outages,
        lease_s=order.lease_s,
        noted=[
            *(anomaly for client in clients for anomaly in client.anomalies),
            *_broken(staged.workers),
        ],
    )


async def unsettled(store: Store) -> list[Anomaly]:
    """Nothing runs, so nothing counts as running; and every key in the store has its expiry."""
    until = time.monotonic() + _SETTLED_S
    while (left := await store.running()) and time.monotonic() < until:
        await asyncio.sleep(0.2)
    anomalies = [Anomaly(Fault.UNSETTLED, stream, "still counted as running") for stream in left]
    return anomalies + [
        Anomaly(Fault.UNSETTLED, key, "never expires") for key in await store.immortal()
    ]


def _broken(workers: Sequence[Worker]) -> list[Anomaly]:
    """Processes that ended by themselves, and bugs that they have told of."""
    found = []
    for worker in workers:
        found += [Anomaly(Fault.BROKEN, worker.url, what) for what in worker.failures]
        for line in worker.log.read_text(errors="replace").splitlines():
            if any(word in line for word in _BUG_LINES):
                found.append(Anomaly(Fault.BROKEN, worker.url, line[:500]))
    return found
