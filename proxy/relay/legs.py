"""Which targets an answer was asked of, written down as it happens, and what each has used.

Keeps a writer's legs and its usage, which is the sum of theirs. A leg that has said nothing and was
given up has used nothing: somebody else was asked instead, and nobody pays for both.
"""

from collections.abc import Sequence

import msgspec

from proxy.relay.ports import Clock
from proxy.relay.work import Candidate
from proxy.relay.writer import Writer
from proxy.stream import Leg, Usage
from proxy.wire.taking_up import added

WORKER_DIED = "worker_died"
"""The failure of a leg whose worker died, and whose provider is not heard any more."""


class Legs:
    """Of one stream. See the module."""

    def __init__(
        self, writer: Writer, clock: Clock, earlier: Sequence[Leg] = (), *, is_heir: bool = False
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._place = len(earlier) - 1
        self._is_heir = is_heir
        self._before: Usage | None = None
        """What those have used that are given up."""
        for leg in earlier:
            self._leave(leg.usage)
        writer.legs = tuple(earlier)

    @property
    def newest(self) -> Leg:
        """The one that runs, or ran last."""
        return self._writer.legs[self._place]

    def take_over(self) -> None:
        """The newest goes on, at the same target, for a worker that died."""
        self._change(is_taken_over=True, resumes=self.newest.resumes + 1)

    def begin(self, candidate: Candidate, waited_s: float) -> None:
        """A candidate is asked, and nobody else from now on."""
        leg = Leg(
            provider=candidate.provider.name,
            model=candidate.request.model,
            dialect=candidate.request.dialect,
            began_at=self._clock.now(),
            after=self._writer.last_id,
            waited_s=waited_s,
            is_taken_over=self._is_heir,
            price=candidate.target.price,
        )
        self._writer.legs = (*self._writer.legs, leg)
        self._place += 1

    def again(self, waited_s: float) -> None:
        """The same candidate is asked once more."""
        newest = self.newest
        self._change(tries=newest.tries + 1, waited_s=newest.waited_s + waited_s)

    def named(self, name: str) -> None:
        """Its provider keeps the answer, and knows it by this name."""
        self._change(name=name)

    def resumed(self) -> None:
        """The rest is had from it, after a cut."""
        self._change(resumes=self.newest.resumes + 1)

    def give_up(self, failure: str, usage: Usage | None) -> None:
        """It is not asked any more."""
        self._change(failure=failure, usage=usage)
        self._leave(usage)
        self._writer.usage = self._before

    def heard(self, usage: Usage | None) -> None:
        """What the newest has used so far: the writer's usage is that with the others'."""
        before = self._before
        self._writer.usage = usage if before is None else added(before, usage or Usage())

    def over(self, usage: Usage | None) -> None:
        """The answer ends with the newest leg."""
        self.heard(usage)
        self._change(usage=usage)

    @property
    def used_before(self) -> Usage | None:
        """What those have used that are given up."""
        return self._before

    def _leave(self, usage: Usage | None) -> None:
        if usage is not None:
            self._before = usage if self._before is None else added(self._before, usage)

    def _change(self, **changed: object) -> None:
        legs = list(self._writer.legs)
        legs[self._place] = msgspec.structs.replace(legs[self._place], **changed)
        self._writer.legs = tuple(legs)
