"""Days and months: where a budget's window begins and ends, in any zone.

Pure but for the zones themselves, which are read from the system or from the package tzdata.
What surprises: the store's clock decides in which window a create falls, and it knows no zones.
So whoever asks tells it three windows, the one that is by its own clock, the one before and the one
after, and a clock that is wrong by minutes or hours does no harm.
"""

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from proxy.policy.quotas import Kind


class Window(msgspec.Struct, frozen=True):
    """One day or month somewhere. It holds `begin_ms`, and not `end_ms`."""

    name: str
    """Such as ``2026-11-24`` or ``2026-11``: the same for all who share a zone."""
    begin_ms: int
    end_ms: int


def windows(kind: Kind, zone: str, now_s: float) -> tuple[Window, Window, Window]:
    """The window before, the one that `now_s` (Unix seconds) is in, and the next."""
    where = ZoneInfo(zone)
    now_ms = int(now_s * 1000)
    today = datetime.fromtimestamp(now_s, where).date()
    is_month = kind in {Kind.TOKENS_PER_MONTH, Kind.USD_PER_MONTH}
    begins = _months(today) if is_month else _days(today)
    moments = {_begin_ms(begin, where): begin for begin in begins}  # a skipped day is no window
    found = [
        Window(f"{moments[begin]:%Y-%m}" if is_month else moments[begin].isoformat(), begin, end)
        for begin, end in pairwise(sorted(moments))
    ]
    place = next(i for i, each in enumerate(found) if each.begin_ms <= now_ms < each.end_ms)
    return found[place - 1], found[place], found[place + 1]


def _days(today: date) -> list[date]:
    """Enough of them for one to be skipped on either side."""
    return [today + timedelta(days=days) for days in range(-3, 5)]


def _months(today: date) -> list[date]:
    """The first of last month, of this one, and of the two that follow."""
    month = today.year * 12 + today.month - 1
    return [date((month + i) // 12, (month + i) % 12 + 1, 1) for i in (-1, 0, 1, 2)]


def _begin_ms(day: date, where: ZoneInfo) -> int:
    """The day's first moment, or that of the next one if it was skipped."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=where)
    return round(midnight.timestamp() * 1000)


class Windows:
    """The windows around now, remembered while they last: dates cost more than sums."""

    def __init__(self) -> None:
        self._known: dict[tuple[Kind, str], tuple[Window, Window, Window]] = {}

    def around(self, kind: Kind, zone: str, now_s: float) -> tuple[Window, Window, Window]:
        """See `windows`."""
        known = self._known.get((kind, zone))
        now_ms = now_s * 1000
        if known is None or not known[1].begin_ms <= now_ms < known[1].end_ms:
            known = self._known[kind, zone] = windows(kind, zone, now_s)
        return known
