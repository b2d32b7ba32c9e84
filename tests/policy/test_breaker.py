"""When a target rests: whatever happens, on a clock that jumps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.errors import (
    Draining,
    MidstreamError,
    ProviderGarbled,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
    ProviderUntranslatable,
)
from proxy.policy.breaker import (
    FORGET_MS,
    WELL,
    Condition,
    Rule,
    failed,
    is_failure,
    probed,
    reason_of,
    seen,
    spared,
)

RULE = Rule(rest_after=3, rest_s=10.0, rest_max_s=45.0)


class Target(RuleBasedStateMachine):
    """One target, on the store's clock and on one that does not jump."""

    def __init__(self) -> None:
        super().__init__()
        self.condition = WELL
        self.store_ms = 1_800_000_000_000
        self.true_ms = 0
        self.failures = 0
        """In a row, since it was last well."""
        self.asked_ms: list[int] = []
        """When probes were let through, since it rests."""
        self.least_ms = 0
        """How long after the last one the next may be, at least."""
        self.looked_ms = 0
        """When it was looked at since the clock has jumped."""

    def look(self) -> None:
        self.condition = seen(self.condition, self.store_ms) or WELL
        self.looked_ms = self.true_ms
        if not self.condition.rests:
            self.asked_ms, self.least_ms = [], 0

    @rule(ms=st.integers(0, 30_000))
    def time_passes(self, ms: int) -> None:
        self.store_ms += ms
        self.true_ms += ms

    @rule(ms=st.integers(1, 10_000_000))
    def the_clock_goes_back(self, ms: int) -> None:
        self.look()  # a worker does, each second
        self.store_ms -= ms

    @rule(retry_after_s=st.none() | st.floats(0, 100_000))
    def fails(self, retry_after_s: float | None) -> None:
        self.look()
        before = self.condition
        self.condition = failed(before, RULE, "r", retry_after_s, self.store_ms)
        asked_ms = RULE.asked_ms(retry_after_s)
        if not before.rests:
            self.failures = self.failures + 1 if before.failures else 1
            assert self.condition.rests == (self.failures >= 3)
        elif self.condition is not before:
            least_ms = min(2 * before.rest_ms, 45_000) if before.is_probed else asked_ms
            assert self.condition.rest_ms == max(least_ms, asked_ms)
        if self.condition is not before and self.condition.rests:
            assert self.condition.until_ms - self.store_ms >= asked_ms
            self.least_ms = self.condition.rest_ms
            self.rested_ms = self.true_ms

    @rule()
    def answers(self) -> None:
        self.look()
        self.condition, self.failures, self.asked_ms, self.least_ms = WELL, 0, [], 0

    @rule(count=st.integers(1, 3))
    def somebody_asks(self, count: int) -> None:
        for _ in range(count):
            self.look()
            after = probed(self.condition, self.store_ms)
            if after is not None:
                assert self.true_ms - self.rested_ms >= self.least_ms
                assert not self.asked_ms or self.true_ms - self.asked_ms[-1] >= self.least_ms
                self.asked_ms.append(self.true_ms)
                self.condition = after

    @invariant()
    def no_rest_is_longer_than_the_bound(self) -> None:
        assert 0 <= self.condition.rest_ms <= 45_000
        now = seen(self.condition, self.store_ms) or WELL
        assert now.until_ms - self.store_ms <= 45_000
        assert now.rests or now.failures < 3


TestTarget = Target.TestCase
TestTarget.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_dead_target_that_everybody_asks_is_tried_less_and_less_often() -> None:
    condition, probes = WELL, []
    for now_ms in range(0, 200_000, 100):
        may = not condition.rests
        after = probed(condition, now_ms)
        if after is not None:
            condition, may = after, True
            probes.append(now_ms)
        if may:
            condition = failed(condition, RULE, "r", None, now_ms)
    assert probes == [10_200, 30_200, 70_200, 115_200, 160_200]


def test_whose_rest_is_over_for_an_hour_is_as_good_as_any() -> None:
    condition = WELL
    for _ in range(3):
        condition = failed(condition, RULE, "r", None, 1000)
    assert seen(condition, condition.until_ms + FORGET_MS) is condition
    assert seen(condition, condition.until_ms + FORGET_MS + 1) is None


def test_who_does_not_rest_makes_room_first_and_the_oldest_of_them() -> None:
    rests = Condition(5, 1000, 2000, failed_ms=1)
    old, new = Condition(1, failed_ms=2), Condition(1, failed_ms=3)
    assert spared({"a": rests, "b": new, "c": old}) == "c"
    assert spared({"a": rests, "b": Condition(5, 1000, 2000, failed_ms=9)}) == "a"


@given(
    failures=st.integers(0, 100), retry_after_s=st.none() | st.floats(0, 1e9), now=st.integers(0)
)
def test_nobody_rests_who_never_should(
    failures: int, retry_after_s: float | None, now: int
) -> None:
    condition = WELL
    for _ in range(failures):
        condition = failed(condition, Rule(rest_after=0), "r", retry_after_s, now)
    assert condition is WELL


@pytest.mark.parametrize(
    ("error", "is_one", "reason"),
    [
        (ProviderUnreachable("p", "x"), True, "provider_unreachable"),
        (ProviderStalled("idle", 1), True, "provider_stalled"),
        (ProviderTruncated(), True, "provider_truncated"),
        (ProviderGarbled("x"), True, "provider_garbled"),
        *((ProviderRefused("p", status), True, f"provider_error {status}") for status in
          (401, 402, 403, 407, 408, 429, 500, 503, 529)),
        *((ProviderRefused("p", status), False, f"provider_error {status}") for status in
          (400, 404, 405, 409, 413, 415, 422)),
        (ProviderRefused("p", 400, code="insufficient_quota"), True, "provider_error 400"),
        (ProviderReported(b"{}", code="x", message="m", status=529), True, "provider_error 529"),
        (ProviderReported(b"{}", code="x", message="m", status=400), False, "provider_error 400"),
        (ProviderUntranslatable("audio"), False, "untranslatable"),
        (Draining(), False, "draining"),
    ],
)  # fmt: skip
def test_a_failure_is_what_the_target_is_to_blame_for(
    error: MidstreamError, is_one: bool, reason: str
) -> None:
    assert is_failure(error) == is_one
    assert reason_of(error) == reason
