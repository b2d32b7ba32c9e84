"""Many processes ask one ledger for the same few limits at once; then every step is judged.

``python -m tests.quotas.hammer [ADMISSIONS] [--cluster]``: 4 processes of 64 tasks each. The
scripts write down what they did, in the store's own order. The judge goes through that with plain
sums, which no admission may have passed, and with the meters in memory, which must have decided
the same each time, refusals too.
"""

import argparse
import asyncio
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from proxy.app import WallClock
from proxy.policy.quotas import Ask, Kind, Limit, Use
from proxy.relay.ports import Admission, Admitted, Claim, Ledger
from proxy.store.embedded import EmbeddedServer
from proxy.store.memory_meters import Meters
from proxy.store.redis_link import pack
from proxy.store.redis_topology import find_topology
from proxy.stream import StreamId, new_stream_id
from tests.fleets import a_cluster
from tests.quotas.altered import altered_ledger, logging

PROCESSES, TASKS = 4, 64
_PAGE = 5_000

_ALL = Limit("all", Kind.CONCURRENT_STREAMS, 90)
_REQUESTS = Limit("all", Kind.REQUESTS_PER_MINUTE, 3_000)
LIMITS: Sequence[tuple[Limit, ...]] = (
    (_ALL, _REQUESTS),
    (_ALL, Limit("key:a", Kind.TOKENS_PER_MINUTE, 300_000)),
    (_ALL, _REQUESTS, Limit("team:t", Kind.USD_PER_DAY, 25_000)),
    (_ALL, _REQUESTS, Limit("key:b", Kind.TOKENS_PER_MONTH, 250_000)),
)
"""What four keys have to pass. Together they ask for more than there is of each."""


class Share(NamedTuple):
    """What one process does."""

    url: str
    namespace: str
    admissions: int
    seed: int


# --- asking -----------------------------------------------------------------------------------


