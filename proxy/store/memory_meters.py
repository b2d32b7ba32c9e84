"""Meters in memory: the executable specification of what the ledger keeps of quotas.

Owns the meters and the holds of one `MemoryStore`; what they mean is in `proxy.policy.quotas`. What
surprises: nothing here waits or fails, so a step of it is atomic by itself.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, assert_never

from proxy.policy.calendar import Windows
from proxy.policy.quotas import (
    Ask,
    Bucket,
    Counter,
    Crowd,
    Kind,
    Limit,
    Meter,
    Refusal,
    Standing,
    Use,
    more_used,
    refusal,
    settled,
    standing,
    taken,
    wanted,
)
from proxy.stream import StreamId

_KEEP_MS = 40 * 86_400_000
"""After its end a counter can still be settled into. Chosen: longer than any stream runs, and a
bucket has drained after a minute for each limit that it is in debt."""

Place: TypeAlias = tuple[str, Kind, str]
"""Pool, kind, and the zone and name of the window, if it has any."""


class Share(NamedTuple):
    """What one stream has set aside in one meter."""

    place: Place
    limit: Limit
    meter: Meter
    """As it was then."""
    ask: Ask
    is_later: bool
    """Whether it was set aside for another provider, while the stream ran."""


class Meters:
    """See the module."""

    def __init__(self) -> None:
        self.meters: dict[Place, Meter] = {}
        self.holds: dict[StreamId, Sequence[Share]] = {}
        self._windows = Windows()

    def hold(
        self, stream: StreamId, limits: Sequence[Limit], ask: Ask, now_s: float
    ) -> Refusal | None:
        """Set `ask` aside under all limits, or under none. Who holds is not asked again."""
        return None if stream in self.holds else self._take(stream, limits, ask, now_s)

    def hold_more(
        self, stream: StreamId, limits: Sequence[Limit], ask: Ask, now_s: float
    ) -> Refusal | None:
        """The same beside what it holds, in a pool of which that has nothing yet."""
        held = {share.limit.pool for share in self.holds.get(stream, ())}
        is_held = any(limit.pool in held for limit in limits)
        return None if is_held else self._take(stream, limits, ask, now_s, is_later=True)

    def _take(
        self,
        stream: StreamId,
        limits: Sequence[Limit],
        ask: Ask,
        now_s: float,
        *,
        is_later: bool = False,
    ) -> Refusal | None:
        now_ms = int(now_s * 1000)
        found = [(limit, *self._find(limit, now_ms)) for limit in limits]
        refused = refusal([(limit, meter) for limit, _, meter in found], ask, now_ms)
        if refused is None and limits:
            shares = [
                Share(
                    place,
                    limit,
                    taken(meter, limit, wanted(limit.kind, ask), now_ms),
                    ask,
                    is_later,
                )
                for limit, place, meter in found
            ]
            for share in shares:
                self._set(share.place, share.meter)
            self.holds[stream] = [*self.holds.get(stream, ()), *shares]
        return refused

    def settle(
        self, stream: StreamId, use: Use | None, by_pool: Mapping[str, Use], now_s: float
    ) -> None:
        """What it held becomes what it used."""
        for place, limit, held, ask, is_later in self.holds.pop(stream, ()):
            others = Use() if is_later else use
            known = None if use is None else by_pool.get(limit.pool, others)
            used = Use(ask.tokens, ask.microdollars) if known is None else known
            meter = self.meters.get(place, _empty(held))
            more = more_used(limit.kind, ask, used)
            if more:
                self._set(place, settled(meter, held, limit, more, int(now_s * 1000)))

    def standings(self, limits: Sequence[Limit], now_s: float) -> list[Standing]:
        """What is left of each."""
        now_ms = int(now_s * 1000)
        return [standing(self._find(limit, now_ms)[1], limit, now_ms) for limit in limits]

    def purge(self, now_s: float) -> None:
        """Throw away counters whose window is over, and buckets that have long drained."""
        now_ms = int(now_s * 1000)
        over = [
            place
            for place, meter in self.meters.items()
            if (isinstance(meter, Counter) and meter.end_ms < now_ms - _KEEP_MS)
            or (isinstance(meter, Bucket) and meter.at_ms < now_ms - _KEEP_MS)
        ]
        for place in over:
            del self.meters[place]

    def _set(self, place: Place, meter: Meter) -> None:
        """A meter that shows nothing is not kept."""
        if meter.streams if isinstance(meter, Crowd) else meter.used:
            self.meters[place] = meter
        else:
            self.meters.pop(place, None)

    def _find(self, limit: Limit, now_ms: int) -> tuple[Place, Meter]:
        kind = limit.kind
        if kind.is_budget:
            window = next(
                each
                for each in self._windows.around(kind, limit.zone, now_ms / 1000)
                if each.begin_ms <= now_ms < each.end_ms
            )
            place = (limit.pool, kind, f"{limit.zone} {window.name}")
            return place, self.meters.get(place, Counter(0, window.end_ms))
        place = (limit.pool, kind, "")
        fresh = Bucket(0, now_ms) if kind.is_bucket else Crowd()
        return place, self.meters.get(place, fresh)


def _empty(meter: Meter) -> Meter:
    match meter:
        case Bucket():
            return Bucket()
        case Counter():
            return Counter(0, meter.end_ms)
        case Crowd():
            return Crowd()
    assert_never(meter)
