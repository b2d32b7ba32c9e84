"""Where one model's text goes on that of another: nothing stands twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.seam import Seam

SAID = "The journal keeps what the wire "


def joined(said: str, *pieces: str, may_repeat: bool) -> str:
    seam = Seam(said, may_repeat=may_repeat)
    return said + "".join(map(seam.hear, pieces)) + seam.finish()


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["forgets."], "The journal keeps what the wire forgets."),
        ([" forgets."], "The journal keeps what the wire forgets."),
        (["keeps what ", "the wire", " forgets."], "The journal keeps what the wire forgets."),
        (["\n\nkeeps what the wire forgets."], "The journal keeps what the wire forgets."),
        ([SAID, "forgets."], "The journal keeps what the wire forgets."),
        (["the wire forgets."], "The journal keeps what the wire the wire forgets."),
        (["keeps what"], "The journal keeps what the wire keeps what"),
        ([], SAID),
    ],
)
def test_a_repetition_of_twelve_characters_is_left_out(pieces: list[str], whole: str) -> None:
    assert joined(SAID, *pieces, may_repeat=True) == whole


def test_a_prefilled_answer_may_repeat_itself_but_not_its_white_space() -> None:
    assert joined(SAID, " keeps what the wire", may_repeat=False) == SAID + "keeps what the wire"


def test_what_is_held_back_has_a_bound() -> None:
    seam = Seam("ab" * 200, may_repeat=True)
    held = 0
    while not seam.hear("ab"):
        held += 2
        assert held <= 200


@given(st.text("ab \n", max_size=40), st.lists(st.text("ab \n", max_size=5)), st.booleans())
def test_pieces_do_not_matter_and_nothing_but_the_beginning_is_left_out(
    said: str,
    pieces: list[str],
    may_repeat: bool,
) -> None:
    text = "".join(pieces)
    whole = joined(said, text, may_repeat=may_repeat)
    assert joined(said, *pieces, may_repeat=may_repeat) == whole
    assert whole.startswith(said)
    assert text.endswith(whole[len(said) :])
