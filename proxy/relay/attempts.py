"""What is done after a try has failed: again, the next target, or the end. Pure.

    the failure                                  before anything of it is written
    it may pass (429, 5xx, cut, unreachable ...)  again, while the target's retries last; then NEXT
    it is this target's (401, 402, 403, 404, or   NEXT
    silence, which asking again would double)
    it is the request's (other 4xx)               the end

NEXT is the next target that was not asked for this; without one, the end. What is written cannot be
taken back: after that no try is repeated, and the answer can only be taken up, where that is
allowed, by another target, or by the same if it is the only one.

What surprises: a provider that says when to be asked again is believed, both ways. It is not asked
earlier; and if that is longer than anybody wants to wait, not at all. Nobody waits beyond the
moment at which a failure can no longer be the status of a response.
"""

import enum
import math
from collections.abc import Callable, Sequence

import msgspec

from proxy.errors import (
    ProviderError,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderUntranslatable,
)
from proxy.relay.ports import Patience

TAKE_UPS_MAX = 3
"""Of one answer. Chosen: what fails more often than that will not become an answer."""

_FIRST_WAIT_S = 0.25
"""Before the first repeat, at most; it doubles with each. Chosen: half of what the SDKs wait, as
somebody else is asked after that."""
_SPREAD = 0.1
"""How much later than asked for, at most: else all who were refused would come back together."""

_OF_THE_TARGET = frozenset({401, 402, 403, 404, 407})
_PASSING = frozenset({408, 409, 425, 429})
_USED_UP = "insufficient_quota"


class Blame(enum.Enum):
    """What a failure is about."""

    MOMENT = "moment"
    """It may be over when asked again."""
    TARGET = "target"
    """This one will not, or has taken too long already."""
    REQUEST = "request"
    """It would fail anywhere."""


def blame_for(error: ProviderError) -> Blame:
    """See the module."""
    match error:
        case ProviderUntranslatable():
            return Blame.REQUEST
        case ProviderStalled():
            return Blame.MOMENT if error.deadline == "connect" else Blame.TARGET
        case ProviderRefused() | ProviderReported():
            return _blame_for_status(error.upstream_status, error.upstream_code)
        case _:
            return Blame.MOMENT


def _blame_for_status(status: int, code: str | None) -> Blame:
    if status in _OF_THE_TARGET or status < 400 or code == _USED_UP:
        return Blame.TARGET
    return Blame.MOMENT if status in _PASSING or status >= 500 else Blame.REQUEST


class Step(msgspec.Struct, frozen=True):
    """Ask this candidate, by its place, after a wait."""

    place: int
    wait_s: float = 0.0
    takes_up: bool = False
    """Whether for the rest of what is written."""


class Attempts:
    """The tries of one answer. `draw` gives numbers from 0 to below 1."""

    def __init__(
        self,
        patience: Sequence[Patience],
        draw: Callable[[], float],
        *,
        takes_up: bool = False,
    ) -> None:
        self._patience = patience
        self._draw = draw
        self._place = 0
        self._tries = 0
        self._asked = {0}
        """Places that were asked for what is to be had now: all, or the rest."""
        self._take_ups = 0
        self._takes_up = takes_up

    @property
    def step(self) -> Step:
        """The one that is to be taken now, or is."""
        return Step(self._place, takes_up=self._takes_up)

    def after(
        self,
        error: ProviderError,
        *,
        is_written: bool,
        may_take_up: bool,
        patience_s: float = math.inf,
    ) -> Step | None:
        """The next step, or None if there is none.

        `is_written` is whether anything of this try was: from then on it cannot be forgotten. For a
        try more nobody waits longer than `patience_s`.
        """
        blame = blame_for(error)
        if blame is Blame.REQUEST:
            return None
        if is_written:
            return self._take_up(error) if may_take_up else None
        self._tries += 1
        if blame is Blame.MOMENT and self._tries <= self._patience[self._place].retries:
            wait_s = self._wait_s(error)
            if wait_s <= min(self._patience[self._place].retry_wait_s, patience_s):
                return Step(self._place, wait_s, self._takes_up)
        return self.skip()

    def skip(self) -> Step | None:
        """The next target, or None; also where this one is not to be asked at all."""
        count = len(self._patience)
        places = ((self._place + further) % count for further in range(1, count))
        place = next((place for place in places if place not in self._asked), None)
        if place is None:
            return None
        self._asked.add(place)
        self._place, self._tries = place, 0
        return self.step

    def _take_up(self, error: ProviderError) -> Step | None:
        if self._take_ups == TAKE_UPS_MAX:
            return None
        self._take_ups += 1
        self._takes_up = True
        self._tries = 0
        if len(self._patience) > 1:
            self._asked = {self._place}
            return self.skip()
        wait_s = self._wait_s(error)
        return Step(0, wait_s, takes_up=True) if wait_s <= self._patience[0].retry_wait_s else None

    def _wait_s(self, error: ProviderError) -> float:
        asked_s = error.retry_after_s if isinstance(error, ProviderRefused) else None
        if asked_s is not None:
            return asked_s * (1 + _SPREAD * self._draw())
        longest_s = _FIRST_WAIT_S * (1 << max(self._tries - 1, 0))
        return min(longest_s, self._patience[self._place].retry_wait_s) * self._draw()
