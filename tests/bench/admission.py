"""What limits add to a create: ``python -m tests.bench.admission``, six of them beside none.

One worker's part of an admission and nothing else: working out what a create can use, asking the
ledger in a real store, and the headers that tell what is left. It is measured by itself because a
whole create costs dozens of times as much, and what limits add would drown in its noise. The two
take turns, another one first in each round.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop

from proxy.app import WallClock
from proxy.downstream.holding import hold
from proxy.downstream.quota_headers import quota_headers
from proxy.policy.keys import Principal, Role
from proxy.policy.pools import Pools
from proxy.policy.quotas import Kind, Limit
from proxy.policy.routes import Target
from proxy.relay.ports import Admission, Admitted
from proxy.store.embedded import EmbeddedServer
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_link import Reply, pack
from proxy.store.redis_node import Carrier, load_scripts
from proxy.store.redis_topology import find_topology
from proxy.stream import Price, StreamId, new_stream_id
from proxy.wire.dialects import all_dialects
from tests.bench import machine
from tests.bench.measure import Figures
from tests.bench.report import conditions, summarize, table

DIALECT: Final = "openai.chat"
BODY: Final = json.dumps(
    {
        "model": "gpt-5",
        "stream": True,
        "messages": [{"role": "user", "content": "What is a stream? " * 50}],
    }
).encode()
"""1 KB, as a short chat has it."""
_KINDS: Final = (
    Kind.REQUESTS_PER_MINUTE,
    Kind.TOKENS_PER_MINUTE,
    Kind.CONCURRENT_STREAMS,
    Kind.TOKENS_PER_DAY,
    Kind.USD_PER_DAY,
    Kind.USD_PER_MONTH,
)
_TARGET: Final = Target("openai", "gpt-5", Price(1_000_000, 100_000, 10_000_000, 10_000_000))


def _principal(kinds: Sequence[Kind]) -> Principal:
    limits = tuple(Limit("team:bench", kind, 10**15) for kind in kinds)
    return Principal(owner="bench", key_name="bench", role=Role.USER, limits=limits)


CONTENDERS: Final[Mapping[str, Principal]] = {
    "no limit": _principal(()),
    "six limits": _principal(_KINDS),
}


class _Counting:
    """A carrier that counts the round trips of another one."""

    def __init__(self, calls: Carrier) -> None:
        self._calls = calls
        self.round_trips = 0

    async def run(self, calls: Sequence[bytes]) -> list[Reply]:
        self.round_trips += 1
        return await self._calls.run(calls)

    async def call(self, packed: bytes) -> Reply:
        self.round_trips += 1
        return await self._calls.call(packed)

    async def call_each(self, packed: bytes) -> Mapping[Hashable, Reply]:
        self.round_trips += 1
        return await self._calls.call_each(packed)

    def part(self, tag: str) -> Hashable:
        return self._calls.part(tag)

    def close(self) -> None:
        self._calls.close()


class Bench:
    """One worker's ledger in a store that nobody else uses."""

    def __init__(self, calls: _Counting, store_pid: int) -> None:
        self._calls = calls
        self._store_pid = store_pid
        self._clock = WallClock()
        self._ledger = RedisLedger(
            calls=calls,
            scripts=load_scripts(),
            namespace="bench",
            lease_s=5.0,
            clock=self._clock,
        )
        self._dialect = all_dialects()[DIALECT]
        self._dice = random.Random(1)

    async def admissions(self, principal: Principal, count: int) -> Figures:
        """So many, one after the other."""
        streams = [new_stream_id(self._dice.randbytes(20)) for _ in range(count)]
        ask = self._dialect.read_ask(BODY)
        trips, store_s, own_s = (
            self._calls.round_trips,
            machine.cpu_s(self._store_pid),
            time.process_time(),
        )
        for stream in streams:
            held = hold(Pools(), principal, _TARGET, self._dialect, ask)
            admitted = await self._ledger.admit(
                Admission(
                    stream=stream,
                    owner=principal.owner,
                    created_at=self._clock.now(),
                    keep_s=3600,
                    limits=held.limits,
                    ask=held.most,
                )
            )
            assert isinstance(admitted, Admitted), "there is enough for everybody"
            quota_headers(DIALECT, admitted.standings, self._clock.now())
        own_s = time.process_time() - own_s
        store_s = machine.cpu_s(self._store_pid) - store_s
        trips = self._calls.round_trips - trips
        await self._forget(streams, principal)
        return {
            "worker_us_per_admission": own_s / count * 1e6,
            "store_us_per_admission": store_s / count * 1e6,
            "round_trips_per_admission": trips / count,
        }

    async def _forget(self, streams: Sequence[StreamId], principal: Principal) -> None:
        """So that each round finds the store as the first one did."""
        for stream in streams:
            await self._ledger.settle(stream, None)
            await self._ledger.forget(stream, principal.owner, None)


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    server = EmbeddedServer(folder, on_trouble=print)
    await server.start()
    topology = find_topology(server.url, worker="bench", timeout_s=10.0)
    try:
        await topology.start()
        calls = _Counting(topology.carrier(load_scripts(), is_for_appends=False))
        told = await calls.call(pack("INFO", "server"))
        assert isinstance(told, bytes), "INFO is text"
        (pid,) = (line[11:] for line in told.splitlines() if line.startswith(b"process_id:"))
        yield Bench(calls, int(pid))
        calls.close()
    finally:
        await topology.close()
        await server.stop()


async def measure(count: int, rounds: int) -> Mapping[str, list[Figures]]:
    """The figures of each round, by contender; one round before them is for nothing."""
    figures: dict[str, list[Figures]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory(prefix="midstream-bench-") as folder:
        async with _bench(Path(folder)) as bench:
            for number in range(-1, rounds):
                order = list(CONTENDERS.items())
                for name, principal in order[:: -1 if number % 2 else 1]:
                    found = await bench.admissions(principal, count)
                    if number >= 0:
                        figures[name].append(found)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.admission", description=__doc__)
    parser.add_argument("--admissions", type=int, default=2000, help="of each round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    before = conditions()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(options.admissions, options.rounds))
    print("; ".join(f"{name}: {value}" for name, value in before.items()))
    title = f"admission: {options.admissions}, {options.rounds} rounds: median [least..most]"
    print(table(title, summarize(dict(figures))))


if __name__ == "__main__":
    main()
