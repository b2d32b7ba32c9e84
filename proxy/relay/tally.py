"""What a worker made lately: how much, how promptly, and what went wrong.

Owns the few numbers that a report carries for whoever looks at the proxy, all of bounded size. It
never holds a prompt, an answer, or a provider's own words. What surprises: how long was waited is
not counted here: it is the difference between what ``/metrics`` has counted now and had then.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from proxy.observe.counts import Counts
from proxy.observe.metrics import FIRST_WAITS, GAPS, MICRO, WAIT_BOUNDS, WAIT_STEPS
from proxy.stream import Birth, Ending, Problem

_LOOKS: Final = 5
"""What waits are told of: the last 10 s, at a look every 2 s. Chosen: enough of them for a p99."""
_MINUTES: Final = 10
"""What ends and failures are told of."""
_TROUBLES_MAX: Final = 20
_PROVIDERS_MAX: Final = 20
_NAME_CHARS_MAX: Final = 80
"""Of a model's name, which may be what a client made up for a pattern."""


class Trouble(msgspec.Struct, frozen=True):
    """One answer that did not come to its end. The code is ours."""

    at: float
    """Unix seconds."""
    code: str
    status: int
    """Of HTTP: the one that stands for it, be it too late to be sent."""
    model: str
    provider: str


class ProviderTally(msgspec.Struct, frozen=True):
    """What one provider does for a worker."""

    running: int
    ended: int
    """Over the last ten minutes, with those that failed."""
    failed: int
    """What was interrupted is not in it: that is a worker's doing."""


class Lately(msgspec.Struct, frozen=True):
    """What a worker made lately, at most 8 KiB of it."""

    events_per_s: float
    """Since the look before."""
    first_waits: Sequence[int]
    """Times to first token, over the last 10 s: a count for each stretch of `WAIT_BOUNDS`, and one
    for what is beyond."""
    gaps: Sequence[int]
    """The same of times between tokens."""
    providers: Mapping[str, ProviderTally]
    troubles: Sequence[Trouble]
    """The newest last."""


class Tally:
    """See the module. `now` tells Unix seconds."""

    def __init__(self, now: Callable[[], float], counts: Counts) -> None:
        self._now = now
        self._counts = counts
        self._looks = deque([self._waited()], maxlen=_LOOKS + 1)
        """All waits there ever were, at each look: another worker has perhaps begun the sheet."""
        self._minutes: deque[tuple[int, Counter[str], Counter[str]]] = deque(maxlen=_MINUTES)
        """For each minute: ends and failures, by provider."""
        self._troubles: deque[Trouble] = deque(maxlen=_TROUBLES_MAX)
        self._ended_events = 0
        self._seen_events = 0
        self._seen_at: float | None = None

    # --- what happens -----------------------------------------------------------------------

    def ended(
        self,
        birth: Birth,
        provider: str,
        ending: Ending | None,
        problem: Problem | None,
        *,
        events: int = 0,
    ) -> None:
        """A stream is over, after `events` that were made here. `provider` was asked last.

        `problem` is None too where another worker has written the end, which then tells it.
        """
        self._ended_events += events
        now = self._now()
        ends, failures = self._minute(now)
        ends[provider] += 1
        if problem is not None and ending in {Ending.FAILED, Ending.INTERRUPTED}:
            failures[provider] += ending is Ending.FAILED
            model = birth.model[:_NAME_CHARS_MAX]
            trouble = Trouble(now, problem.code, problem.status, model, provider)
            self._troubles.append(trouble)

    def _minute(self, now: float) -> tuple[Counter[str], Counter[str]]:
        minute = int(now // 60)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, Counter(), Counter()))
        return self._minutes[-1][1:]

    # --- what is told of it -----------------------------------------------------------------

    def look(self, running: Counter[str], running_events: int, *, clock_s: float) -> Lately:
        """What there is since the look before, at `clock_s` of a clock that only goes forward.

        `running` are the streams of each provider now, and `running_events` all of theirs.
        """
        events = self._ended_events + running_events
        made, self._seen_events = events - self._seen_events, events
        passed_s = 0.0 if self._seen_at is None else clock_s - self._seen_at
        self._seen_at = clock_s
        self._looks.append(self._waited())
        first_waits, gaps = map(_since, self._looks[0], self._looks[-1])
        return Lately(
            events_per_s=round(made / passed_s, 1) if passed_s > 0 else 0.0,
            first_waits=first_waits,
            gaps=gaps,
            providers=self._providers(running, int(self._now() // 60)),
            troubles=tuple(self._troubles),
        )

    def _waited(self) -> tuple[list[int], list[int]]:
        return self._counts.counted(FIRST_WAITS), self._counts.counted(GAPS)

    def _providers(self, running: Counter[str], minute: int) -> Mapping[str, ProviderTally]:
        ended: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for at, ends, failures in self._minutes:
            if at > minute - _MINUTES:
                ended += ends
                failed += failures
        busiest = (running + ended).most_common(_PROVIDERS_MAX)
        return {
            name: ProviderTally(running[name], ended[name], failed[name]) for name, _ in busiest
        }


def _since(then: Sequence[int], now: Sequence[int]) -> list[int]:
    return [count - before for before, count in zip(then, now, strict=True)]


def added(counts: Iterable[Sequence[int]]) -> list[int]:
    """Counts of waits, place by place. Of another version's they may be fewer or more."""
    total = [0] * (len(WAIT_BOUNDS) + 1)
    for each in counts:
        for place, count in enumerate(each[: len(total)]):
            total[place] += count
    return total


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """What so many of all waits do not pass, by the middle of its stretch; None of no waits."""
    total = sum(counts)
    if total == 0:
        return None
    place = bisect_left(list(accumulate(counts)), share * total)
    if place >= len(WAIT_BOUNDS):
        return WAIT_BOUNDS[-1] / MICRO
    return WAIT_BOUNDS[place] / MICRO / 2 ** (0.5 / WAIT_STEPS if place else 0)
