"""Going on with a stream whose worker died, by the worker that has found it.

Owns the verdict: whether it can be gone on with truthfully, and how. Either its provider keeps the
answer, and the rest is heard from there; or nobody has seen anything of it, and it is asked for
anew. In any other case it is `interrupted`, as it would be without a recipe.

What surprises: how often a stream was taken over already is its epoch, which counts just that.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from proxy.errors import MidstreamError, RecipeUnreadable
from proxy.observe import Observer
from proxy.relay.heritage import Heritage
from proxy.relay.ports import Clock, Journal, Keeper
from proxy.relay.work import Candidate, Work
from proxy.stream import Birth, Event, Leg, State

TAKEOVERS_MAX = 3
"""Of one stream. Chosen: an answer that has outlived three workers may well be what kills them."""
RECIPE_BYTES_MAX = 1024 * 1024
"""Of a recipe that is kept. Chosen: conversations fit, and pictures do not fill the store."""

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
    name: str = ""
    """By which the first of them knows the answer; "" if it is to be asked anew."""


def way_on(state: State, work: Work) -> Way | None:
    """None if it cannot be gone on with. Pure."""
    leg = state.legs[-1] if state.legs else None
    if leg is not None and leg.name and not leg.failure and leg.after == 0:
        for candidate in work.candidates:
            if _is_of(leg, candidate) and isinstance(candidate.provider, Keeper):
                others = [each for each in work.candidates if each is not candidate]
                return Way([candidate, *others], leg.name)
    return None if state.last_id else Way(work.candidates)


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
        heritage = Heritage(
            events=events,
            legs=state.legs,
            name=way.name,
            usage=state.usage,
            has_content=state.has_content,
            age_s=max(0.0, self._clock.now() - state.birth.created_at),
        )
        work = msgspec.structs.replace(work, candidates=way.candidates)
        self._heirs.take_over(state, work, heritage)
        self._observer.took_over(
            state.birth, "resumed" if way.name else "asked", state.last_id, state.epoch - 1
        )
        return ""

    async def _read_back(self, state: State) -> Sequence[Event]:
        events: list[Event] = []
        while len(events) < state.last_id:
            page = await self._journal.read(state.birth.id, len(events))
            if page is None or not page.events:
                break
            events += page.events
        return events
