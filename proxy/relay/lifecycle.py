"""The life of a writer, as a table. Nothing outside this file decides a phase.

              END_ASKED        END_WRITTEN      OUSTED
    OPEN      -> ENDING        (a bug)          -> LOST
    ENDING    -> ENDING        -> ENDED         -> LOST
    ENDED     -> ENDED         -> ENDED         -> ENDED
    LOST      -> LOST          -> LOST          -> LOST

The first end that is asked for is the one that is written: a later one changes nothing.
"""

import enum

import msgspec

from proxy.stream import Ending


class Phase(enum.Enum):
    """Where a writer stands."""

    OPEN = "open"
    """Takes events."""
    ENDING = "ending"
    """The last event is known, but the store has not accepted it."""
    ENDED = "ended"
    """The store has the end."""
    LOST = "lost"
    """Not ours any more: fenced, erased, or the store was away for too long."""


class Occasion(enum.Enum):
    """What can happen to a writer."""

    END_ASKED = "end_asked"
    END_WRITTEN = "end_written"
    OUSTED = "ousted"


_TABLE: dict[tuple[Phase, Occasion], Phase] = {
    (Phase.OPEN, Occasion.END_ASKED): Phase.ENDING,
    (Phase.OPEN, Occasion.OUSTED): Phase.LOST,
    (Phase.ENDING, Occasion.END_ASKED): Phase.ENDING,
    (Phase.ENDING, Occasion.END_WRITTEN): Phase.ENDED,
    (Phase.ENDING, Occasion.OUSTED): Phase.LOST,
    (Phase.ENDED, Occasion.END_ASKED): Phase.ENDED,
    (Phase.ENDED, Occasion.END_WRITTEN): Phase.ENDED,
    (Phase.ENDED, Occasion.OUSTED): Phase.ENDED,
    (Phase.LOST, Occasion.END_ASKED): Phase.LOST,
    (Phase.LOST, Occasion.END_WRITTEN): Phase.LOST,
    (Phase.LOST, Occasion.OUSTED): Phase.LOST,
}


class Stop(msgspec.Struct, frozen=True):
    """Why a running producer has to stop."""

    ending: Ending
    reason: str


def next_phase(phase: Phase, occasion: Occasion) -> Phase:
    """The phase after `occasion`. KeyError is a bug in the caller."""
    return _TABLE[phase, occasion]


def is_detached(grace_s: float | None, readers: int | None, empty_for_s: float) -> bool:
    """Whether a stream is to be stopped because its last reader has left.

    `readers` is None where nobody has ever attended: such a stream is never detached.
    `empty_for_s` is how long nobody has been there.
    """
    if grace_s is None or readers is None:
        return False
    return readers == 0 and empty_for_s >= grace_s
