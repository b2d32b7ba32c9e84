"""What a producer is to do: the ways in which an answer can be had, and what each may cost.

Pure data, made by whoever takes a create. What surprises: a candidate holds no translator but the
making of one, because each try hears another answer, from its beginning.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from proxy.policy.quotas import Ask, Limit
from proxy.policy.routes import Target
from proxy.relay.ports import Provider, UpstreamRequest
from proxy.stream import Event, Frame, Usage
from proxy.wire.dialect import Dialect, Translator


class Part(NamedTuple):
    """What a provider is asked, and what hears its answer. Of one try."""

    request: UpstreamRequest
    translator: Translator


class Rest(NamedTuple):
    """All that an answer lacks of which everything has been said: nobody has to be asked."""

    frames: Sequence[Frame]


TakeUp = Callable[[Sequence[Event], Usage | None], Part | Rest]
"""Makes what asks for the rest of an answer, of which the journal holds these events.

And for which so much was used. Raises `CannotContinue` where that could not be done truthfully.
"""


class Candidate(msgspec.Struct, frozen=True):
    """One target that can have the answer made."""

    target: Target
    provider: Provider
    request: UpstreamRequest
    listen: Callable[[], Translator]
    """A translator for one try."""
    limits: Sequence[Limit] = ()
    """Those of its provider, which hold for what it answers alone."""
    take_up: TakeUp | None = None
    """None where an answer that another has begun is not to be gone on with."""

    @property
    def name(self) -> str:
        """Who it is, for people and as the name under which it rests."""
        return f"{self.provider.name}/{self.request.model}"


class Work(msgspec.Struct, frozen=True):
    """All that a producer is to do, and what that may use at most."""

    dialect: Dialect
    """The client's."""
    candidates: Sequence[Candidate]
    """In the order in which they are asked, at least one."""
    limits: Sequence[Limit] = ()
    """That have to let it through: those of the first candidate's provider too."""
    ask: Ask = Ask()
    recipe: bytes | None = None
    """From which the same work can be planned again, where that is wanted: see `takeover`."""
    hold_back_s: float = 0.0
    """How long frames without content wait for some, from the start on: see `held_back`."""

    @property
    def total_s(self) -> float:
        """The longest that it may take."""
        return max(each.provider.deadlines.total_s for each in self.candidates)
