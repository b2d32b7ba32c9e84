"""What every ledger does with limits. See `Ledger.admit`, `settle` and `standings`."""

import asyncio
import secrets
from collections.abc import Sequence

import msgspec
import pytest

from proxy.policy.quotas import Ask, Kind, Limit, Use
from proxy.relay.ports import Admission, Admitted, Claim, Ledger, Refused, Repeat
from proxy.stream import new_stream_id
from tests.contracts.backends import Backend, RedisBackend, run

DAY_MS = 86_400_000
KEEP_S = 1000.0

REQUESTS = Limit("key:a", Kind.REQUESTS_PER_MINUTE, 3)
TOKENS = Limit("key:a", Kind.TOKENS_PER_MINUTE, 1000)
STREAMS = Limit("all", Kind.CONCURRENT_STREAMS, 2)
TOKENS_A_MONTH = Limit("team:t", Kind.TOKENS_PER_MONTH, 5000, zone="Europe/Berlin")
DOLLARS_A_DAY = Limit("team:t", Kind.USD_PER_DAY, 1_000_000)
EVERY = (REQUESTS, TOKENS, STREAMS, TOKENS_A_MONTH, DOLLARS_A_DAY)


def admission(
    *limits: Limit, tokens: int = 0, microdollars: int = 0, claim: str | None = None
) -> Admission:
    return Admission(
        stream=new_stream_id(secrets.token_bytes(20)),
        owner="o",
        created_at=1_700_000_000.0,
        keep_s=KEEP_S,
        claim=None if claim is None else Claim(claim, b"f" * 32),
        limits=limits,
        ask=Ask(tokens, microdollars),
    )


async def left(ledger: Ledger, *limits: Limit) -> list[int]:
    return [standing.remaining for standing in await ledger.standings(limits)]


def remaining(told: Admitted | Refused | Repeat) -> list[int]:
    assert isinstance(told, Admitted | Refused)
    return [standing.remaining for standing in told.standings]


async def admitted(ledger: Ledger, asked: Admission) -> Admission:
    assert isinstance(await ledger.admit(asked), Admitted)
    return asked


