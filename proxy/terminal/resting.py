"""What `midstream top` says of targets that rest: a line for each. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from rich.text import Text

from proxy.terminal.server import visible
from proxy.terminal.words import span


class TargetSeen(msgspec.Struct, frozen=True):
    """A provider's model that rests."""

    provider: str
    model: str
    reason: str
    since: datetime
    probe_at: datetime


def resting_lines(resting: Sequence[TargetSeen], at: datetime, rows_max: int | None) -> list[Text]:
    """As they are at that moment; the last line tells of those that found no room."""
    shown = resting if rows_max is None or len(resting) <= rows_max else resting[: rows_max - 1]
    lines = []
    if rows_max != 0:
        lines = [_line(target, at) for target in shown]
        if len(shown) < len(resting):
            lines.append(f"and {len(resting) - len(shown)} more rest")
    return [Text(line, style="red", no_wrap=True, overflow="ellipsis") for line in lines]


def _line(target: TargetSeen, at: datetime) -> str:
    name = visible(f"{target.provider}/{target.model}")
    since = span((at - target.since).total_seconds())
    left_s = (target.probe_at - at).total_seconds()
    probe = f"next probe in {span(left_s + 1)}" if left_s > 0 else "probed by the next request"
    return f"{name} rests for {since}, {visible(target.reason)}, {probe}"
