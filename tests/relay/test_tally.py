"""What a worker says of what it made lately: arithmetic, and bounds."""

import secrets
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.counts import Counts, Distribution
from proxy.observe.metrics import FIRST_WAITS, GAPS, WAIT_BOUNDS
from proxy.relay.tally import Lately, Tally, quantile_s
from proxy.stream import Birth, Ending, Problem, new_stream_id

NOON = 1_700_000_000.0
BROKEN = Problem(502, "provider_truncated", "It stopped.")


def make_birth(*, model: str = "demo", provider: str = "said") -> Birth:
    stream = new_stream_id(secrets.token_bytes(20))
    return Birth(stream, "me", "openai.chat", model, provider, created_at=NOON, retention_s=60)


class Clock:
    """One that stands still until it is set."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> float:
        return self.at


def make_tally(counts: Counts | None = None) -> Tally:
    return Tally(Clock().now, counts or Counts())


def waits(counts: Counts, *, model: str = "demo") -> tuple[Distribution, Distribution]:
    """Times to first token, and between tokens."""
    return (
        counts.distribution(FIRST_WAITS, "said", model),
        counts.distribution(GAPS, "said", model),
    )


def look(tally: Tally, *, events: int = 0, clock_s: float = 0) -> Lately:
    return tally.look(Counter(), events, clock_s=clock_s)


def test_the_pace_is_of_the_time_between_two_looks_and_an_end_changes_nothing_of_it() -> None:
    tally = make_tally()

    first = look(tally, events=100, clock_s=10)
    second = look(tally, events=160, clock_s=12)
    tally.ended(make_birth(), "said", Ending.COMPLETED, None, events=170)
    third = look(tally, events=0, clock_s=14)
    fourth = look(tally, events=0, clock_s=16)

    paces = [one.events_per_s for one in (first, second, third, fourth)]
    assert paces == [0.0, 30.0, 5.0, 0.0]


def test_waits_of_all_models_are_told_of_for_five_looks() -> None:
    counts = Counts()
    tally = make_tally(counts)
    waits(counts)[0].add(500_000)
    for model in ("demo", "other"):
        waits(counts, model=model)[1].add(20_000)

    sums = [(sum(one.first_waits), sum(one.gaps)) for one in (look(tally) for _ in range(6))]

    assert sums == [(1, 2)] * 5 + [(0, 0)]


def test_waits_that_a_worker_before_had_counted_are_not_told_of() -> None:
    counts = Counts()
    waits(counts)[1].add(20_000)
    tally = make_tally(counts)
    waits(counts)[1].add(30_000)

    assert sum(look(tally).gaps) == 1


@given(st.lists(st.floats(0.001, 60), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_right_to_a_tenth(waited: list[float], share: float) -> None:
    counts = Counts()
    tally = make_tally(counts)
    for wait_s in waited:
        waits(counts)[1].add(round(wait_s * 1_000_000))

    found = quantile_s(look(tally).gaps, share)

    ordered = sorted(waited)
    exact = ordered[max(-int(-share * len(ordered) // 1), 1) - 1]
    assert found == pytest.approx(exact, rel=0.1)


def test_a_quantile_of_nothing_is_none_and_beyond_the_bounds_it_is_the_last_of_them() -> None:
    counts = Counts()
    tally = make_tally(counts)
    waits(counts)[1].add(10**12)

    assert quantile_s([], 0.5) is None
    assert quantile_s(look(tally).gaps, 0.5) == WAIT_BOUNDS[-1] / 1_000_000


def test_ends_and_failures_of_a_provider_are_told_of_for_ten_minutes() -> None:
    clock = Clock()
    tally = Tally(clock.now, Counts())
    tally.ended(make_birth(), "said", Ending.COMPLETED, None)
    clock.at = NOON + 60
    tally.ended(make_birth(), "said", Ending.FAILED, BROKEN)
    tally.ended(make_birth(), "said", Ending.CANCELLED, Problem(499, "c", "."))
    tally.ended(make_birth(), "said", Ending.INTERRUPTED, Problem(502, "stream_interrupted", "."))

    def told(now: float) -> tuple[int, int] | None:
        clock.at = now
        found = look(tally).providers.get("said")
        return None if found is None else (found.ended, found.failed)

    assert told(NOON + 60) == (4, 1)
    assert told(NOON + 600) == (3, 1)
    assert told(NOON + 660) is None


def test_troubles_are_the_newest_and_an_end_that_another_worker_wrote_is_none() -> None:
    tally = make_tally()
    for number in range(25):
        tally.ended(make_birth(model=f"m{number}"), "said", Ending.FAILED, BROKEN)
    tally.ended(make_birth(), "said", Ending.INTERRUPTED, None)

    models = [trouble.model for trouble in look(tally).troubles]

    assert models == [f"m{number}" for number in range(5, 25)]


def test_the_largest_of_it_is_small() -> None:
    counts = Counts()
    tally = make_tally(counts)
    for number in range(40):
        birth = make_birth(model="m" * 200, provider=f"{number:0>64}")
        tally.ended(birth, "said", Ending.FAILED, BROKEN)
    for _ in range(1_000):
        for wait in WAIT_BOUNDS:
            for each in waits(counts):
                each.add(wait)

    assert len(msgspec.json.encode(look(tally))) < 9 * 1024
