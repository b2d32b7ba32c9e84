"""One run: the processes, the clients, the kills, and then the verdict.

Owns the order of things. What is planned is drawn from the seed (`plan`), what happened is
judged by `verdict`; here they are only brought together, and every wait has a bound.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec

from tests.chaos import plan, processes
from tests.chaos.asking import Client
from tests.chaos.processes import Store, Worker
from tests.chaos.provider import read_book
from tests.chaos.reading import serving
from tests.chaos.record import Anomaly, Asked, Fault
from tests.chaos.verdict import Run, Verdict, judge

_RAMP_S = 6.0
"""In which the first clients begin, one after the other; then the kills."""
_CALM_S = 45.0
"""After the last kill: for the longest answer, a lease, and all that lags."""
_SETTLED_S = 10.0
"""In which the ledger has to count nothing as running any more."""
_LAG_EVERY_S = 0.1
_BUG_LINES = ("internal_error", "Traceback")
"""What a worker's log must not say."""


class Order(msgspec.Struct, frozen=True):
    """What is asked of a run."""

    seed: int
    folder: Path
    streams: int = 300
    workers: int = 4
    worker_kills: int = 30
    store_kills: int = 10
    seconds: float = 45.0
    """In which the kills happen."""
    lease_s: float = 2.0
    transports: tuple[plan.Transport, ...] = ("sse", "poll")
    store: str = ""


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
    """How late this process itself was, at most: no wait is known better than that."""


class Blows:
    """Carries out the kills."""

    def __init__(self, order: Order, store: Store, workers: Sequence[Worker]) -> None:
        self.worker_kills = 0
        self.store_kills = 0
        self._order = order
        self._store = store
        self._workers = workers

    async def strike(self) -> None:
        """All of them, at their hours, or as soon after as there is somebody to be killed."""
        order = self._order
        begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for blow in plan.plan_blows(
                order.seed,
                workers=order.workers,
                worker_kills=order.worker_kills,
                store_kills=order.store_kills,
                seconds=order.seconds,
            ):
                await asyncio.sleep(begun + blow.at_s - time.monotonic())
                if blow.worker is None:
                    self.store_kills += 1
                    tasks.create_task(self._store.kill(blow.down_s))
                else:
                    (await serving(self._workers, blow.worker)).kill()
                    self.worker_kills += 1


class Crowd:
    """So many clients at a time: when one has what it wanted, the next one begins."""

    def __init__(self, order: Order, http: aiohttp.ClientSession, workers: list[Worker]) -> None:
        self.clients: list[Client] = []
        self.is_over = False
        self._order = order
        self._http = http
        self._workers = workers
        self._numbers = itertools.count(1)
        self._rng = random.Random(f"{order.seed} crowd")

    async def come(self) -> None:
        """Until `is_over`; returns when the last one has gone."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._order.streams):
                tasks.create_task(self._place(self._rng.random() * _RAMP_S))

    async def _place(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        while not self.is_over:
            order = self._order
            key = f"key-{next(self._numbers):06}"
            client = Client(self._http, self._workers, order.seed, key, order.transports)
            self.clients.append(client)
            await client.live()


class Lag:
    """How late this process wakes."""

    def __init__(self) -> None:
        self.most_s = 0.0

    async def watch(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.most_s = max(self.most_s, loop.time() - due)


async def chaos(order: Order) -> Report:
    """Do it, and judge it."""
    begun = time.monotonic()
    order.folder.mkdir(parents=True, exist_ok=True)
    lag = Lag()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        store = Store(order.folder, processes.store_program(order.store))
        watching = asyncio.create_task(lag.watch())
        try:
            await store.start()
            async with processes.provider(order.folder, order.seed) as provider:
                config = {
                    "store": store.url,
                    "provider": provider,
                    "lease_s": order.lease_s,
                    "heartbeat_s": 15,
                    "drain_s": 5,
                }
                async with processes.workers(order.folder, order.workers, http, config) as workers:
                    crowd, blows, broken = await _live_through(order, http, store, workers)
        finally:
            watching.cancel()
            await store.stop()
    book = read_book(order.folder / "asked.jsonl")
    run = Run(
        book=book,
        watched=[each for client in crowd.clients for each in client.watched.values()],
        lives=[life for worker in workers for life in worker.lives],
        outages=store.outages,
        lease_s=order.lease_s,
    )
    verdict = judge(run)
    for client in crowd.clients:
        verdict.anomalies += client.anomalies
    verdict.anomalies += broken + _broken(workers)
    return Report(
        verdict=verdict,
        streams=len(run.watched),
        asks=sum(isinstance(line, Asked) for line in book),
        creates=sum(client.creates for client in crowd.clients),
        worker_kills=blows.worker_kills,
        store_kills=blows.store_kills,
        lasted_s=time.monotonic() - begun,
        held_s=max(client.held_s for client in crowd.clients),
        lag_s=lag.most_s,
    )


async def _live_through(
    order: Order, http: aiohttp.ClientSession, store: Store, workers: list[Worker]
) -> tuple[Crowd, Blows, list[Anomaly]]:
    crowd, blows = Crowd(order, http, workers), Blows(order, store, workers)
    coming = asyncio.create_task(crowd.come())
    await asyncio.sleep(_RAMP_S)
    await blows.strike()
    crowd.is_over = True
    await asyncio.wait({coming}, timeout=_CALM_S)
    if not coming.done():
        coming.cancel()
        await asyncio.wait({coming})
    elif coming.exception() is not None:
        raise AssertionError("a client broke") from coming.exception()
    return crowd, blows, await _unsettled(store)


async def _unsettled(store: Store) -> list[Anomaly]:
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
