"""Routing: in which order the targets of a route are asked."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.routes import Strategy, Target
from proxy.policy.routing import in_order

DRAWS = 20_000

targets = st.lists(st.integers(1, 1000), min_size=1, max_size=6).map(
    lambda weights: [Target(f"p{n}", "m", weight=weight) for n, weight in enumerate(weights)]
)


def idle(_: Target) -> int:
    return 0


def never() -> float:
    raise AssertionError("only weighted targets are drawn")


@given(st.sampled_from(Strategy), targets, st.randoms(use_true_random=False))
def test_every_target_appears_once(
    strategy: Strategy, several: list[Target], rng: random.Random
) -> None:
    busy = {target.provider: rng.randint(0, 9) for target in several}

    ordered = in_order(strategy, several, rng.random, lambda target: busy[target.provider])

    assert sorted(ordered, key=lambda target: target.provider) == several


@given(targets)
def test_failover_asks_in_the_order_that_is_written(several: list[Target]) -> None:
    assert list(in_order(Strategy.FAILOVER, several, never, idle)) == several


@given(targets, st.floats(0, 1, exclude_max=True))
def test_weighted_takes_any_number_that_can_be_drawn(several: list[Target], drawn: float) -> None:
    assert len(in_order(Strategy.WEIGHTED, several, lambda: drawn, idle)) == len(several)


def test_the_shares_of_weighted_targets_are_near_their_weights() -> None:
    several = [Target(f"p{weight}", "m", weight=weight) for weight in (1, 3, 6)]
    rng = random.Random(26)

    orders = [in_order(Strategy.WEIGHTED, several, rng.random, idle) for _ in range(DRAWS)]

    firsts = Counter(order[0].provider for order in orders)
    after_six = Counter(order[1].provider for order in orders if order[0].weight == 6)
    for provider, share in {"p1": 0.1, "p3": 0.3, "p6": 0.6}.items():
        assert abs(firsts[provider] / DRAWS - share) < 0.02
    assert abs(after_six["p3"] / after_six.total() - 0.75) < 0.02


def test_the_least_busy_for_its_weight_is_asked_first_and_ties_are_as_written() -> None:
    several = [Target("a", "m"), Target("b", "m", weight=4), Target("c", "m"), Target("d", "m")]
    running = {"a": 2, "b": 4, "c": 1, "d": 3}

    ordered = in_order(Strategy.LEAST_BUSY, several, never, lambda each: running[each.provider])

    assert [target.provider for target in ordered] == ["b", "c", "a", "d"]
