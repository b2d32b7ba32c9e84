"""`midstream tail`: follows one stream to its end, whatever happens to the connection.

What surprises: nothing here can stop or change the stream. Who leaves with Ctrl-C has only
stopped looking, and is told how to go on.
"""

import asyncio
import random
import shlex
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec
from rich.console import Console

from proxy.errors import ServerError
from proxy.stream import Event, StreamId
from proxy.terminal.follower import Follower
from proxy.terminal.heard import StreamState, read_state
from proxy.terminal.lines import LINES
from proxy.terminal.screen import Screen
from proxy.terminal.server import Server, open_session, visible
from proxy.wire.deltas import Delta, Kind
from proxy.wire.dialect import Dialect
from proxy.wire.dialects import all_dialects

_STOPPED: Final = 130
_FAILED: Final = 1

OVER: Final = ("auto", *LINES)
"""What `--over` takes."""


class TailWish(msgspec.Struct, frozen=True):
    """What the command was told."""

    server: Server
    stream: StreamId
    after: int
    over: str
    """One of `OVER`."""
    shows_events: bool
    again: tuple[str, ...]
    """The arguments that reach the same server again, to tell how to go on."""


def tail(wish: TailWish) -> int:
    """Follow; the exit code, which is 0 for a stream that completed. Raises `ServerError`."""
    out = sys.stdout
    errors = Console(stderr=True, highlight=False)
    screen = Screen(out.buffer, errors, is_terminal=out.isatty())
    tailing = _Tail(wish, screen)
    try:
        return asyncio.run(tailing.run())
    except KeyboardInterrupt:
        screen.say(f"the stream goes on; to see the rest: {tailing.next_command()}")
        return _STOPPED
    finally:
        screen.close()


class _Tail:
    def __init__(self, wish: TailWish, screen: Screen) -> None:
        self._wish = wish
        self._screen = screen
        self._after = wish.after

    def next_command(self) -> str:
        """What follows the stream from where this has come to."""
        wish = self._wish
        place = ("--after", str(self._after)) if self._after else ()
        events = ("--events",) if wish.shows_events else ()
        return shlex.join(("midstream", "tail", wish.stream, *place, *events, *wish.again))

    async def run(self) -> int:
        wish = self._wish
        lines = LINES if wish.over == "auto" else {wish.over: LINES[wish.over]}
        async with open_session(wish.server) as session:
            state = await read_state(session, wish.server, wish.stream)
            show = self._shower(state)
            follower = Follower(
                session,
                wish.server,
                wish.stream,
                wish.after,
                lines,
                tell=self._screen.status,
                spread=lambda: random.uniform(-1, 1),  # noqa: S311 - a pause, no secret
            )
            ending = ""
            async with aclosing(follower.follow()) as heard:
                async for one in heard:
                    if isinstance(one, Event):
                        show(one)
                        self._after = one.id
                    else:
                        ending = one.ending
            try:
                details = details_of(await read_state(session, wish.server, wish.stream))
            except ServerError:  # it is told without them: the stream may be erased by now
                details = ""
        self._screen.say(f"{ending} after {self._after} events{details}")
        return 0 if ending == "completed" else _FAILED

    def _shower(self, state: StreamState) -> Callable[[Event], None]:
        """What an event is shown with."""
        dialect = all_dialects().get(state.dialect)
        if self._wish.shows_events:
            return self._screen.event
        if dialect is None:
            self._screen.say(f"the dialect {visible(state.dialect)} is not known here; its events:")
            return self._screen.event
        return Words(dialect, self._screen).show


class Words:
    """Shows the words of an answer: its first choice, if there are several."""

    def __init__(self, dialect: Dialect, screen: Screen) -> None:
        self._dialect = dialect
        self._screen = screen
        self._has_told = False
        self._tools: dict[int, str] = {}
        """The name of each that was called."""
        self._tool = -1
        """The one whose call was shown last."""

    def show(self, event: Event) -> None:
        """What `event` adds."""
        for delta in self._dialect.deltas(event.data):
            if delta.choice:
                self._tell_of_choices()
            elif delta.kind is Kind.TEXT:
                self._screen.text(delta.text)
            elif delta.kind is Kind.REASONING:
                self._screen.aside(delta.text, "reasoning")
            else:
                self._show_call(delta)

    def _show_call(self, delta: Delta) -> None:
        """A line for each call. Where several are made at once, each change begins another."""
        label = ""
        if delta.name:
            self._tools[delta.index] = delta.name
            label = f"→ {delta.name} "
        elif delta.index != self._tool:
            label = f"→ {self._tools.get(delta.index, '')} … "
        self._tool = delta.index
        self._screen.aside(label + delta.text, "tool", is_new=bool(label))

    def _tell_of_choices(self) -> None:
        if not self._has_told:
            self._has_told = True
            self._screen.say("there is more than one choice, this is the first; see --events")


def details_of(state: StreamState) -> str:
    """What it used, and why it did not complete."""
    details = ""
    if state.usage is not None:
        about = "about " if state.usage.is_estimate else ""
        details += f"; {about}{state.usage.input_tokens} tokens in, "
        details += f"{state.usage.output_tokens} out"
    if state.error is not None:
        details += visible(f"; {state.error.code}: {state.error.message}")
    return details
