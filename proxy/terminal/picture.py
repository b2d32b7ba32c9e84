"""What `midstream top` shows of one look at a proxy, or of two, which tell the pace. Pure.

Owns what is said of each stream, in which order, and which columns fit into a width. What
surprises: ages are told by this machine's clock, so they are as right as it agrees with the
server's.

This is longer than a file should be because a screen is laid out in one place.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from proxy.terminal.resting import TargetSeen, resting_lines
from proxy.terminal.server import visible
from proxy.terminal.words import span

SORTS: Final = ("age", "rate")


class StreamSeen(msgspec.Struct, frozen=True):
    """A stream of a list."""

    id: str
    status: str
    model: str
    provider: str
    last_event_id: int
    created_at: datetime
    ending: str | None = None
    tag: str | None = None
    ended_at: datetime | None = None
    owner: str = ""
    readers: int | None = None


class WorkerSeen(msgspec.Struct, frozen=True):
    """A process that serves."""

    id: str
    host: str
    pid: int
    version: str
    started_at: datetime
    draining: bool
    streams: int
    readers: int


class Look(msgspec.Struct, frozen=True):
    """What was seen at one moment: `at` for people, `clock_s` for arithmetic."""

    at: datetime
    clock_s: float
    running: Sequence[StreamSeen]
    ended: Sequence[StreamSeen]
    """The newest."""
    workers: Sequence[WorkerSeen] | None
    """None for who may not know."""
    has_more: bool
    """Whether more streams run than were looked at."""
    resting: Sequence[TargetSeen] = ()
    """The longest first. None are seen by who may not know."""


Rates = Mapping[str, float]
"""Events a second, by stream; one that was not there in the look before is not in it."""


def rates(before: Look | None, now: Look) -> Rates:
    """The pace of each running stream between two looks."""
    if before is None or now.clock_s <= before.clock_s:
        return {}
    had = {stream.id: stream.last_event_id for stream in before.running}
    past_s = now.clock_s - before.clock_s
    return {
        stream.id: max(stream.last_event_id - had[stream.id], 0) / past_s
        for stream in now.running
        if stream.id in had
    }


def ordered(look: Look, pace: Rates, sort: str) -> list[StreamSeen]:
    """Running streams: the oldest first, or the fastest."""
    by_age = sorted(look.running, key=lambda stream: (stream.created_at, stream.id))
    if sort == "rate":
        return sorted(by_age, key=lambda stream: -pace.get(stream.id, 0.0))
    return by_age


# --- words --------------------------------------------------------------------------------------


def _pace(per_s: float | None) -> str:
    return "" if per_s is None else f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _count(number: int | None) -> str:
    return "?" if number is None else str(number)


class _Column(msgspec.Struct, frozen=True):
    title: str
    width: int
    """At least."""
    of: Callable[[StreamSeen, datetime, Rates], str]
    grows: bool = False
    """Whether it takes what room is left; its text then stands at the left."""


_COLUMNS: Final[Mapping[str, _Column]] = {
    "id": _Column("stream", 29, lambda s, _n, _r: s.id, grows=True),
    "tag": _Column("tag", 10, lambda s, _n, _r: s.tag or "", grows=True),
    "owner": _Column("owner", 8, lambda s, _n, _r: s.owner, grows=True),
    "model": _Column("model", 12, lambda s, _n, _r: s.model, grows=True),
    "provider": _Column("provider", 8, lambda s, _n, _r: s.provider, grows=True),
    "age": _Column("age", 4, lambda s, now, _r: span((now - s.created_at).total_seconds())),
    "events": _Column("events", 6, lambda s, _n, _r: str(s.last_event_id)),
    "rate": _Column("ev/s", 5, lambda s, _n, pace: _pace(pace.get(s.id))),
    "readers": _Column("readers", 7, lambda s, _n, _r: "" if s.ending else _count(s.readers)),
    "status": _Column("status", 11, lambda s, _n, _r: s.ending or s.status),
}
"""In the order in which they are shown."""
_BY_WORTH: Final = (
    "id",
    "age",
    "rate",
    "status",
    "events",
    "readers",
    "model",
    "tag",
    "owner",
    "provider",
)
"""In the order in which they are given up last: where it is narrow, the last ones go first."""
_GAP: Final = 2
"""Between two columns."""


def columns_for(
    width: int, needed: Mapping[str, int], *, with_owner: bool
) -> list[tuple[str, int]]:
    """Those that fit, and how wide each is, in the order in which they are shown.

    The first always fits. What room is left goes to those whose texts need more of it.
    """
    chosen: dict[str, int] = {}
    room = width + _GAP
    for name in _BY_WORTH:
        if name == "owner" and not with_owner:
            continue
        least = _COLUMNS[name].width
        if chosen and room < least + _GAP:
            break
        chosen[name] = min(least, width)
        room -= least + _GAP
    for name, wide in chosen.items():
        if _COLUMNS[name].grows and room > 0:
            more = min(max(needed[name] - wide, 0), room)
            chosen[name] = wide + more
            room -= more
    return [(name, chosen[name]) for name in _COLUMNS if name in chosen]


# --- the picture --------------------------------------------------------------------------------


def picture(
    look: Look,
    pace: Rates,
    *,
    width: int,
    height: int | None,
    sort: str,
    trouble: str = "",
    hint: str = "",
) -> RenderableType:
    """Workers and what rests above, streams below; in `height` lines, or as many as there are."""
    workers = _workers(look, None if height is None else max(min(height // 3, height - 5), 0))
    resting = resting_lines(
        look.resting, look.at, None if height is None else max(min(height // 6, height - 8), 0)
    )
    lines = 3 + workers.row_count + len(resting)  # the headline, the line between, the titles
    rows_max = None if height is None else max(height - lines - 1, 1)
    streams, left_out = _streams(look, pace, width, rows_max, sort)
    head = _headline(look, pace, trouble, hint)
    return Group(head, workers, *resting, Text(""), streams, *([left_out] if left_out else []))


def _headline(look: Look, pace: Rates, trouble: str, hint: str) -> Text:
    if look.workers is None:
        made, read = len(look.running), sum(stream.readers or 0 for stream in look.running)
        parts = []
    else:
        made = sum(worker.streams for worker in look.workers)
        read = sum(worker.readers for worker in look.workers)
        parts = [_many(len(look.workers), "worker")]
    events = f"{_pace(sum(pace.values()))} events/s"
    told = ", ".join([*parts, _many(made, "stream"), _many(read, "reader"), events])
    line = Text(f"{look.at.astimezone():%H:%M:%S}  ", style="bold", no_wrap=True)
    line.overflow = "ellipsis"
    if trouble:
        return line.append(trouble, style="red")
    return line.append(told).append(f"  {hint}", style="not bold dim")


def _workers(look: Look, rows_max: int | None) -> Table:
    table = Table.grid(padding=(0, _GAP))
    for _ in range(6):
        table.add_column(no_wrap=True, overflow="ellipsis")
    workers = look.workers or ()
    for worker in workers[:rows_max]:
        table.add_row(
            Text(visible(worker.host)),
            f"pid {worker.pid}",
            f"up {span((look.at - worker.started_at).total_seconds())}",
            _many(worker.streams, "stream"),
            _many(worker.readers, "reader"),
            Text("draining", style="yellow") if worker.draining else Text(visible(worker.version)),
        )
    return table


def _streams(
    look: Look, pace: Rates, width: int, rows_max: int | None, sort: str
) -> tuple[Table, Text | None]:
    """The table, and what to say of those that are not in it. The ended ones go first."""
    running, ended = ordered(look, pace, sort), list(look.ended)
    if rows_max is not None:
        ended = ended[: max(rows_max - len(running), 0)]
    shown = running[:rows_max]
    rows = [
        (
            stream,
            {name: visible(column.of(stream, look.at, pace)) for name, column in _COLUMNS.items()},
        )
        for stream in (*shown, *ended)
    ]
    needed = {
        name: max((cell_len(texts[name]) for _, texts in rows), default=0) for name in _COLUMNS
    }
    columns = columns_for(width, needed, with_owner=look.workers is not None)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for name, wide in columns:
        column = _COLUMNS[name]
        side: Literal["left", "right"] = "left" if column.grows or name == "status" else "right"
        table.add_column(column.title, justify=side, no_wrap=True, overflow="ellipsis", width=wide)
    for stream, texts in rows:
        style = "dim" if stream.ending else ""
        table.add_row(*(Text(texts[name]) for name, _ in columns), style=style)
    more = len(running) - len(shown)
    if not (more or look.has_more):
        return table, None
    return table, Text(f"and {more} more" if more else "and more", style="dim")


def as_json(look: Look, pace: Rates, sort: str) -> bytes:
    """One look as one line."""
    return msgspec.json.encode(
        {
            "at": look.at,
            "workers": look.workers,
            "resting": look.resting,
            "streams": [
                {**msgspec.structs.asdict(stream), "events_per_s": pace.get(stream.id)}
                for stream in ordered(look, pace, sort)
            ],
            "ended": look.ended,
            "has_more": look.has_more,
        }
    )
