"""What follows a failed try."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    ProviderError,
    ProviderGarbled,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
    ProviderUntranslatable,
)
from proxy.relay.attempts import TAKE_UPS_MAX, Attempts, Blame, Step, blame_for
from proxy.relay.ports import Patience


def refused(status: int, code: str | None = None, wait_s: float | None = None) -> ProviderRefused:
    return ProviderRefused("p", status, code=code, retry_after_s=wait_s)


def reported(status: int) -> ProviderReported:
    return ProviderReported(b"{}", code="some_error", message="m", status=status)


@pytest.mark.parametrize(
    ("error", "blame"),
    [
        *((refused(status), Blame.MOMENT) for status in (408, 409, 425, 429, 500, 503, 504, 529)),
        *((refused(status), Blame.TARGET) for status in (301, 401, 402, 403, 404, 407)),
        *((refused(status), Blame.REQUEST) for status in (400, 405, 413, 415, 422)),
        (refused(429, "insufficient_quota"), Blame.TARGET),
        (reported(529), Blame.MOMENT),
        (reported(400), Blame.REQUEST),
        (reported(401), Blame.TARGET),
        (ProviderUnreachable("p", "refused", was_asked=False), Blame.MOMENT),
        (ProviderUnreachable("p", "broke"), Blame.MOMENT),
        (ProviderTruncated(), Blame.MOMENT),
        (ProviderGarbled("noise"), Blame.MOMENT),
        (ProviderStalled("connect", 10), Blame.MOMENT),
        (ProviderStalled("first_event", 300), Blame.TARGET),
        (ProviderStalled("idle", 120), Blame.TARGET),
        (ProviderStalled("total", 3600), Blame.TARGET),
        (ProviderUntranslatable("audio"), Blame.REQUEST),
    ],
    ids=str,
)
def test_each_failure_is_about_the_moment_the_target_or_the_request(
    error: ProviderError, blame: Blame
) -> None:
    assert blame_for(error) is blame


def attempts(*retries: int, draw: float = 0.5) -> Attempts:
    return Attempts([Patience(count, 8.0) for count in retries], lambda: draw)


def follow(tried: Attempts, errors: Sequence[ProviderError]) -> list[Step | None]:
    return [tried.after(error, is_written=False, may_take_up=False) for error in errors]


def test_a_target_is_asked_again_ever_later_and_then_the_next() -> None:
    steps = follow(attempts(3, 0), [refused(500)] * 5)
    assert steps == [Step(0, 0.125), Step(0, 0.25), Step(0, 0.5), Step(1), None]


def test_what_is_this_targets_own_is_not_asked_again() -> None:
    assert follow(attempts(3, 3, 0), [refused(401), ProviderStalled("idle", 1), refused(500)]) == [
        Step(1),
        Step(2),
        None,
    ]


def test_a_bad_request_goes_nowhere_else() -> None:
    assert follow(attempts(3, 3), [refused(400)]) == [None]


def test_a_provider_that_says_when_is_believed() -> None:
    (step,) = follow(attempts(1, draw=1.0), [refused(429, wait_s=7.0)])
    assert step is not None
    assert step.wait_s == pytest.approx(7.7)
    assert follow(attempts(1, 0), [refused(429, wait_s=30.0)]) == [Step(1)]
    assert follow(attempts(1), [refused(429, wait_s=30.0)]) == [None]


def test_nobody_waits_for_a_try_beyond_the_time_that_is_left() -> None:
    error = refused(429, wait_s=3.0)
    for patience_s, place in ((4.0, 0), (2.0, 1)):
        step = attempts(1, 0).after(
            error, is_written=False, may_take_up=False, patience_s=patience_s
        )
        assert step is not None
        assert step.place == place


def test_what_is_written_is_taken_up_by_another_or_by_nobody() -> None:
    tried = attempts(2, 2)
    assert tried.after(ProviderTruncated(), is_written=True, may_take_up=False) is None
    assert tried.after(ProviderTruncated(), is_written=True, may_take_up=True) == Step(1, 0, True)
    again = tried.after(refused(503), is_written=False, may_take_up=True)
    assert again == Step(1, 0.125, True)
    assert tried.after(refused(401), is_written=False, may_take_up=True) is None
    assert attempts(2, 2).after(refused(400), is_written=True, may_take_up=True) is None


def test_the_only_target_takes_up_its_own_answer() -> None:
    tried = attempts(0)
    for _ in range(TAKE_UPS_MAX):
        step = tried.after(ProviderTruncated(), is_written=True, may_take_up=True)
        assert step == Step(0, 0.125, True)
    assert tried.after(ProviderTruncated(), is_written=True, may_take_up=True) is None


ERRORS = st.sampled_from(
    [
        refused(500),
        refused(429, wait_s=1.0),
        refused(429, wait_s=100.0),
        refused(401),
        refused(400),
        ProviderTruncated(),
        ProviderStalled("idle", 1),
        ProviderUnreachable("p", "refused", was_asked=False),
    ]
)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.lists(st.tuples(ERRORS, st.booleans()), min_size=200, max_size=200),
    st.floats(0, 0.999),
)
def test_every_answer_comes_to_an_end_of_tries(
    retries: list[int], failures: list[tuple[ProviderError, bool]], draw: float
) -> None:
    tried = attempts(*retries, draw=draw)
    bound = sum(count + 1 for count in retries) * (TAKE_UPS_MAX + 1) + TAKE_UPS_MAX
    for count, (error, is_written) in enumerate(failures):
        step = tried.after(error, is_written=is_written, may_take_up=True)
        if step is None:
            break
        assert 0 <= step.place < len(retries)
        assert 0 <= step.wait_s <= 8.0
        assert count < bound
    else:
        raise AssertionError("it never ends")
