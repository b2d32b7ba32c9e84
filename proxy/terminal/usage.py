"""`midstream usage`: what is used of each limit, what is left, and when it is whole again.

One question, one table: a block for each key or team, a line for each limit. A bar says how much is
used; it turns yellow and then red towards its end. As JSON it is the server's answer, unchanged.
"""

import asyncio
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.config.money import usd
from proxy.config.summary import WORDS
from proxy.terminal.server import Server, ask, open_session, visible

_BAR: Final = 20
_NARROW: Final = 90
"""Columns below which there is no bar."""
_NEARLY: Final = 0.8
_WORDS: Final = {str(kind): words for kind, words in WORDS.items()}


class UsageWish(msgspec.Struct, frozen=True):
    """What the command was told."""

    server: Server
    of: str | None
    """The name of one key; None for all that may be seen."""
    is_json: bool


class Limit(msgspec.Struct, frozen=True):
    """One limit, as the server tells it."""

    kind: str
    amount: int
    used: int
    remaining: int
    reset_at: datetime


class Pool(msgspec.Struct, frozen=True):
    """Who shares limits."""

    pool: str
    keys: list[str]
    limits: list[Limit]


class _Usage(msgspec.Struct, frozen=True):
    data: list[Pool]


def usage(wish: UsageWish) -> int:
    """Ask and print; the exit code. Raises `ServerError`."""
    raw = asyncio.run(_ask(wish))
    if wish.is_json:
        sys.stdout.buffer.write(bytes(raw) + b"\n")
        return 0
    seen = msgspec.json.decode(raw, type=_Usage)
    console = Console(highlight=False)
    console.print(picture(seen.data, datetime.now(UTC), console.width))
    return 0


async def _ask(wish: UsageWish) -> msgspec.Raw:
    path = "/v1/usage" + (f"?key={quote(wish.of, safe='')}" if wish.of else "")
    async with open_session(wish.server) as session:
        return await ask(session, wish.server, path, msgspec.Raw)


def picture(pools: Iterable[Pool], now: datetime, width: int) -> Table:
    """The table."""
    has_bar = width >= _NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for title in ("limit", "used", "left"):
        table.add_column(title, justify="right", no_wrap=True)
    if has_bar:
        table.add_column("", no_wrap=True)
    table.add_column("whole again", no_wrap=True)
    for pool in pools:
        table.add_row(_title(pool))
        if not pool.limits:
            table.add_row(Text("  no limits", style="dim"))
        for limit in pool.limits:
            table.add_row(*_row(limit, now, has_bar=has_bar))
    return table


def _title(pool: Pool) -> Text:
    name, _, of = pool.pool.partition(":")
    said = {"all": "everybody together", "team": f"team {of}", "provider": f"provider {of}"}
    title = Text(visible(said.get(name, of or "key")), style="bold")
    if name == "team":
        title.append(visible(f"  {', '.join(pool.keys)}"), style="not bold dim")
    return title


def _row(limit: Limit, now: datetime, *, has_bar: bool) -> Iterable[Text]:
    share = limit.used / limit.amount
    style = "red" if not limit.remaining else "yellow" if share >= _NEARLY else "green"
    yield Text("  " + _WORDS.get(limit.kind, visible(limit.kind)))
    for count in (limit.amount, limit.used):
        yield Text(_count(limit.kind, count))
    yield Text(_count(limit.kind, limit.remaining), style=style)
    if has_bar:
        full = min(_BAR, -int(-share * _BAR // 1))
        yield Text("█" * full, style=style).append("░" * (_BAR - full), style="dim")
    yield Text(_when(limit, now), style="" if limit.used else "dim")


def _count(kind: str, count: int) -> str:
    return usd(count) if kind.startswith("usd") else f"{count:,}"


def _when(limit: Limit, now: datetime) -> str:
    """Minutes are told as a time to wait, days and months as a moment of this machine's clock."""
    if not limit.used:
        return "now"
    left_s = (limit.reset_at - now).total_seconds()
    if limit.kind == "concurrent_streams":
        return "as they end"
    if left_s < 120:
        return f"in {max(0, -int(-left_s // 1))} s"
    return f"{limit.reset_at.astimezone():%a %d %b %H:%M}"
