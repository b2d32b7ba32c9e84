"""Whatever a provider does, its answer ends, says how it did, and never pretends."""

import asyncio
from itertools import pairwise

import pytest

from tests.faults.asking import ends_of, text_of, whole_text
from tests.faults.fault import Outcome
from tests.faults.matrix import DIALECTS, FAULTS, RETRIES, Matrix, meet_all, slug
from tests.faults.words import INPUT_TOKENS, OUTPUT_TOKENS


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return asyncio.run(meet_all(tmp_path_factory.mktemp("faults")))


def test_no_two_faults_are_told_apart_by_punctuation_alone() -> None:
    assert len({slug(name) for name in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_reader_sees_the_same_events_and_the_true_end(
    matrix: Matrix, fault: str, dialect: str
) -> None:
    come, met = FAULTS[fault].comes(dialect), matrix.cases[fault, dialect].met

    assert {name for name, seen in met.lanes.items() if seen != met.events} == set()
    assert [event.id for event in met.events] == list(range(1, len(met.events) + 1))
    assert met.status == come.status
    is_whole = come.outcome is Outcome.PASSES
    assert met.state["ending"] == ("completed" if is_whole else "failed")
    assert ends_of(dialect, met.events) == is_whole
    if is_whole:
        assert met.state["error"] is None
        usage = met.state["usage"]
        assert text_of(dialect, met.events) == (whole_text("bad") if come.has_text else "")
        assert usage["input_tokens"] == INPUT_TOKENS
        assert usage.get("is_estimate", False) is not come.is_counted
        if come.is_counted:
            assert usage["output_tokens"] == OUTPUT_TOKENS["bad"]
    else:
        assert come.code in {None, met.state["error"]["code"]}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_target_is_asked_again_only_where_that_may_help_and_left_at_the_end(
    matrix: Matrix, fault: str, dialect: str
) -> None:
    come, case = FAULTS[fault].comes(dialect), matrix.cases[fault, dialect]

    if fault != "it refuses every connection":
        assert len(case.bad) == 1 + RETRIES * (come.outcome is Outcome.AGAIN)
    for one, next_one in pairwise(case.bad):
        assert next_one.at - one.at >= FAULTS[fault].wait_s
    assert case.never_left == 0


def test_what_is_charged_is_what_the_answers_used_and_nothing_is_held(matrix: Matrix) -> None:
    assert matrix.charged == matrix.used
