"""What a worker knows of targets that fail, and whom it may ask.

Owns a copy of what the store keeps, which is looked at once a second, and changed at once by what
this worker sees itself. To ask whether a target may be asked costs a round trip only where a probe
is due; to tell that it has answered only where it had failed. It never decides who is asked
instead. What surprises: while the store is away everybody may be asked, for then nobody knows
better, and a proxy that refuses by itself would be worse than a provider that does.
"""

import asyncio
import math
from collections.abc import Awaitable, Sequence
from typing import Final, NamedTuple

from proxy.errors import MidstreamError, ProviderRefused, StoreUnavailable, TargetsResting
from proxy.observe import Observer
from proxy.policy.breaker import NAME_CHARS_MAX, WELL, Condition, failed, is_failure, reason_of
from proxy.relay.errands import Errands
from proxy.relay.ports import Conditions, Rests, Told
from proxy.relay.work import Candidate

_EVERY_S: Final = 1.0
"""Chosen: so long a worker may ask a target of whose rest it has not heard. It costs the store 3 us
for each worker while nobody has failed, and 15 us with five who have (measured)."""


class Verdict(NamedTuple):
    """Whether a target may be asked now; if not, in how many seconds it may perhaps."""

    may_be_asked: bool
    wait_s: float = 0.0


_MAY: Final = Verdict(may_be_asked=True)


class Resting:
    """See the module. Nothing is refreshed outside `run`."""

    def __init__(self, store: Rests, observer: Observer, errands: Errands) -> None:
        self._store = store
        self._observer = observer
        self._errands = errands
        self._known: dict[str, Condition] = {}
        self._is_away = False
        self._ahead_ms = 0.0
        """How far the store's clock is ahead of the loop's."""
        self._changed_at: dict[str, float] = {}
        """When the store has heard what was seen here (infinite before that): what is older
        than that does not count."""
        self._asking: set[str] = set()
        """For whom this worker just asks for a probe."""
        self._probing: set[str] = set()
        """Whom it probes."""

    async def run(self) -> None:
        """Keep up with the other workers."""
        while True:
            await self.refresh()
            await asyncio.sleep(_EVERY_S)

    async def refresh(self) -> None:
        """Look at the store. One round trip."""
        begun = asyncio.get_running_loop().time()
        try:
            now_ms, known = await self._store.conditions()
        except StoreUnavailable:
            self._is_away = True
            self._errands.on_trouble()
            return
        self._is_away = False
        self._set_clock(now_ms)
        recent = {name: at for name, at in self._changed_at.items() if at >= begun}
        kept = {name: self._known[name] for name in recent if name in self._known}
        others = {name: condition for name, condition in known.items() if name not in recent}
        self._known, self._changed_at = others | kept, recent
        self._probing &= self._known.keys()

    def seen(self) -> Conditions:
        """What is known here of targets that have failed lately. No round trip."""
        return Conditions(self._now_ms(), self._known)

    # --- what a producer asks and tells ---------------------------------------------------------

    async def may(self, candidate: Candidate) -> Verdict:
        """Whether it may be asked now. A round trip only if a probe is due; never raises for it."""
        name = candidate.name
        condition = self._known.get(name)
        if condition is None or not condition.rests:
            return _MAY
        if self._is_away or candidate.provider.rest.rest_after == 0:
            return _MAY
        left_s = self._left_s(condition)
        if left_s > 0 or name in self._asking:
            return Verdict(may_be_asked=False, wait_s=max(left_s, 0.0))
        return await self._probe(name)

    def failed(self, candidate: Candidate, error: MidstreamError) -> None:
        """It was asked, and this is what came of it. What is no failure of its own, is none."""
        name, rule = candidate.name, candidate.provider.rest
        if self._is_away or len(name) > NAME_CHARS_MAX or not is_failure(error):
            return
        before = self._known.get(name, WELL)
        is_probe = name in self._probing
        if before.is_probed and not is_probe:
            return  # it had set out before, and says nothing of whom another worker probes
        retry_after_s = error.retry_after_s if isinstance(error, ProviderRefused) else None
        reason = reason_of(error)
        after = failed(before, rule, reason, retry_after_s, self._now_ms())
        if after is before:
            return
        if is_probe:
            self._probing.discard(name)
            self._observer.target_probed(name, "failed")
        self._change(name, after)

        async def tell() -> None:
            told = await self._store.fail(name, rule, reason, retry_after_s)
            self._hear(name, told)
            if told.is_news:
                self._observer.target_rests(name, reason, told.condition.rest_ms / 1000)

        self._errands.run(self._tell(name, tell()))

    def succeeded(self, candidate: Candidate) -> None:
        """It has begun to answer. Without a round trip if it had not failed."""
        name = candidate.name
        if name not in self._known or self._is_away:
            return
        if name in self._probing:
            self._probing.discard(name)
            self._observer.target_probed(name, "succeeded")
        self._change(name, WELL)

        async def tell() -> None:
            if await self._store.succeed(name):
                self._observer.target_back(name)

        self._errands.run(self._tell(name, tell()))

    # --- how ------------------------------------------------------------------------------------

    async def _probe(self, name: str) -> Verdict:
        self._asking.add(name)
        try:
            told = await self._store.probe(name)
        except StoreUnavailable:
            self._is_away = True
            self._errands.on_trouble()
            return _MAY
        finally:
            self._asking.discard(name)
        self._hear(name, told)
        self._changed_at[name] = asyncio.get_running_loop().time()
        if not told.condition.rests:
            return _MAY
        if not told.is_news:
            return Verdict(may_be_asked=False, wait_s=max(self._left_s(told.condition), 0.0))
        if name in self._probing:
            self._observer.target_probed(name, "unheard")
        self._probing.add(name)
        return _MAY

    async def _tell(self, name: str, telling: Awaitable[None]) -> None:
        """Until the store has heard it, what it says of this target is old."""
        try:
            await telling
        finally:
            self._changed_at[name] = asyncio.get_running_loop().time()

    def _change(self, name: str, condition: Condition) -> None:
        self._changed_at[name] = math.inf
        self._keep(name, condition)

    def _keep(self, name: str, condition: Condition) -> None:
        if condition == WELL:
            self._known.pop(name, None)
        else:
            self._known[name] = condition

    def _hear(self, name: str, told: Told) -> None:
        self._set_clock(told.now_ms)
        self._keep(name, told.condition)

    def _left_s(self, condition: Condition) -> float:
        """Until one may ask; not more than 0 if one may now."""
        return (condition.until_ms - self._now_ms()) / 1000

    def _now_ms(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000 + self._ahead_ms)

    def _set_clock(self, now_ms: int) -> None:
        self._ahead_ms = now_ms - asyncio.get_running_loop().time() * 1000


def none_may(verdicts: Sequence[Verdict]) -> TargetsResting:
    """What to raise where no target may be asked: when the first of those that rest may be.

    At least one does; others may be out of reach for another reason.
    """
    return TargetsResting(min(each.wait_s for each in verdicts if not each.may_be_asked))
