"""Going on with a stream whose worker died, by the worker that has found it.

Owns the verdict: whether it can be gone on with truthfully, and how. Its provider keeps the answer,
and the rest is heard from there; or nobody has seen anything of it, and it is asked for anew; or a
target may take up answers, and is asked for the rest. Else it is `interrupted`, as it would be
without a recipe.

What surprises: how often a stream was taken over already is its epoch, which counts just that.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from proxy.errors import CannotContinue, MidstreamError, RecipeUnreadable
from proxy.observe import Observer
from proxy.relay.estimate import accounted, asked_in, is_known, left_behind, said_in
from proxy.relay.heritage import Heritage
from proxy.relay.ports import Clock, Journal, Keeper
from proxy.relay.work import Candidate, Work
from proxy.stream import Birth, Event, Leg, State, Usage

TAKEOVERS_MAX = 3
"""Of one stream. Chosen: an answer that has outlived three workers may well be what kills them."""
RECIPE_BYTES_MAX = 1024 * 1024
"""Of a recipe that is kept. Chosen: conversations fit, and pictures do not fill the store."""

How = Literal["resumed", "asked", "taken_up"]
"""Heard from its provider, which has kept it; made anew, of which nobody has seen anything; or the
rest of it made, by a target that goes on from the text so far."""

PlanAgain = Callable[[Birth, bytes], Work]
"""The work for a stream from its recipe. Raises `MidstreamError`."""


class Heirs(Protocol):
    """Who can have one more stream."""

    @property
    def is_full(self) -> bool:
        """Whether they cannot."""
        ...

    def take_over(self, state: State, work: Work, heritage: Heritage) -> None:
        """Go on with it."""
        ...


class Way(NamedTuple):
    """How a stream can be gone on with."""

    candidates: Sequence[Candidate]
    """In the order in which they are to be asked."""
    how: How
    name: str = ""
    """By which the first of them knows the answer that it has kept."""


def way_on(state: State, work: Work) -> Way | None:
    """None if it cannot be gone on with. Pure.

    Whoever was asked last comes first: it was its worker that died.
    """
    leg = state.legs[-1] if state.legs else None
    candidates = work.candidates
    if leg is not None and not leg.failure:
        candidates = sorted(candidates, key=lambda candidate: not _is_of(leg, candidate))
        is_first = _is_of(leg, candidates[0])
        if is_first and leg.name and not leg.after and isinstance(candidates[0].provider, Keeper):
            return Way(candidates, "resumed", leg.name)
    if not state.last_id:
        return Way(candidates, "asked")
    if leg is not None and all(candidate.take_up is not None for candidate in candidates):
        return Way(candidates, "taken_up")
    return None


def _is_of(leg: Leg, candidate: Candidate) -> bool:
    request = candidate.request
    asked = (candidate.provider.name, request.model, request.dialect)
    return asked == (leg.provider, leg.model, leg.dialect)


class Takeover:
    """See the module."""

    def __init__(self, journal: Journal, observer: Observer, clock: Clock, heirs: Heirs) -> None:
        self.plan: PlanAgain | None = None
        """Put here by who knows how requests are planned; until then nothing is taken over."""
        self._journal = journal
        self._observer = observer
        self._clock = clock
        self._heirs = heirs

    async def take(self, state: State) -> bool:
        """Whether a stream that is ours now, and was a dead worker's, goes on.

        A round trip, and one for each page of its journal. Raises `StoreUnavailable`.
        """
        if self.plan is None or state.is_cancel_asked:
            return False
        recipe = await self._journal.recipe(state.birth.id)
        if recipe is None:
            return False
        why = self._why_not(state)
        if not why:
            why = await self._go_on(state, self.plan, recipe)
        if why:
            self._observer.not_taken_over(state.birth, why)
        return not why

    def _why_not(self, state: State) -> str:
        if self._heirs.is_full:
            return "this worker has no room"
        if state.epoch > 1 + TAKEOVERS_MAX:
            return "it was taken over too often"
        return ""

    async def _go_on(self, state: State, plan: PlanAgain, recipe: bytes) -> str:
        """Why not, if it is not."""
        try:
            work = plan(state.birth, recipe)
        except RecipeUnreadable as error:
            return f"its recipe cannot be read: {error.why}"
        except MidstreamError as error:
            return error.code
        way = way_on(state, work)
        if way is None:
            return "its provider does not keep it"
        events = await self._read_back(state)
        if len(events) != state.last_id:
            return "its journal is not whole"
        lost = self._lost(state, way, work, events) if way.how == "taken_up" else None
        try:
            _check(way, events, lost)
        except CannotContinue as cannot:
            return cannot.reason
        heritage = Heritage(
            events=events,
            legs=state.legs,
            name=way.name,
            takes_up=way.how == "taken_up",
            lost=lost,
            usage=state.usage,
            has_content=state.has_content,
            age_s=max(0.0, self._clock.now() - state.birth.created_at),
        )
        work = msgspec.structs.replace(work, candidates=way.candidates)
        self._heirs.take_over(state, work, heritage)
        self._observer.took_over(state.birth, way.how, state.last_id, state.epoch - 1)
        return ""

    def _lost(self, state: State, way: Way, work: Work, events: Sequence[Event]) -> Usage | None:
        """What the newest leg has used, guessed as far as its provider had not said it.

        What it was asked is guessed from what is asked now: the same, or the other's form of it.
        """
        leg = accounted(state)[-1]
        if leg.failure or is_known(leg.usage):
            return leg.usage
        said = said_in(events[leg.after :], work.dialect)
        asked = asked_in(len(way.candidates[0].request.body), state.birth)
        return left_behind(leg.usage, asked, said, self._clock.now() - leg.began_at, state.birth)

    async def _read_back(self, state: State) -> Sequence[Event]:
        events: list[Event] = []
        while len(events) < state.last_id:
            page = await self._journal.read(state.birth.id, len(events))
            if page is None or not page.events:
                break
            events += page.events
        return events


def _check(way: Way, events: Sequence[Event], used: Usage | None) -> None:
    """Whether the text so far can be gone on with. Raises `CannotContinue`."""
    take_up = way.candidates[0].take_up
    if way.how == "taken_up" and take_up is not None:
        take_up(events, used)
