"""Quantiles and buckets, for any numbers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.terminal.figures import QUANTILES, buckets, quantiles

VALUES = st.lists(st.floats(0, 1e5), min_size=1, max_size=200)


@given(values=VALUES)
def test_a_quantile_is_the_least_value_that_so_many_do_not_pass(values: list[float]) -> None:
    found = quantiles(values)

    for name, share in QUANTILES.items():
        assert found[name] in values
        assert sum(value <= found[name] for value in values) >= share * len(values) - 1e-9
        assert sum(value < found[name] for value in values) < share * len(values) + 1e-9
    assert found["max"] == max(values)


@given(values=VALUES)
def test_buckets_hold_every_value_once_and_leave_no_gap(values: list[float]) -> None:
    found = buckets(values)

    assert sum(bucket.count for bucket in found) == len(values)
    assert len(found) <= 14
    assert found[0].count > 0
    assert found[-1].count > 0
    for one, next_one in itertools.pairwise(found):
        assert one.low < one.high == next_one.low
    assert max(values) <= max(found[-1].high * 1.01, 1e-5)


def test_of_nothing_there_is_nothing() -> None:
    assert quantiles([]) == {}
    assert buckets([]) == []


@pytest.mark.parametrize(
    ("values", "lows", "counts"),
    [
        ([0.05], [0.0447], [1]),
        ([0.010, 0.0101, 0.02], [0.01, 0.0112, 0.0126, 0.0141, 0.0158, 0.0178, 0.02], None),
        ([0.001, 1.0], None, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ([0.0, 1e-9], [1e-05], [2]),
    ],
)
def test_they_are_as_fine_as_the_spread_allows(
    values: list[float], lows: list[float] | None, counts: list[int] | None
) -> None:
    found = buckets(values)

    if lows is not None:
        assert [bucket.low for bucket in found] == lows
    if counts is not None:
        assert [bucket.count for bucket in found] == counts
