import itertools

import pytest

from proxy.relay.lifecycle import Occasion, Phase, is_detached, next_phase


def test_every_phase_has_an_answer_to_every_occasion_but_one() -> None:
    for phase, occasion in itertools.product(Phase, Occasion):
        if (phase, occasion) == (Phase.OPEN, Occasion.END_WRITTEN):
            with pytest.raises(KeyError):
                next_phase(phase, occasion)
        else:
            assert next_phase(phase, occasion) in Phase


def test_what_is_over_stays_over() -> None:
    for phase, occasion in itertools.product((Phase.ENDED, Phase.LOST), Occasion):
        assert next_phase(phase, occasion) is phase


def test_a_writer_can_lose_its_stream_while_it_ends() -> None:
    assert next_phase(Phase.ENDING, Occasion.OUSTED) is Phase.LOST


@pytest.mark.parametrize(
    ("grace_s", "readers", "empty_for_s", "expected"),
    [
        (None, 0, 1e9, False),  # finish: runs on
        (0, 0, 0, True),  # cancel: at once
        (0, None, 1e9, False),  # nobody has read it yet
        (0, 1, 1e9, False),
        (30, 0, 29.9, False),
        (30, 0, 30, True),
    ],
)
def test_a_stream_is_detached_only_by_its_last_reader(
    grace_s: float | None, readers: int | None, empty_for_s: float, expected: bool
) -> None:
    assert is_detached(grace_s, readers, empty_for_s) is expected