def work(share: Share) -> None:
    """One process's share."""

    async def ask_all() -> None:
        alter = logging(log_of(share.namespace))
        async with (
            altered_ledger(share.url, share.namespace, WallClock(), alter) as ledger,
            asyncio.TaskGroup() as tasks,
        ):
            for task in range(TASKS):
                dice = random.Random(share.seed * TASKS + task)
                tasks.create_task(ask_on(ledger, dice, share.admissions // TASKS))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask_all())


def log_of(namespace: str) -> str:
    """The key of what the scripts write down, in the ledger's slot."""
    return f"{namespace}:{{ledger}}:log"


async def ask_on(ledger: Ledger, dice: random.Random, count: int) -> None:
    """So many creates, one after the other; replies are lost, and ends are told twice."""
    for _ in range(count):
        which = dice.randrange(len(LIMITS))
        ask = Ask(dice.randint(0, 900), dice.randint(0, 90))
        admission = Admission(
            stream=new_stream_id(dice.randbytes(20)),
            owner="o",
            created_at=time.time(),
            keep_s=1000.0,
            claim=Claim(f"{which} {dice.randrange(500)}", b"%d" % which),
            limits=LIMITS[which],
            ask=ask,
        )
        told = await ledger.admit(admission)
        if not isinstance(told, Admitted):
            continue
        if dice.random() < 0.05:
            assert isinstance(await ledger.admit(admission), Admitted)
        await asyncio.sleep(dice.choice([0, 0.001, 0.02]))
        used = Use(dice.randint(0, ask.tokens), dice.randint(0, ask.microdollars))
        use = dice.choice([None, used, used, used])
        for _ in range(dice.choice([1, 1, 1, 3])):
            await ledger.settle(admission.stream, use)
        assert admission.claim is not None
        await ledger.release("o", admission.claim.key, admission.stream)


# --- judging ----------------------------------------------------------------------------------


class Entry(NamedTuple):
    """One step of the store. `outcome` is 1 admitted, 0 refused, 2 a repeat."""

    name: str
    at_ms: int
    outcome: int
    stream: StreamId
    which: int
    ask: Ask
    use: Use | None


def read_entry(packed: bytes) -> Entry:
    """As the scripts wrote it."""
    name, at_ms, outcome, stream, fingerprint, tokens, money = msgspec.msgpack.decode(packed)
    if name == "settle":
        use = None if tokens == "" else Use(int(tokens), int(money))
        return Entry(name, int(at_ms), 0, StreamId(stream), 0, Ask(), use)
    ask = Ask(int(tokens), int(money))
    return Entry(name, int(at_ms), outcome, StreamId(stream), int(fingerprint), ask, None)


class Sums:
    """What is held and used of each limit, told apart from all that the product reckons with."""

    def __init__(self) -> None:
        self.holds: dict[StreamId, Entry] = {}
        self.levels: dict[StreamId, float] = {}
        """Of the bucket of tokens, when each had taken what it holds."""
        self.running = 0
        self.spent = Counter[tuple[Kind, str]]()
        """Of each window."""
        self.rates: dict[Limit, list[float]] = {}

    def admit(self, entry: Entry) -> None:
        """Raises `AssertionError` if a limit is passed by it."""
        if entry.stream in self.holds:
            return
        self.holds[entry.stream] = entry
        self.running += 1
        for limit in LIMITS[entry.which]:
            match limit.kind:
                case Kind.CONCURRENT_STREAMS:
                    assert self.running <= limit.amount, (limit, entry)
                case Kind.TOKENS_PER_MONTH | Kind.USD_PER_DAY:
                    window = window_of(limit.kind, entry.at_ms)
                    self.spent[window] += asked_of(limit.kind, entry.ask)
                    assert self.spent[window] <= limit.amount, (limit, entry)
                case _:
                    count = 1 if limit.kind is Kind.REQUESTS_PER_MINUTE else entry.ask.tokens
                    level = self._drain(limit, entry.at_ms) + count
                    self.rates[limit][0] = self.levels[entry.stream] = level
                    assert level <= limit.amount + 0.001, (limit, entry)

    def settle(self, entry: Entry) -> None:
        """The first time it gives back what was not used."""
        held = self.holds.pop(entry.stream, None)
        if held is None:
            return
        self.running -= 1
        ask = held.ask
        use = entry.use or Use(ask.tokens, ask.microdollars)
        for limit in LIMITS[held.which]:
            if limit.kind in {Kind.TOKENS_PER_MONTH, Kind.USD_PER_DAY}:
                more = asked_of(limit.kind, use) - asked_of(limit.kind, ask)
                self.spent[window_of(limit.kind, held.at_ms)] += more
            elif limit.kind is Kind.TOKENS_PER_MINUTE:
                drained = (entry.at_ms - held.at_ms) * limit.amount / 60_000
                there = max(0.0, self.levels[entry.stream] - drained)
                level = self._drain(limit, entry.at_ms) - min(ask.tokens - use.tokens, there)
                self.rates[limit][0] = max(0.0, level)

    def _drain(self, limit: Limit, at_ms: int) -> float:
        level, last_ms = self.rates.setdefault(limit, [0.0, at_ms])
        level = max(0.0, level - (at_ms - last_ms) * limit.amount / 60_000)
        self.rates[limit] = [level, at_ms]
        return level


def window_of(kind: Kind, at_ms: int) -> tuple[Kind, str]:
    """The day or month, in UTC."""
    form = "%Y-%m" if kind is Kind.TOKENS_PER_MONTH else "%Y-%m-%d"
    return kind, time.strftime(form, time.gmtime(at_ms / 1000))


def asked_of(kind: Kind, what: Ask | Use) -> int:
    """The part of it that such a budget counts."""
    return what.tokens if kind is Kind.TOKENS_PER_MONTH else what.microdollars


def judge(entries: Sequence[Entry]) -> Counter[str]:
    """How often each thing happened. Raises `AssertionError` at the first that was wrong."""
    sums, meters, seen = Sums(), Meters(), Counter[str]()
    for entry in entries:
        now_s = entry.at_ms / 1000 + 1e-6  # the same millisecond, whatever a float makes of it
        if entry.name == "settle":
            sums.settle(entry)
            meters.settle(entry.stream, entry.use, {}, now_s)
            seen["settled"] += 1
        elif entry.outcome == 2:
            seen["repeated"] += 1
        else:
            limits = LIMITS[entry.which]
            refused = meters.hold(entry.stream, limits, entry.ask, now_s)
            assert (refused is None) == (entry.outcome == 1), (entry, refused)
            if refused is None:
                sums.admit(entry)
                seen["admitted"] += 1
            else:
                seen[f"refused: {refused.limit.kind}"] += 1
    assert not sums.holds, "all are settled"
    for limit in (LIMITS[2][-1], LIMITS[3][-1]):
        (shown,) = meters.standings([limit], now_s)
        spent = sums.spent[window_of(limit.kind, int(now_s * 1000))]
        assert shown.remaining == limit.amount - spent, "what is left is what was not used"
    return seen


async def read_log(url: str, namespace: str) -> AsyncIterator[Entry]:
    """What the scripts wrote down, in its order."""
    topology = find_topology(url, worker="judge", timeout_s=10.0)
    await topology.start()
    calls = topology.carrier({}, is_for_appends=False)
    for begin in range(0, sys.maxsize, _PAGE):
        page = await calls.call(pack("LRANGE", log_of(namespace), begin, begin + _PAGE - 1))
        assert isinstance(page, list)
        for packed in page:
            assert isinstance(packed, bytes)
            yield read_entry(packed)
        if len(page) < _PAGE:
            break
    await calls.call(pack("DEL", log_of(namespace)))
    calls.close()
    await topology.close()


def hammer(url: str, namespace: str, admissions: int, seed: int) -> tuple[Counter[str], float]:
    """Ask, and judge: how often each thing happened, and how long the asking took, in s."""
    each = admissions // PROCESSES
    shares = [Share(url, namespace, each, seed * PROCESSES + n) for n in range(PROCESSES)]
    begun = time.perf_counter()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(work, shares):
            pass
    asked_s = time.perf_counter() - begun

    async def entries() -> list[Entry]:
        return [entry async for entry in read_log(url, namespace)]

    return judge(asyncio.run(entries())), asked_s


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("admissions", nargs="?", type=int, default=100_000)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if asked.cluster:
            url = stack.enter_context(a_cluster(Path(folder), "valkey")).url
        else:
            server = EmbeddedServer(Path(folder), on_trouble=print)
            asyncio.run(server.start())
            stack.callback(lambda: asyncio.run(server.stop()))
            url = server.url
        seen, took_s = hammer(url, "hammer", asked.admissions, asked.seed)
    for what, count in sorted(seen.items()):
        print(f"{count:>8,} {what}")
    print(f"{sum(seen.values()) / took_s:,.0f} steps a second; no limit was passed.")


if __name__ == "__main__":
    main()