def test_a_create_takes_from_every_limit_and_is_told_what_is_left(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            asked = admission(*EVERY, tokens=400, microdollars=250_000)
            assert remaining(await here.ledger.admit(asked)) == [2, 600, 1, 4600, 750_000]
            seen = await left(there.ledger, *EVERY)
            assert seen[2:] == [1, 4600, 750_000]
            assert 600 <= seen[1] < 700

    run(test)


@pytest.mark.parametrize("full", EVERY)
def test_one_limit_that_says_no_leaves_all_as_they_were(backend: Backend, full: Limit) -> None:
    async def test() -> None:
        async with backend.process() as here:
            others = [limit for limit in EVERY if limit != full]
            filling = admission(full, tokens=full.amount, microdollars=full.amount)
            while isinstance(await here.ledger.admit(filling), Admitted):
                filling = msgspec.structs.replace(
                    filling, stream=new_stream_id(secrets.token_bytes(20))
                )
            refused = admission(*EVERY, tokens=10, microdollars=10, claim="k")
            told = await here.ledger.admit(refused)
            assert isinstance(told, Refused)
            assert told.refusal.limit == full
            assert told.refusal.retry_after_s is not None
            assert 0 < told.refusal.retry_after_s <= 31 * 86_400
            assert await left(here.ledger, *others) == [limit.amount for limit in others]
            assert await here.ledger.find_claim("o", "k") is None
            listing = await here.ledger.list("o", None, None, 100)
            assert refused.stream not in listing.streams

    run(test)


def test_what_asks_for_more_than_a_limit_is_never_admitted(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            told = await here.ledger.admit(admission(TOKENS, tokens=1001))
            assert isinstance(told, Refused)
            assert told.refusal.retry_after_s is None

    run(test)


def test_a_repeat_is_told_even_at_the_limit_and_charges_nothing(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            first = await admitted(
                here.ledger, admission(STREAMS, DOLLARS_A_DAY, microdollars=999_999, claim="k")
            )
            again = admission(STREAMS, DOLLARS_A_DAY, microdollars=999_999, claim="k")
            told = await here.ledger.admit(again)
            assert isinstance(told, Repeat)
            assert told.stream == first.stream
            assert await left(here.ledger, STREAMS, DOLLARS_A_DAY) == [1, 1]

    run(test)


def test_a_retry_of_the_same_stream_is_charged_once(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            asked = admission(REQUESTS, STREAMS, DOLLARS_A_DAY, microdollars=600_000, claim="k")
            for _ in range(3):
                told = await here.ledger.admit(asked)
                assert remaining(told) == [2, 1, 400_000]

    run(test)


def test_an_end_gives_back_what_was_not_used_and_only_once(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            limits = (STREAMS, TOKENS_A_MONTH, DOLLARS_A_DAY)
            one = await admitted(here.ledger, admission(*limits, tokens=3000, microdollars=500_000))
            await admitted(here.ledger, admission(*limits, tokens=500, microdollars=1))
            for ledger in (there.ledger, here.ledger, here.ledger):
                await ledger.settle(one.stream, Use(1200, 10))
                assert await left(ledger, *limits) == [1, 3300, 999_989]

    run(test)


def test_what_was_used_beyond_the_hold_is_a_debt_that_the_next_one_waits_for(
    backend: Backend,
) -> None:
    async def test() -> None:
        async with backend.process() as here:
            limits = (TOKENS, DOLLARS_A_DAY)
            one = await admitted(here.ledger, admission(*limits, tokens=100, microdollars=100))
            await here.ledger.settle(one.stream, Use(3000, 2_000_000))
            told = await here.ledger.admit(admission(TOKENS, tokens=1))
            assert isinstance(told, Refused)
            assert told.refusal.retry_after_s is not None
            assert 100 < told.refusal.retry_after_s <= 121
            assert await left(here.ledger, *limits) == [0, 0]

    run(test)


def test_what_nobody_knows_has_used_what_it_held(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            limits = (STREAMS, DOLLARS_A_DAY)
            one = await admitted(here.ledger, admission(*limits, microdollars=300_000))
            await here.ledger.settle(one.stream, None)
            await here.ledger.settle(one.stream, Use())
            assert await left(here.ledger, *limits) == [2, 700_000]

    run(test)


def test_a_stream_that_was_settled_before_it_held_anything_is_no_harm(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            await here.ledger.settle(admission().stream, Use(10, 10))
            free = await admitted(here.ledger, admission())
            await here.ledger.settle(free.stream, Use(10, 10))
            assert await left(here.ledger, *EVERY) == [limit.amount for limit in EVERY]

    run(test)


# --- what another provider's limits let through ---------------------------------------------------

FIRST_TOKENS = Limit("provider:one", Kind.TOKENS_PER_DAY, 1000)
SECOND_STREAMS = Limit("provider:two", Kind.CONCURRENT_STREAMS, 2)
SECOND_DOLLARS = Limit("provider:two", Kind.USD_PER_DAY, 1000)
SECOND = (SECOND_STREAMS, SECOND_DOLLARS)
HOUSE = (TOKENS_A_MONTH, FIRST_TOKENS, *SECOND)


def test_a_stream_that_runs_holds_more_once_for_each_pool(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            asked = admission(TOKENS_A_MONTH, FIRST_TOKENS, tokens=100)
            one = await admitted(here.ledger, asked)
            for ledger in (here.ledger, there.ledger, here.ledger):
                told = await ledger.hold_more(one.stream, SECOND, Ask(100, 400))
                assert remaining(told) == [1, 600]
            assert await left(here.ledger, *HOUSE) == [4900, 900, 1, 600]

    run(test)


def test_more_that_one_limit_refuses_leaves_all_as_they_were(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            one = await admitted(here.ledger, admission(TOKENS_A_MONTH, tokens=100))
            told = await here.ledger.hold_more(one.stream, SECOND, Ask(100, 1001))
            assert isinstance(told, Refused)
            assert told.refusal.limit == SECOND_DOLLARS
            assert await left(here.ledger, *HOUSE) == [4900, 1000, 2, 1000]
            assert remaining(await here.ledger.hold_more(one.stream, SECOND, Ask(0, 1))) == [1, 999]

    run(test)


def test_each_provider_has_used_its_own_and_everybody_else_the_sum(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            asked = admission(TOKENS_A_MONTH, DOLLARS_A_DAY, FIRST_TOKENS, tokens=500)
            one = await admitted(here.ledger, asked)
            assert isinstance(
                await here.ledger.hold_more(one.stream, SECOND, Ask(500, 9)), Admitted
            )
            for _ in range(2):
                by_pool = {"provider:one": Use(30, 10), "provider:two": Use(40, 70)}
                await here.ledger.settle(one.stream, Use(70, 80), by_pool)
                assert await left(here.ledger, *HOUSE) == [4930, 970, 2, 930]
                assert await left(here.ledger, DOLLARS_A_DAY) == [999_920]

    run(test)


def test_what_was_held_for_a_provider_that_was_not_asked_is_given_back(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            asked = admission(TOKENS_A_MONTH, FIRST_TOKENS, tokens=500)
            one = await admitted(here.ledger, asked)
            await here.ledger.hold_more(one.stream, SECOND, Ask(500, 9))
            await here.ledger.settle(one.stream, Use(70, 80), {"provider:one": Use(70, 80)})
            assert await left(here.ledger, *HOUSE) == [4930, 930, 2, 1000]

    run(test)


def test_a_stream_that_held_nothing_holds_more_until_it_is_settled(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            one = await admitted(here.ledger, admission())
            assert remaining(await here.ledger.hold_more(one.stream, (), Ask(1, 1))) == []
            assert remaining(await here.ledger.hold_more(one.stream, SECOND, Ask(0, 7))) == [1, 993]
            await here.ledger.settle(one.stream, None)
            assert await left(here.ledger, *SECOND) == [2, 993]

    run(test)


def test_a_stream_that_was_settled_holds_nothing_more_and_is_let_through(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            one = await admitted(here.ledger, admission(TOKENS_A_MONTH, tokens=100))
            await here.ledger.settle(one.stream, Use())
            told = await here.ledger.hold_more(one.stream, SECOND, Ask(0, 2000))
            assert remaining(told) == [2, 1000]
            assert await left(here.ledger, *SECOND) == [2, 1000]

    run(test)


def test_pools_and_zones_do_not_share(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            others = [
                msgspec.structs.replace(DOLLARS_A_DAY, pool="team:u"),
                msgspec.structs.replace(DOLLARS_A_DAY, zone="Pacific/Auckland"),
                msgspec.structs.replace(DOLLARS_A_DAY, kind=Kind.USD_PER_MONTH),
            ]
            await admitted(here.ledger, admission(DOLLARS_A_DAY, microdollars=10))
            assert await left(here.ledger, DOLLARS_A_DAY, *others) == [999_990, *[1_000_000] * 3]

    run(test)


def test_a_limit_that_was_changed_counts_what_was_used_under_the_old_one(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            smaller = msgspec.structs.replace(DOLLARS_A_DAY, amount=100)
            one = await admitted(here.ledger, admission(DOLLARS_A_DAY, microdollars=150))
            assert await left(here.ledger, smaller) == [0]
            await here.ledger.settle(one.stream, Use(0, 30))
            assert await left(here.ledger, smaller) == [70]

    run(test)


@pytest.mark.parametrize(
    ("limit", "most"), [(REQUESTS, 3), (STREAMS, 2), (TOKENS, 9), (DOLLARS_A_DAY, 9)]
)
def test_of_many_at_once_as_many_are_admitted_as_may(
    backend: Backend, limit: Limit, most: int
) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            asked = [admission(limit, tokens=105, microdollars=105_000) for _ in range(60)]
            told = await asyncio.gather(
                *((here, there)[n % 2].ledger.admit(each) for n, each in enumerate(asked))
            )
            assert sum(isinstance(each, Admitted) for each in told) == most

    run(test)


# --- what is kept ------------------------------------------------------------------------------


async def lives(backend: RedisBackend, keys: Sequence[str]) -> dict[str, int]:
    found = {}
    for key in keys:
        ttl_ms = await backend.say("PTTL", key)
        assert isinstance(ttl_ms, int)
        found[key] = ttl_ms
    return found


def test_every_meter_and_hold_expires(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        async with redis_backend.process() as here:
            one = await admitted(here.ledger, admission(*EVERY, tokens=10, microdollars=10))
            await here.ledger.hold_more(one.stream, SECOND, Ask(10, 10))
            two = await admitted(here.ledger, admission(*EVERY, tokens=10, microdollars=10))
            await here.ledger.settle(two.stream, Use(5000, 10))
            found = await lives(redis_backend, await redis_backend.keys())
            holds = [key for key in found if ":hold:" in key]
            assert [key.rpartition(":")[2] for key in holds] == [one.stream]
            assert sum(":meter:" in key for key in found) == len(EVERY) + len(SECOND)
            assert all(0 < ttl_ms < 73 * DAY_MS for ttl_ms in found.values()), found
            assert found[holds[0]] >= KEEP_S * 1000

    run(test)


def test_a_hold_that_somebody_removed_is_settled_to_nothing_more(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        async with redis_backend.process() as here:
            one = await admitted(here.ledger, admission(DOLLARS_A_DAY, microdollars=10))
            (hold,) = [key for key in await redis_backend.keys() if ":hold:" in key]
            await redis_backend.say("DEL", hold)
            await here.ledger.settle(one.stream, Use(0, 7))
            assert await left(here.ledger, DOLLARS_A_DAY) == [999_990]

    run(test)


def test_what_is_settled_to_nothing_leaves_no_meter(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        async with redis_backend.process() as here:
            one = await admitted(here.ledger, admission(TOKENS, STREAMS, DOLLARS_A_DAY, tokens=9))
            await here.ledger.settle(one.stream, Use())
            keys = await redis_backend.keys()
            assert not [key for key in keys if ":meter:" in key or ":hold:" in key]

    run(test)
