"""Limits on their way to ``lua/meters.lua``, and what it tells of their meters.

It packs and reads; it sends nothing. What surprises: whether a limit lets something through is
decided in the script, at one moment for all of them, but how long to wait and what is left is
worked out here, from what the meters showed at that moment, by the same functions that the
store in memory uses.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.policy.calendar import Windows
from proxy.policy.quotas import Bucket, Counter, Crowd, Kind, Limit, Meter
from proxy.relay.ports import Clock

_BUCKET, _COUNTER, _CROWD = 1, 2, 3
_ONE, _TOKENS, _MONEY = 0, 1, 2

_TYPES: Final = {
    Kind.REQUESTS_PER_MINUTE: (_BUCKET, _ONE),
    Kind.TOKENS_PER_MINUTE: (_BUCKET, _TOKENS),
    Kind.CONCURRENT_STREAMS: (_CROWD, _ONE),
    Kind.TOKENS_PER_DAY: (_COUNTER, _TOKENS),
    Kind.TOKENS_PER_MONTH: (_COUNTER, _TOKENS),
    Kind.USD_PER_DAY: (_COUNTER, _MONEY),
    Kind.USD_PER_MONTH: (_COUNTER, _MONEY),
}
"""The script's type and unit of each kind."""

_PACKED_MAX: Final = 4096
"""Sets of limits that are kept packed. Chosen: more than keys that are busy at a time."""


class MeterPacker:
    """Packs limits. They are the same for every create of a key, until a window ends."""

    def __init__(self, prefix: str, clock: Clock) -> None:
        self._prefix = f"{prefix}meter:"
        self._clock = clock
        self._windows = Windows()
        self._packed: dict[Sequence[Limit], tuple[float, bytes]] = {}

    def pack(self, limits: Sequence[Limit]) -> bytes:
        """As ``lua/meters.lua`` reads them."""
        now_s = self._clock.now()
        limits = tuple(limits)
        known = self._packed.get(limits)
        if known is not None and now_s < known[0]:
            return known[1]
        told, good_until_s = [], now_s + 3600.0
        for limit in limits:
            entry: list[int | str] = [*_TYPES[limit.kind], limit.amount, self._key(limit)]
            entry.append(limit.pool)
            if limit.kind.is_budget:
                around = self._windows.around(limit.kind, limit.zone, now_s)
                for window in around:
                    entry += [window.name, window.begin_ms, window.end_ms]
                good_until_s = min(good_until_s, around[1].end_ms / 1000)
            told.append(entry)
        packed = msgspec.msgpack.encode(told)
        if len(self._packed) >= _PACKED_MAX:
            self._packed.clear()
        self._packed[limits] = (good_until_s, packed)
        return packed

    def _key(self, limit: Limit) -> str:
        """What a config calls a quota is in no key's name, only its hash."""
        text = f"{limit.kind} {limit.zone if limit.kind.is_budget else ''} {limit.pool}"
        return self._prefix + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_meters(limits: Sequence[Limit], told: Sequence[int]) -> list[tuple[Limit, Meter]]:
    """What the script told of `limits`: two numbers for each."""
    return [
        (limit, _meter(limit.kind, *pair))
        for limit, pair in zip(limits, zip(told[::2], told[1::2], strict=True), strict=True)
    ]


def _meter(kind: Kind, used: int, at: int) -> Meter:
    match _TYPES[kind][0]:
        case 1:
            return Bucket(used, at)
        case 2:
            return Counter(used, at)
        case _:
            return Crowd(used)
