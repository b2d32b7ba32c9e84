"""`midstream bench`: says what it is going to send, sends it, and shows how the answers came.

What surprises: Ctrl-C shows what was measured until then. Progress and warnings go to stderr,
the figures to stdout.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from proxy.config import Secret
from proxy.terminal.load import Load, Plan
from proxy.terminal.report import Outcome, as_json, duration, picture, rate
from proxy.wire.dialects import all_dialects

_OK: Final = 0
_FAILED: Final = 1
_STOPPED: Final = 130
_REQUESTS: Final = 30
_SECONDS: Final = 60.0
"""Without any word of the user's. Chosen: costs little, and tells enough for a p90."""
_LOOK_S: Final = 0.1

DIALECTS: Final = ("openai", "anthropic")


class _Language(msgspec.Struct, frozen=True):
    """How a dialect is asked, from a base URL as its SDK takes it."""

    name: str
    path: str
    headers: Callable[[Secret], Mapping[str, str]]
    always: Mapping[str, str]


_LANGUAGES: Final[Mapping[str, _Language]] = {
    "openai": _Language(
        "openai.chat",
        "/chat/completions",
        lambda key: {"authorization": f"Bearer {key.reveal()}"},
        {},
    ),
    "anthropic": _Language(
        "anthropic.messages",
        "/v1/messages",
        lambda key: {"x-api-key": key.reveal()},
        {"anthropic-version": "2023-06-01"},
    ),
}


class BenchWish(msgspec.Struct, frozen=True):
    """What the command was told."""

    url: str
    key: Secret | None
    model: str
    dialect: str
    """One of `DIALECTS`."""
    streams: int
    requests: int | None
    seconds: float | None
    prompt: str
    max_tokens: int
    is_json: bool


def plan_of(wish: BenchWish) -> Plan:
    """What is to be sent. Without a bound of the user's it has two."""
    language = _LANGUAGES[wish.dialect]
    is_unbounded = wish.requests is None and wish.seconds is None
    return Plan(
        url=wish.url.rstrip("/") + language.path,
        headers={
            "content-type": "application/json",
            **language.always,
            **({} if wish.key is None else language.headers(wish.key)),
        },
        dialect=all_dialects()[language.name],
        model=wish.model,
        prompt=wish.prompt,
        max_tokens=wish.max_tokens,
        streams=wish.streams,
        requests=_REQUESTS if is_unbounded else wish.requests,
        seconds=_SECONDS if is_unbounded else wish.seconds,
    )


def announcement(plan: Plan) -> str:
    """What is going to be sent, before it is."""
    if plan.requests is None:
        much = f"as many requests as fit into {duration(plan.seconds or 0)}"
        most = f"at most {plan.max_tokens:,} tokens each"
    else:
        much = f"{plan.requests:,} requests"
        most = f"at most {plan.requests * plan.max_tokens:,} tokens in all"
        if plan.seconds is not None:
            much += f", for {duration(plan.seconds)} at most"
    at_once = min(plan.streams, plan.requests or plan.streams)
    return f"Sends {much}, {at_once:,} at once, to {plan.url} (model {plan.model}): {most}."


def bench(wish: BenchWish) -> int:
    """Measure, and show; the exit code, which is 0 if no request failed."""
    errors = Console(stderr=True, highlight=False)
    plan = plan_of(wish)
    errors.print(Text(announcement(plan)), soft_wrap=True)
    load = Load(plan)
    begun, cpu_begun = time.monotonic(), time.process_time()
    code = _OK
    try:
        asyncio.run(_run(load, errors))
    except KeyboardInterrupt:
        code = _STOPPED
    lasted_s, cpu_s = time.monotonic() - begun, time.process_time() - cpu_begun
    outcome = Outcome(plan, load.tally, lasted_s, cpu_s)
    if wish.is_json:
        sys.stdout.buffer.write(as_json(outcome) + b"\n")
    else:
        Console(highlight=False).print(picture(outcome))
    if outcome.warning:
        errors.print(Text(f"midstream: warning: {outcome.warning}", style="yellow"), soft_wrap=True)
    return code or (_FAILED if load.tally.failed else _OK)


async def _run(load: Load, errors: Console) -> None:
    """The load, and its progress where somebody can see it."""
    progress = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        auto_refresh=False,
        disable=not errors.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=1.0)
        running = asyncio.ensure_future(load.run())
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            while not running.done():
                await asyncio.wait([running], timeout=_LOOK_S)
                tally, past_s = load.tally, max(loop.time() - begun, _LOOK_S)
                said = (
                    f"{tally.ok} done, {tally.running} running, {tally.failed} failed, "
                    f"{rate(tally.tokens / past_s)} tokens/s"
                )
                progress.update(
                    task, description=said, completed=load.share_done(past_s), refresh=True
                )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    await running
