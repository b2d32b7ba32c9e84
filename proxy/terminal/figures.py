"""What many measured numbers come to: quantiles, and buckets on a logarithmic scale. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

QUANTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}

_STEPS_PER_DECADE: Final = (20, 10, 5, 3, 2, 1)
"""Chosen: the finest is taken that stays below `_BUCKETS_MAX`."""
_BUCKETS_MAX: Final = 14
"""Chosen: three plots and their tables fit on a screen."""
_LEAST: Final = 1e-5
"""What is less falls into the first bucket. Chosen: events of one read are 0 s apart."""


class Bucket(msgspec.Struct, frozen=True):
    """How many numbers were from `low` up to, and not with, `high`."""

    low: float
    high: float
    count: int


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Each of `QUANTILES`: the least value that so many of all do not pass. Empty for none."""
    ordered = sorted(values)
    return {
        name: ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
        for name, share in QUANTILES.items()
        if ordered
    }


def buckets(values: Sequence[float]) -> list[Bucket]:
    """Where the values lie, from the least to the greatest, without a bucket left out."""
    if not values:
        return []
    for steps in _STEPS_PER_DECADE:
        places = [math.floor(math.log10(max(value, _LEAST)) * steps + 1e-9) for value in values]
        first, last = min(places), max(places)
        if last - first < _BUCKETS_MAX:
            break
    counts = [0] * (last - first + 1)
    for place in places:
        counts[place - first] += 1
    return [
        Bucket(_edge(first + index, steps), _edge(first + index + 1, steps), count)
        for index, count in enumerate(counts)
    ]


def _edge(place: int, steps: int) -> float:
    return float(f"{10 ** (place / steps):.3g}")
