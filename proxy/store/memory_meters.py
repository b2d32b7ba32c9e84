"""Meters in memory: the executable specification of what the ledger keeps of quotas.

Owns the meters and the holds of one `MemoryStore`; what they mean is in `proxy.policy.quotas`. What
surprises: nothing here waits or fails, so a step of it is atomic by itself.
"""

from collections.abc import Sequence
from typing import TypeAlias, assert_never

import msgspec

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


class Hold(msgspec.Struct, frozen=True):
    """What one stream has set aside, and where."""

    ask: Ask
    places: Sequence[tuple[Place, Limit, Meter]]
    """And what each meter was then."""


class Meters:
    """See the module."""

    def __init__(self) -> None:
        self.meters: dict[Place, Meter] = {}
        self.holds: dict[StreamId, Hold] = {}
        self._windows = Windows()

    def hold(
        self, stream: StreamId, limits: Sequence[Limit], ask: Ask, now_s: float
    ) -> Refusal | None:
        """Set `ask` aside under all limits, or under none. Who holds is not asked again."""
        if stream in self.holds or not limits:
            return None
        now_ms = int(now_s * 1000)
        found = [(limit, *self._find(limit, now_ms)) for limit in limits]
        refused = refusal([(limit, meter) for limit, _, meter in found], ask, now_ms)
        if refused is None:
            places = [
                (place, limit, taken(meter, limit, wanted(limit.kind, ask), now_ms))
                for limit, place, meter in found
            ]
            for place, _, meter in places:
                self._set(place, meter)
            self.holds[stream] = Hold(ask, places)
        return refused

    def settle(self, stream: StreamId, use: Use | None, now_s: float) -> None:
        """What it held becomes what it used."""
        hold = self.holds.pop(stream, None)
        if hold is None:
            return
        used = Use(hold.ask.tokens, hold.ask.microdollars) if use is None else use
        for place, limit, held in hold.places:
            meter = self.meters.get(place, _empty(held))
            more = more_used(limit.kind, hold.ask, used)
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
