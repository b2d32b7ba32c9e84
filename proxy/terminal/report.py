"""What `midstream bench` has measured, as a picture for people and as JSON for machines."""

from collections.abc import Sequence
from typing import Final

import msgspec
from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from proxy.terminal.figures import QUANTILES, buckets, quantiles
from proxy.terminal.load import Plan, Tally

_CPU_SHARE_MAX: Final = 0.8
"""Above which the bench itself may be what is measured."""


class Outcome(msgspec.Struct, frozen=True):
    """A load that is over: `cpu_s` is what this process took for it."""

    plan: Plan
    tally: Tally
    lasted_s: float
    cpu_s: float

    @property
    def cpu_share(self) -> float:
        """Of one core."""
        return self.cpu_s / self.lasted_s if self.lasted_s > 0 else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Of all streams together."""
        return self.tally.tokens / self.lasted_s if self.lasted_s > 0 else 0.0

    @property
    def warning(self) -> str:
        """What stands between the figures and the truth; "" for nothing."""
        if self.cpu_share <= _CPU_SHARE_MAX:
            return ""
        return (
            f"this program itself used {self.cpu_share:.0%} of a core: it may be what was "
            "measured; use fewer streams, or several of it"
        )


def duration(seconds: float) -> str:
    """With three digits that count."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"


def rate(per_s: float) -> str:
    """Of tokens."""
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


# --- for people ---------------------------------------------------------------------------------


def picture(outcome: Outcome) -> RenderableType:
    """The whole report."""
    tally = outcome.tally
    plots = [
        _plot(title, values)
        for title, values in (
            ("time to first token", tally.first_s),
            ("gap between tokens", tally.gap_s),
            ("whole answer", tally.answer_s),
        )
        if values
    ]
    return Group(
        _summary(outcome),
        *([_errors(tally)] if tally.errors else []),
        *([_quantiles(tally)] if tally.first_s else []),
        *plots,
    )


def _summary(outcome: Outcome) -> RenderableType:
    tally = outcome.tally
    grid = Table.grid(padding=(0, 2))
    stopped = f", {tally.unfinished} unfinished when it was stopped" if tally.unfinished else ""
    grid.add_row("requests", f"{tally.ok} ok, {tally.failed} failed{stopped}")
    grid.add_row("time", duration(outcome.lasted_s))
    grid.add_row("tokens", f"{tally.tokens:,}, counted as events that hold content")
    if tally.told:
        told = f"{tally.told_tokens:,} in {tally.told} answers, by the provider's own usage"
        grid.add_row("", told)
    grid.add_row("tokens a second", f"{rate(outcome.tokens_per_s)} of all streams together")
    return Group(Text(""), grid)


def _errors(tally: Tally) -> RenderableType:
    table = Table("failed with", "requests", box=None, pad_edge=False, header_style="bold red")
    for what, count in tally.errors.most_common():
        table.add_row(Text(what), str(count))
    return Group(Text(""), table)


def _quantiles(tally: Tally) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in QUANTILES:
        table.add_column(name, justify="right")
    for title, values, shown in (
        ("time to first token", tally.first_s, duration),
        ("gap between tokens", tally.gap_s, duration),
        ("whole answer", tally.answer_s, duration),
        ("tokens a second of a stream", tally.tokens_per_s, rate),
    ):
        found = quantiles(values)
        if found:
            table.add_row(title, *(shown(found[name]) for name in QUANTILES))
    return Group(Text(""), table)


def _plot(title: str, values: Sequence[float]) -> RenderableType:
    """How often which values were, as bars."""
    found = buckets(values)
    most = max(bucket.count for bucket in found)
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", min_width=9)
    table.add_column(justify="right", min_width=7)
    table.add_column(ratio=1)
    for bucket in found:
        bar = Bar(most, 0, bucket.count, width=48, color="cyan")
        table.add_row(duration(bucket.low), f"{bucket.count:,}", bar)
    return Group(Text(""), Text(title, style="bold"), table)


# --- for machines -------------------------------------------------------------------------------


def as_json(outcome: Outcome) -> bytes:
    """The same figures. Times in seconds."""
    plan, tally = outcome.plan, outcome.tally
    measured = {
        "first_token_s": tally.first_s,
        "gap_s": tally.gap_s,
        "answer_s": tally.answer_s,
        "tokens_per_s_of_a_stream": tally.tokens_per_s,
    }
    return msgspec.json.encode(
        {
            "url": plan.url,
            "dialect": plan.dialect.name,
            "model": plan.model,
            "streams": plan.streams,
            "seconds": outcome.lasted_s,
            "requests": {
                "ok": tally.ok,
                "failed": tally.failed,
                "unfinished": tally.unfinished,
            },
            "errors": dict(tally.errors.most_common()),
            "tokens": {
                "counted": tally.tokens,
                "per_s": outcome.tokens_per_s,
                "told": tally.told_tokens if tally.told else None,
                "answers_that_told": tally.told,
            },
            **{name: quantiles(values) for name, values in measured.items()},
            "buckets": {name: buckets(values) for name, values in measured.items()},
            "cpu_share": outcome.cpu_share,
            "warning": outcome.warning or None,
        }
    )
