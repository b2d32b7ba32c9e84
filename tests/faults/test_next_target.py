"""Where one target fails before it has said anything, the next one's answer is the answer."""

import asyncio

import pytest

from tests.faults.asking import ends_of, text_of, whole_text
from tests.faults.fault import Outcome
from tests.faults.matrix import DIALECTS, FAULTS, RETRIES, Matrix, meet_all
from tests.faults.words import INPUT_TOKENS, OUTPUT_TOKENS

_NEXT = {Outcome.AGAIN, Outcome.NEXT}


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return asyncio.run(meet_all(tmp_path_factory.mktemp("faults"), has_second=True))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_sound_target_answers_for_one_that_failed_before_content(
    matrix: Matrix, fault: str, dialect: str
) -> None:
    come, met = FAULTS[fault].comes(dialect), matrix.cases[fault, dialect].met

    assert {name for name, seen in met.lanes.items() if seen != met.events} == set()
    if come.outcome not in _NEXT:
        is_whole = come.outcome is Outcome.PASSES
        assert met.status == come.status
        assert met.state["ending"] == ("completed" if is_whole else "failed")
        assert ends_of(dialect, met.events) == is_whole
        return
    assert met.status == 200
    assert (met.state["ending"], met.state["error"]) == ("completed", None)
    assert ends_of(dialect, met.events) == 1
    assert text_of(dialect, met.events) == whole_text("good")
    assert met.state["provider"] == f"good-{dialect}"
    usage = met.state["usage"]
    assert usage["input_tokens"] == INPUT_TOKENS
    assert usage["output_tokens"] == OUTPUT_TOKENS["good"], "what was not heard costs nothing"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_target_is_asked_as_often_as_that_may_help_and_left_at_the_end(
    matrix: Matrix, fault: str, dialect: str
) -> None:
    come, case = FAULTS[fault].comes(dialect), matrix.cases[fault, dialect]

    if fault != "it refuses every connection":
        assert len(case.bad) == 1 + RETRIES * (come.outcome is Outcome.AGAIN)
    assert len(case.good) == (come.outcome in _NEXT)
    assert case.never_left == 0


def test_what_is_charged_is_what_the_answers_used_and_nothing_is_held(matrix: Matrix) -> None:
    assert matrix.charged == matrix.used
