"""Where an answer that has begun may be gone on with, a fault in its middle does not end it."""

import asyncio

import pytest

from tests.faults.asking import ends_of, text_of, whole_text
from tests.faults.fault import Outcome
from tests.faults.matrix import DIALECTS, FAULTS, Matrix, meet_all
from tests.faults.words import TEXT

LATE = [
    (fault, dialect)
    for fault in FAULTS
    for dialect in DIALECTS
    if FAULTS[fault].comes(dialect).outcome is Outcome.LATE
]
_OF_THE_REQUEST = "it reports that it is invalid, after content"
_ALL_IS_SAID = ("before the last line end", "before the terminator", "it is longer than it said")
"""Ends of faults' names: of the answer only the terminator is missing, and whoever has heard the
finish can write that. Not in the Responses dialect, where the terminator is what tells the rest."""


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    folder = tmp_path_factory.mktemp("faults")
    return asyncio.run(meet_all(folder, keys=LATE, has_second=True, may_go_on=True))


@pytest.mark.parametrize(("fault", "dialect"), LATE)
def test_what_one_target_has_begun_another_one_completes(
    matrix: Matrix, fault: str, dialect: str
) -> None:
    case = matrix.cases[fault, dialect]
    met, said = case.met, text_of(dialect, case.met.events)

    assert {name for name, seen in met.lanes.items() if seen != met.events} == set()
    assert (met.status, len(case.bad), case.never_left) == (200, 1, 0)
    if fault == _OF_THE_REQUEST:
        assert (met.state["ending"], len(case.good)) == ("failed", 0)
        assert ends_of(dialect, met.events) == 0
        return
    assert (met.state["ending"], met.state["error"]) == ("completed", None)
    assert ends_of(dialect, met.events) == 1
    if fault.endswith(_ALL_IS_SAID) and dialect != "responses":
        assert (said, len(case.good)) == (whole_text("bad"), 0)
    else:
        begun = said.removesuffix(whole_text("good"))
        assert (begun != said, len(case.good)) == (True, 1)
        assert begun.startswith(TEXT["bad"][0])
        assert whole_text("bad").startswith(begun)


def test_what_is_charged_is_what_all_who_answered_used(matrix: Matrix) -> None:
    assert matrix.charged == matrix.used
