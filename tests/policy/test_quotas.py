"""The arithmetic of limits: never more than the limit, never a wait that is too long."""

import math

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.quotas import (
    MINUTE_MS,
    Ask,
    Bucket,
    Counter,
    Crowd,
    Kind,
    Limit,
    Meter,
    Use,
    cost,
    cost_at_most,
    more_used,
    refusal,
    settled,
    standing,
    taken,
    wait_ms,
    wanted,
)
from proxy.stream import Price, Usage

START_MS = 1_800_000_000_000
amounts = st.integers(1, 10_000_000)


def bucket_limit(amount: int, kind: Kind = Kind.TOKENS_PER_MINUTE) -> Limit:
    return Limit("key:a", kind, amount)


# --- rates ----------------------------------------------------------------------------------


@given(
    amount=st.integers(1, 5000),
    steps=st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 6000)), max_size=60),
)
def test_no_minute_gets_more_than_what_was_saved_and_what_drains(
    amount: int, steps: list[tuple[int, int]]
) -> None:
    limit, bucket, now_ms = bucket_limit(amount), Bucket(), START_MS
    admitted: list[tuple[int, int]] = []
    for pause_ms, count in steps:
        now_ms += pause_ms
        if wait_ms(bucket, limit, count, now_ms) == 0:
            after = taken(bucket, limit, count, now_ms)
            assert isinstance(after, Bucket)
            bucket = after
            admitted.append((now_ms, count))
    for first in range(len(admitted)):
        total = 0
        for moment_ms, count in admitted[first:]:
            total += count
            passed_ms = moment_ms - admitted[first][0]
            assert total * MINUTE_MS <= amount * (MINUTE_MS + passed_ms)


@given(amount=amounts, used=st.integers(0, 20_000_000), count=amounts)
def test_a_wait_is_as_long_as_it_must_be_and_not_a_millisecond_longer(
    amount: int, used: int, count: int
) -> None:
    limit = bucket_limit(amount)
    bucket = Bucket(used * MINUTE_MS, START_MS)
    waits = wait_ms(bucket, limit, count, START_MS)
    if count > amount:
        assert waits is None
        return
    assert waits is not None
    assert wait_ms(bucket, limit, count, START_MS + waits) == 0
    assert waits == 0 or wait_ms(bucket, limit, count, START_MS + waits - 1) != 0


def test_a_rate_drains_evenly() -> None:
    limit = bucket_limit(60, Kind.REQUESTS_PER_MINUTE)
    full = taken(Bucket(), limit, 60, START_MS)
    assert standing(full, limit, START_MS).remaining == 0
    assert standing(full, limit, START_MS).reset_s == 60
    assert standing(full, limit, START_MS + 999).remaining == 0
    assert standing(full, limit, START_MS + 1000).remaining == 1
    assert standing(full, limit, START_MS + 59_999).remaining == 59
    assert standing(full, limit, START_MS + 60_000).remaining == 60


def test_what_was_held_and_not_used_comes_back_and_no_more() -> None:
    limit = bucket_limit(1000)
    held = taken(Bucket(), limit, 800, START_MS)
    back = settled(held, held, limit, -700, START_MS)
    assert standing(back, limit, START_MS).remaining == 900
    later_ms = START_MS + 45_000  # 750 of it have drained already
    back = settled(held, held, limit, -700, later_ms)
    assert standing(back, limit, later_ms).remaining == 1000


def test_what_was_used_beyond_the_hold_is_a_debt_that_drains_first() -> None:
    limit = bucket_limit(1000)
    held = taken(Bucket(), limit, 1000, START_MS)
    in_debt = settled(held, held, limit, 500, START_MS)
    assert standing(in_debt, limit, START_MS).remaining == 0
    assert standing(in_debt, limit, START_MS).used == 1500
    assert wait_ms(in_debt, limit, 1, START_MS) == 30_060
    assert standing(in_debt, limit, START_MS + 60_000).remaining == 500


@given(amount=amounts, used=st.integers(0, 10**9), back_ms=st.integers(0, 10**9))
def test_a_clock_that_goes_back_gives_nothing(amount: int, used: int, back_ms: int) -> None:
    limit, bucket = bucket_limit(amount), Bucket(used, START_MS)
    earlier = standing(bucket, limit, START_MS - back_ms)
    assert earlier.remaining == standing(bucket, limit, START_MS).remaining


# --- budgets and crowds -----------------------------------------------------------------------


