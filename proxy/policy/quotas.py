"""How much is left, and who may have it: the arithmetic of limits, in whole numbers.

Owns what a limit is, what a create asks for, and whether it may have it. It keeps nothing: a meter
is a value that the ledger stores, and every function gives back another one. The ledger in
Redis does the same in Lua, and is compared with this by random operations. What surprises: time
is the store's and comes in milliseconds, money in micro-dollars, and a bucket is filled, not
emptied: what was used drains out of it at an even rate, which is GCRA told from the other end.
"""

import enum
from collections.abc import Sequence
from typing import assert_never

import msgspec

from proxy.stream import Price, Usage

MINUTE_MS = 60_000
"""A bucket drains its whole limit in this time."""

BUSY_RETRY_S = 1.0
"""What is told where nobody knows when a stream will end. Chosen: a person waits that long."""

_TOKENS_PER_PRICE = 1_000_000
"""Prices are for so many."""


class Kind(enum.StrEnum):
    """What a limit counts, by its key in the config."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENT_STREAMS = "concurrent_streams"
    TOKENS_PER_DAY = "tokens_per_day"
    TOKENS_PER_MONTH = "tokens_per_month"
    USD_PER_DAY = "usd_per_day"
    USD_PER_MONTH = "usd_per_month"

    @property
    def is_bucket(self) -> bool:
        """Whether it is a rate that is never whole again before it has drained."""
        return self in {Kind.REQUESTS_PER_MINUTE, Kind.TOKENS_PER_MINUTE}

    @property
    def is_budget(self) -> bool:
        """Whether it counts in calendar windows."""
        return not self.is_bucket and self is not Kind.CONCURRENT_STREAMS

    @property
    def is_money(self) -> bool:
        """Whether it counts micro-dollars."""
        return self in {Kind.USD_PER_DAY, Kind.USD_PER_MONTH}


class Limit(msgspec.Struct, frozen=True):
    """One number of one quota, for one pool."""

    pool: str
    """Who shares it: ``key:NAME``, ``team:QUOTA``, ``all``, ``provider:NAME``."""
    kind: Kind
    amount: int
    """Requests, tokens, streams, or micro-dollars."""
    zone: str = "UTC"
    """Where its days and months begin (IANA)."""
    allows_without_store: bool = False
    """Whether it lets everything through while the store is away. Never true of a budget."""


class Ask(msgspec.Struct, frozen=True):
    """What one create may use at most, beside one request and one stream."""

    tokens: int = 0
    microdollars: int = 0


def most_of(asks: Sequence[Ask]) -> Ask:
    """What is enough for each of them."""
    return Ask(max(each.tokens for each in asks), max(each.microdollars for each in asks))


class Use(msgspec.Struct, frozen=True):
    """What one stream has used in the end."""

    tokens: int = 0
    microdollars: int = 0


class Bucket(msgspec.Struct, frozen=True):
    """The meter of a rate. `used` counts 60,000 for each unit, so that it drains in whole steps."""

    used: int = 0
    at_ms: int = 0
    amount: int = 0
    """Of the limit that it was last filled under, which may have been lowered since; 0 if it is
    the same."""


class Counter(msgspec.Struct, frozen=True):
    """The meter of a budget, in one window."""

    used: int = 0
    end_ms: int = 0
    """When the window ends."""


class Crowd(msgspec.Struct, frozen=True):
    """The meter of streams that run."""

    streams: int = 0


Meter = Bucket | Counter | Crowd


class Standing(msgspec.Struct, frozen=True):
    """A limit, what is used of it, and when it is whole again."""

    limit: Limit
    used: int
    """With what is held, and more than the limit if there is a debt. Of a rate: what has not yet
    drained."""
    reset_s: float

    @property
    def remaining(self) -> int:
        """What is left; never below 0."""
        return max(0, self.limit.amount - self.used)


class Refusal(msgspec.Struct, frozen=True):
    """The limit that says no, and for how long; None if it always will."""

    limit: Limit
    retry_after_s: float | None


def wanted(kind: Kind, ask: Ask) -> int:
    """How many units of `kind` a create takes."""
    if kind in {Kind.REQUESTS_PER_MINUTE, Kind.CONCURRENT_STREAMS}:
        return 1
    return ask.microdollars if kind.is_money else ask.tokens


def more_used(kind: Kind, ask: Ask, use: Use) -> int:
    """How many units more (or less) than it has held a stream has used in the end.

    A request stays one; of streams that run there is one less.
    """
    if kind is Kind.REQUESTS_PER_MINUTE:
        return 0
    if kind is Kind.CONCURRENT_STREAMS:
        return -1
    if kind.is_money:
        return use.microdollars - ask.microdollars
    return use.tokens - ask.tokens


# --- one meter --------------------------------------------------------------------------------


def wait_ms(meter: Meter, limit: Limit, count: int, now_ms: int) -> int | None:
    """How long until `count` more fit; 0 if they do now, None if they never will."""
    if count > limit.amount:
        return None
    match meter:
        case Bucket():
            used = _drained(meter, limit.amount, now_ms).used
            over = used + (count - limit.amount) * MINUTE_MS
            return max(0, -(-over // limit.amount))
        case Counter():
            fits = meter.used + count <= limit.amount
            return 0 if fits else max(1, meter.end_ms - now_ms)
        case Crowd():
            fits = meter.streams + count <= limit.amount
            return 0 if fits else int(BUSY_RETRY_S * 1000)
    assert_never(meter)


def taken(meter: Meter, limit: Limit, count: int, now_ms: int) -> Meter:
    """The meter after `count` more."""
    match meter:
        case Bucket():
            drained = _drained(meter, limit.amount, now_ms)
            return Bucket(drained.used + count * MINUTE_MS, drained.at_ms, limit.amount)
        case Counter():
            return Counter(meter.used + count, meter.end_ms)
        case Crowd():
            return Crowd(meter.streams + count)
    assert_never(meter)


def settled(meter: Meter, held: Meter, limit: Limit, more: int, now_ms: int) -> Meter:
    """The meter after a stream has used `more` than it held, which may be less than none.

    `held` is what the meter was when that was taken, under `limit`. A bucket gives back only what
    of it cannot have drained yet: the rest is in nobody's way, and would come out of what others
    have taken since. It stays a bucket of the limit that it was last filled under.
    """
    match meter:
        case Bucket():
            assert isinstance(held, Bucket), "a meter is of one kind"
            amount = meter.amount or limit.amount
            drained = _drained(meter, amount, now_ms)
            there = max(0, held.used - limit.amount * max(0, now_ms - held.at_ms))
            used = drained.used + max(more * MINUTE_MS, -there)
            return Bucket(max(0, used), drained.at_ms, amount)
        case Counter():
            return Counter(max(0, meter.used + more), meter.end_ms)
        case Crowd():
            return Crowd(max(0, meter.streams + more))
    assert_never(meter)


def standing(meter: Meter, limit: Limit, now_ms: int) -> Standing:
    """What is left."""
    match meter:
        case Bucket():
            used = _drained(meter, limit.amount, now_ms).used
            return Standing(limit, -(-used // MINUTE_MS), used / limit.amount / 1000)
        case Counter():
            reset_s = max(0, meter.end_ms - now_ms) / 1000
            return Standing(limit, meter.used, reset_s)
        case Crowd():
            reset_s = BUSY_RETRY_S if meter.streams else 0.0
            return Standing(limit, meter.streams, reset_s)
    assert_never(meter)


def _drained(bucket: Bucket, amount: int, now_ms: int) -> Bucket:
    """What is left in it. A clock that goes back drains nothing.

    Under a limit that was lowered it is full at most, beside what it owed: to drain what the
    higher one let through would take hours.
    """
    used = bucket.used
    if amount < bucket.amount:
        debt = max(0, used - bucket.amount * MINUTE_MS)
        used = min(used, amount * MINUTE_MS + debt)
    passed_ms = max(0, now_ms - bucket.at_ms)
    return Bucket(max(0, used - amount * passed_ms), bucket.at_ms + passed_ms, amount)


# --- all of them ------------------------------------------------------------------------------


def refusal(meters: Sequence[tuple[Limit, Meter]], ask: Ask, now_ms: int) -> Refusal | None:
    """The limit that holds out longest against `ask`; None if all let it through."""
    worst: Refusal | None = None
    for limit, meter in meters:
        waits = wait_ms(meter, limit, wanted(limit.kind, ask), now_ms)
        if waits is None:
            return Refusal(limit, None)
        if waits > 0 and (worst is None or waits / 1000 > (worst.retry_after_s or 0)):
            worst = Refusal(limit, waits / 1000)
    return worst


# --- money ------------------------------------------------------------------------------------


def cost(usage: Usage, price: Price) -> int:
    """In micro-dollars, rounded up. Cached tokens are part of the input, reasoning of output."""
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    whole = (
        (usage.input_tokens - cached - written) * price.input
        + cached * price.cached_input
        + written * _writing(price)
        + (usage.output_tokens - reasoning) * price.output
        + reasoning * price.reasoning
    )
    return -(-whole // _TOKENS_PER_PRICE)


def _writing(price: Price) -> int:
    return price.input if price.cache_write is None else price.cache_write


def cost_at_most(input_tokens: int, output_tokens: int, price: Price) -> int:
    """The most that so many tokens can cost, in micro-dollars."""
    whole = input_tokens * max(price.input, price.cached_input, _writing(price))
    whole += output_tokens * max(price.output, price.reasoning)
    return -(-whole // _TOKENS_PER_PRICE)
