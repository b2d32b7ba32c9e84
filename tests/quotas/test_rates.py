"""A rate stays one when streams outlive it, and when its limit is changed under them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec
import pytest

from proxy.policy.quotas import Ask, Kind, Limit, Use
from proxy.relay.ports import Admission, Admitted, Ledger, Refused
from proxy.store.memory import MemoryLedger, MemoryStore
from proxy.stream import StreamId
from tests.contracts.backends import ManualClock, RedisBackend, run
from tests.quotas.altered import ClockedRedis

START_S = 1_924_984_800.0
TOKENS = Limit("key:a", Kind.TOKENS_PER_MINUTE, 1000)


class Timed(NamedTuple):
    """A ledger, and how to move its clock to so many seconds after the start."""

    ledger: Ledger
    at: Callable[[float], Awaitable[None]]

    async def asks(self, stream: str, tokens: int, limit: Limit = TOKENS) -> Admitted | Refused:
        told = await self.ledger.admit(
            Admission(
                stream=StreamId(stream),
                owner="o",
                created_at=START_S,
                keep_s=10**6,
                limits=[limit],
                ask=Ask(tokens),
            )
        )
        assert isinstance(told, Admitted | Refused)
        return told

    async def takes(self, stream: str, tokens: int, limit: Limit = TOKENS) -> None:
        assert isinstance(await self.asks(stream, tokens, limit), Admitted)

    async def waits_s(self, tokens: int, limit: Limit = TOKENS) -> float | None:
        told = await self.asks("refused", tokens, limit)
        assert isinstance(told, Refused)
        return told.refusal.retry_after_s

    async def used(self, stream: str, tokens: int) -> None:
        await self.ledger.settle(StreamId(stream), Use(tokens))

    async def left(self, limit: Limit = TOKENS) -> int:
        (standing,) = await self.ledger.standings([limit])
        return standing.remaining


@asynccontextmanager
async def in_memory(_: RedisBackend) -> AsyncIterator[Timed]:
    clock = ManualClock()
    clock.time = START_S

    async def at(after_s: float) -> None:
        clock.time = START_S + after_s

    yield Timed(MemoryLedger(MemoryStore(clock), 5.0), at)


@asynccontextmanager
async def on_a_server(backend: RedisBackend) -> AsyncIterator[Timed]:
    server = ClockedRedis(backend, START_S)
    async with server.worker() as ledger:
        yield Timed(ledger, lambda after_s: server.at(START_S + after_s))


Tell = Callable[[Callable[[Timed], Awaitable[None]]], None]


@pytest.fixture(params=["memory", "redis"])
def tell(request: pytest.FixtureRequest, redis_backend: RedisBackend) -> Tell:
    where = in_memory if request.param == "memory" else on_a_server

    def tell(story: Callable[[Timed], Awaitable[None]]) -> None:
        async def test() -> None:
            async with where(redis_backend) as timed:
                await story(timed)

        run(test)

    return tell


# --- what a stream gives back -----------------------------------------------------------------


def test_a_hold_that_has_drained_gives_nothing_back_out_of_what_others_hold(tell: Tell) -> None:
    async def story(timed: Timed) -> None:
        await timed.takes("long", 1000)
        await timed.at(60.0)
        await timed.takes("busy", 1000)
        await timed.used("long", 0)
        assert await timed.left() == 0
        assert await timed.waits_s(1000) == 60.0

    tell(story)


def test_idle_minutes_cannot_be_saved_up_in_streams_that_are_cancelled_together(
    tell: Tell,
) -> None:
    async def story(timed: Timed) -> None:
        for minute in range(5):
            await timed.at(60.0 * minute)
            await timed.takes(f"saved {minute}", 1000)
        await timed.at(300.0)
        await timed.takes("spent", 1000)
        for minute in range(5):
            await timed.used(f"saved {minute}", 0)
            assert await timed.left() == 0

    tell(story)


def test_what_of_a_hold_is_still_there_comes_back(tell: Tell) -> None:
    async def story(timed: Timed) -> None:
        await timed.takes("before", 400)
        await timed.takes("short", 600)
        await timed.at(30.0)  # 400 and then 100 have drained
        await timed.used("short", 50)
        assert await timed.left() == 1000

        await timed.takes("other", 1000)
        await timed.at(40.0)
        await timed.used("before", 0)
        await timed.used("other", 900)
        assert await timed.left() == 266

    tell(story)


def test_what_was_used_beyond_a_hold_is_owed_however_late_it_is_told(tell: Tell) -> None:
    async def story(timed: Timed) -> None:
        await timed.takes("long", 100)
        await timed.at(600.0)
        await timed.used("long", 1600)
        assert await timed.left() == 0
        assert await timed.waits_s(1) == pytest.approx(30.06)

    tell(story)


# --- a limit that is changed ------------------------------------------------------------------


def test_a_limit_that_is_lowered_holds_for_a_minute_of_its_own_and_not_for_hours(
    tell: Tell,
) -> None:
    async def story(timed: Timed) -> None:
        low = msgspec.structs.replace(TOKENS, amount=10)
        await timed.takes("before", 1000)
        assert await timed.waits_s(10, low) == 60.0
        await timed.at(30.0)
        assert await timed.left(low) == 5
        await timed.at(60.0)
        await timed.takes("after", 10, low)
        assert await timed.left(low) == 0

    tell(story)


def test_a_debt_outlives_a_limit_that_is_lowered(tell: Tell) -> None:
    async def story(timed: Timed) -> None:
        low = msgspec.structs.replace(TOKENS, amount=100)
        await timed.takes("before", 1000)
        await timed.used("before", 1050)
        assert await timed.waits_s(100, low) == 90.0

    tell(story)


def test_a_limit_that_is_raised_holds_at_once_and_streams_of_before_are_settled(
    tell: Tell,
) -> None:
    async def story(timed: Timed) -> None:
        high = msgspec.structs.replace(TOKENS, amount=5000)
        await timed.takes("before", 1000)
        await timed.takes("after", 3000, high)
        assert await timed.left(high) == 1000
        await timed.used("before", 200)
        assert await timed.left(high) == 1800

    tell(story)