@given(st.integers(1, 10**12), st.lists(st.integers(0, 10**11), max_size=40))
def test_a_budget_is_never_passed(amount: int, asks: list[int]) -> None:
    limit = Limit("key:a", Kind.USD_PER_DAY, amount)
    counter = Counter(0, START_MS + 5000)
    spent = 0
    for ask in asks:
        waits = wait_ms(counter, limit, ask, START_MS)
        if waits == 0:
            after = taken(counter, limit, ask, START_MS)
            assert isinstance(after, Counter)
            counter, spent = after, spent + ask
        else:
            assert waits == (None if ask > amount else 5000)
            assert spent + ask > amount
    assert spent == counter.used <= amount
    assert standing(counter, limit, START_MS).remaining == amount - spent
    assert standing(counter, limit, START_MS).used == spent


def test_a_crowd_is_as_large_as_its_limit_and_tells_a_short_wait() -> None:
    limit = Limit("key:a", Kind.CONCURRENT_STREAMS, 2)
    crowd: Crowd = Crowd(1)
    assert wait_ms(crowd, limit, 1, START_MS) == 0
    assert wait_ms(Crowd(2), limit, 1, START_MS) == 1000
    assert settled(Crowd(2), Crowd(1), limit, -1, START_MS) == crowd
    assert standing(Crowd(3), limit, START_MS).remaining == 0
    assert standing(Crowd(3), limit, START_MS).used == 3


# --- all of them ----------------------------------------------------------------------------


def test_the_limit_that_holds_out_longest_is_named() -> None:
    ask = Ask(tokens=10, microdollars=5)
    day = Limit("key:a", Kind.TOKENS_PER_DAY, 20)
    rate = bucket_limit(20)
    meters: list[tuple[Limit, Meter]] = [
        (rate, Bucket(15 * MINUTE_MS, START_MS)),
        (day, Counter(15, START_MS + 7_000_000)),
        (Limit("all", Kind.REQUESTS_PER_MINUTE, 5), Bucket()),
    ]
    found = refusal(meters, ask, START_MS)
    assert found is not None
    assert (found.limit, found.retry_after_s) == (day, 7000)
    assert refusal(meters[2:], ask, START_MS) is None


def test_what_can_never_be_had_is_refused_for_ever() -> None:
    limit = bucket_limit(20)
    found = refusal([(limit, Bucket())], Ask(tokens=21), START_MS)
    assert found is not None
    assert found.retry_after_s is None


@given(st.sampled_from(Kind), st.integers(0, 10**6), st.integers(0, 10**6))
def test_holding_and_settling_is_using(kind: Kind, held: int, used: int) -> None:
    ask, use = Ask(held, held * 3), Use(used, used * 3)
    whole = wanted(kind, ask) + more_used(kind, ask, use)
    match kind:
        case Kind.REQUESTS_PER_MINUTE:
            assert whole == 1
        case Kind.CONCURRENT_STREAMS:
            assert whole == 0
        case _:
            assert whole == (used * 3 if kind.is_money else used)


# --- money ----------------------------------------------------------------------------------


def test_a_price_is_for_a_million_tokens_of_each_kind() -> None:
    price = Price(input=2_500_000, cached_input=1_250_000, output=10_000_000, reasoning=12_000_000)
    usage = Usage(
        input_tokens=1000, cached_input_tokens=400, output_tokens=500, reasoning_tokens=200
    )
    assert cost(usage, price) == 600 * 2.5 + 400 * 1.25 + 300 * 10 + 200 * 12


def test_what_is_put_into_a_cache_may_cost_more_than_other_input() -> None:
    usage = Usage(input_tokens=1000, cached_input_tokens=300, cache_write_tokens=200)
    price = Price(3_000_000, 300_000, 0, 0)
    assert cost(usage, price) == 700 * 3 + 300 * 0.3
    dearer = Price(3_000_000, 300_000, 0, 0, cache_write=6_000_000)
    assert cost(usage, dearer) == 500 * 3 + 300 * 0.3 + 200 * 6
    assert cost_at_most(1000, 0, dearer) == 1000 * 6


def test_a_part_of_a_microdollar_is_a_whole_one() -> None:
    price = Price(input=1, cached_input=0, output=0, reasoning=0)
    assert cost(Usage(input_tokens=1), price) == 1
    assert cost(Usage(), price) == 0


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.tuples(*[st.integers(0, 10**8)] * 5),
)
def test_no_use_of_so_many_tokens_costs_more_than_the_most(
    fresh: int,
    cached: int,
    written: int,
    said: int,
    thought: int,
    prices: tuple[int, int, int, int, int],
) -> None:
    price = Price(*prices)
    usage = Usage(
        fresh + cached + written, said + thought, cached, thought, cache_write_tokens=written
    )
    exact = (
        fresh * price.input
        + cached * price.cached_input
        + written * prices[4]
        + said * price.output
        + thought * price.reasoning
    ) / 1_000_000
    assert math.isclose(cost(usage, price), exact, abs_tol=1)
    assert cost(usage, price) <= cost_at_most(usage.input_tokens, usage.output_tokens, price)
