"""Lua says of meters what Python says: the same random operations, at the same moments."""

import random
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from proxy.policy.quotas import Ask, Kind, Limit, Use
from proxy.relay.ports import Admission, Ledger
from proxy.store.memory import MemoryLedger, MemoryStore
from proxy.stream import StreamId
from tests.contracts.backends import ManualClock, RedisBackend, run
from tests.quotas.altered import ClockedRedis

START_S = 1_924_984_800.0
"""2030-12-31, 22:00 UTC: every window is about to end."""
STEPS = 150
SKEW_S = 300.0

LIMITS = [
    *(
        Limit("key:a", kind, amount)
        for kind, amount in zip(Kind, (3, 900, 2, 2000, 9000, 50, 400), strict=True)
    ),
    Limit("all", Kind.REQUESTS_PER_MINUTE, 7),
    Limit("all", Kind.TOKENS_PER_MINUTE, 1),
    Limit("team:t", Kind.TOKENS_PER_DAY, 5_000_000_000_000, zone="Asia/Kolkata"),
    Limit("team:t", Kind.USD_PER_MONTH, 60, zone="America/New_York"),
    Limit("key:a", Kind.CONCURRENT_STREAMS, 2),
    Limit("key:a", Kind.TOKENS_PER_MINUTE, 100),  # it is lowered and raised all the time
    Limit("all", Kind.REQUESTS_PER_MINUTE, 2),
]


class Step(msgspec.Struct, frozen=True):
    """One thing that is done, at one moment."""

    what: str
    at_s: float
    stream: StreamId
    limits: Sequence[Limit]
    ask: Ask
    use: Use | None
    by_pool: Mapping[str, Use]


def steps(seed: int) -> list[Step]:
    """Time goes on by eighths of a second, which a float holds exactly; now and then back."""
    rng = random.Random(seed)
    now_s, found = START_S, []
    for _ in range(STEPS):
        pause = rng.choice([0, 0, 1, 40, 500, 8 * 600, 8 * 40_000, -9])
        now_s += rng.randint(min(pause, 0), max(pause, 0)) / 8
        found.append(
            Step(
                what=rng.choice(["admit"] * 4 + ["more"] * 3 + ["settle"] * 3 + ["standings"]),
                at_s=now_s,
                stream=StreamId(f"st_{rng.randint(1, 9)}"),
                limits=distinct(rng.sample(LIMITS, rng.randint(0, 6))),
                ask=Ask(rng.choice([0, 1, 30, 300, 2500]), rng.choice([0, 1, 20, 70])),
                use=rng.choice([None, Use(), Use(rng.randint(0, 3000), rng.randint(0, 90))]),
                by_pool={
                    pool: Use(rng.randint(0, 3000), rng.randint(0, 90))
                    for pool in rng.sample(["key:a", "all", "team:t"], rng.randint(0, 2))
                },
            )
        )
    return found


def distinct(limits: Sequence[Limit]) -> list[Limit]:
    return list({(limit.pool, limit.kind): limit for limit in limits}.values())


async def do(step: Step, ledger: Ledger) -> object:
    """The step, and what was said to it."""
    match step.what:
        case "admit":
            return await ledger.admit(
                Admission(
                    stream=step.stream,
                    owner="o",
                    created_at=step.at_s,
                    keep_s=10**7,
                    limits=step.limits,
                    ask=step.ask,
                )
            )
        case "more":
            # In Redis a stream that held nothing is one of a crowd for two days, no longer.
            limits = [each for each in step.limits if each.kind is not Kind.CONCURRENT_STREAMS]
            more = [limit for limit in limits if limit.pool == limits[0].pool]
            return await ledger.hold_more(step.stream, more, step.ask)
        case "settle":
            await ledger.settle(step.stream, step.use, step.by_pool)
            return None
        case _:
            return list(await ledger.standings(step.limits))


@pytest.mark.parametrize("skew_s", [0.0, SKEW_S, -SKEW_S])
@pytest.mark.parametrize("seed", range(30))
def test_lua_and_python_agree_whatever_the_worker_s_clock_says(
    redis_backend: RedisBackend, seed: int, skew_s: float
) -> None:
    async def test() -> None:
        clock, worker_clock = ManualClock(), ManualClock()
        clock.time, worker_clock.time = START_S, START_S + skew_s
        memory = MemoryLedger(MemoryStore(clock), 5.0)
        server = ClockedRedis(redis_backend, START_S)
        async with server.worker(worker_clock) as redis:
            for number, step in enumerate(steps(seed)):
                clock.time, worker_clock.time = step.at_s, step.at_s + skew_s
                await server.at(step.at_s)
                expected = await do(step, memory)
                assert await do(step, redis) == expected, (seed, number, step)

    run(test)
