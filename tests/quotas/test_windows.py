"""Days and months on a real server: midnight by the server's clock, whatever a worker's says."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from proxy.policy.quotas import Ask, Kind, Limit, Use
from proxy.relay.ports import Admission, Admitted, Ledger, Refused
from proxy.stream import StreamId
from tests.contracts.backends import ManualClock, RedisBackend, run
from tests.quotas.altered import ClockedRedis

AMOUNT = 1000


def unix(moment: str, zone: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).timestamp()


def asking(stream: str, limit: Limit, count: int) -> Admission:
    return Admission(
        stream=StreamId(stream),
        owner="o",
        created_at=0.0,
        keep_s=10**6,
        limits=[limit],
        ask=Ask(count, count),
    )


async def left(ledger: Ledger, limit: Limit) -> int:
    (standing,) = await ledger.standings([limit])
    return standing.remaining


EDGES = [
    (Kind.TOKENS_PER_DAY, "UTC", "2030-05-06T00:00"),
    (Kind.TOKENS_PER_DAY, "Asia/Kathmandu", "2030-05-06T00:00"),
    (Kind.USD_PER_DAY, "Europe/Berlin", "2030-03-31T00:00"),
    (Kind.USD_PER_MONTH, "America/New_York", "2030-11-01T00:00"),
    (Kind.TOKENS_PER_MONTH, "Pacific/Auckland", "2031-01-01T00:00"),
]


@pytest.mark.parametrize("skew_s", [-300.0, 0.0, 300.0])
@pytest.mark.parametrize(("kind", "zone", "edge"), EDGES)
def test_a_window_ends_by_the_server_s_clock_alone(
    redis_backend: RedisBackend, kind: Kind, zone: str, edge: str, skew_s: float
) -> None:
    async def test() -> None:
        limit, edge_s = Limit("key:a", kind, AMOUNT, zone=zone), unix(edge, zone)
        clock = ManualClock()
        clock.time = edge_s - 1.0 + skew_s
        server = ClockedRedis(redis_backend, edge_s - 1.0)
        async with server.worker(clock) as ledger:
            assert isinstance(await ledger.admit(asking("old", limit, 900)), Admitted)
            await server.at(edge_s - 0.001)
            told = await ledger.admit(asking("more", limit, 200))
            assert isinstance(told, Refused)
            assert told.refusal.retry_after_s == 0.001
            await server.at(edge_s)
            assert await left(ledger, limit) == AMOUNT
            assert isinstance(await ledger.admit(asking("new", limit, 1000)), Admitted)

    run(test)


@pytest.mark.parametrize(("kind", "zone", "edge"), EDGES)
def test_a_stream_over_midnight_is_settled_into_the_window_that_it_was_admitted_in(
    redis_backend: RedisBackend, kind: Kind, zone: str, edge: str
) -> None:
    async def test() -> None:
        limit, edge_s = Limit("key:a", kind, AMOUNT, zone=zone), unix(edge, zone)
        server = ClockedRedis(redis_backend, edge_s - 1.0)
        async with server.worker() as ledger:
            await ledger.admit(asking("long", limit, 900))
            await server.at(edge_s + 60.0)
            await ledger.admit(asking("new", limit, 100))
            await ledger.settle(StreamId("long"), Use(250, 250))
            assert await left(ledger, limit) == AMOUNT - 100
            await server.at(edge_s - 0.5)  # what the old window shows, though it is over
            assert await left(ledger, limit) == AMOUNT - 250

    run(test)


def test_two_workers_whose_clocks_are_ten_minutes_apart_share_one_budget(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        edge_s = unix("2030-12-01T00:00", "UTC")
        limit = Limit("all", Kind.USD_PER_MONTH, AMOUNT)
        slow, fast = ManualClock(), ManualClock()
        slow.time, fast.time = edge_s - 300.0, edge_s + 300.0
        server = ClockedRedis(redis_backend, edge_s)
        async with server.worker(slow) as one, server.worker(fast) as other:
            assert isinstance(await one.admit(asking("a", limit, 600)), Admitted)
            assert isinstance(await other.admit(asking("b", limit, 600)), Refused)
            assert isinstance(await other.admit(asking("c", limit, 400)), Admitted)
            assert await left(one, limit) == await left(other, limit) == 0

    run(test)
