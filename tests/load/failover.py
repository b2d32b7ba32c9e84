"""Answers whose provider dies in the middle: who completes them, and how long readers wait.

Two mock providers, each in a process of its own. When every answer has begun at the first one, that
is killed; the second one takes all of them up, and has what is asked for later.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import msgspec

from tests.bench.contenders import mock_provider
from tests.bench.job import Plan, Spread, spread_of
from tests.reading import lower, session
from tests.server import serving

_BEGUN_EVENTS = 5
"""Read by each before the provider dies."""
_LONGEST_S = 50.0
_PATH = "/v1/chat/completions"
_FIRST, _SECOND = "first", "second"

Say = Callable[[str], None]


class FailoverSettings(msgspec.Struct, frozen=True):
    """The load."""

    streams: int = 200
    later: int = 50
    """Asked for after the provider has died."""
    events: int = 60
    events_per_s: float = 10
    opens_per_s: float = 100


class FailoverFigures(msgspec.Struct, frozen=True):
    """What was seen."""

    taken_up: int
    """Answers that were completed by the second provider, of those that the first had begun."""
    anew: int
    """Answers of the second provider alone, asked for later."""
    gap: Spread
    """The longest time without an event, of each that was taken up. Between two events of a
    sound provider it is the inverse of their pace."""
    first_event: Spread
    """Of those asked for later, from asking on."""
    failures: list[str]


class _Reader:
    """Reads one answer as a client does."""

    def __init__(self, http: aiohttp.ClientSession, url: str, model: str) -> None:
        self._http = http
        self._url = url
        self._model = model
        self.stream = ""
        self.raw = b""
        self.begun = asyncio.Event()
        self.moments: list[int] = []

    async def read(self) -> None:
        """To the end."""
        said = [{"role": "user", "content": "hi"}]
        body = {"model": self._model, "stream": True, "messages": said}
        self.moments.append(time.monotonic_ns())
        async with self._http.post(self._url + _PATH, json=body) as answer:
            self.stream = lower(answer.headers)["midstream-stream"]
            async for chunk in answer.content.iter_any():
                self.moments.append(time.monotonic_ns())
                self.raw += chunk
                if not self.begun.is_set() and self.raw.count(b"\n\n") >= _BEGUN_EVENTS:
                    self.begun.set()
        self.begun.set()

    @property
    def gap_ns(self) -> int:
        """The longest time between two reads."""
        heard = self.moments[1:]
        return max(later - one for one, later in itertools.pairwise(heard))

    async def broken(self, *providers: str) -> str | None:
        """What is wrong with what was read, which these providers are to have made."""
        url = f"{self._url}/v1/streams/{self.stream}"
        async with self._http.get(url) as answer:
            state = await answer.json()
        asked = [leg["provider"] for leg in state["legs"]]
        if state["ending"] != "completed":
            return f"it ended as {state['ending']}, {state['error']}"
        if asked[-1] != providers[-1] or not set(asked) <= set(providers):
            return f"it was made by {asked}"
        if self.raw.count(b"data: [DONE]") != 1:
            return "its end did not come once"
        return None


class Failover:
    """One run."""

    def __init__(self, settings: FailoverSettings, say: Say) -> None:
        self._settings = settings
        self._say = say

    async def measure(self, folder: Path) -> FailoverFigures:
        """Start everything, kill the first provider, and read all to the end."""
        with ExitStack() as stack:
            ports, pids = zip(*(stack.enter_context(mock_provider()) for _ in "12"), strict=True)
            served = stack.enter_context(serving(folder, _config(*ports)))
            async with session() as http, asyncio.timeout(_LONGEST_S):
                return await self._meet(http, served.url, pids[0])

    async def _meet(self, http: aiohttp.ClientSession, url: str, first: int) -> FailoverFigures:
        settings = self._settings
        model = Plan(settings.events, settings.events_per_s, 200).model
        running = [_Reader(http, url, model) for _ in range(settings.streams)]
        later = [_Reader(http, url, model) for _ in range(settings.later)]
        async with asyncio.TaskGroup() as tasks:
            for reader in running:
                tasks.create_task(reader.read())
                await asyncio.sleep(1 / settings.opens_per_s)
            for reader in running:
                await reader.begun.wait()
            self._say(f"{len(running)} answers have begun; their provider is killed")
            os.kill(first, signal.SIGKILL)
            for reader in later:
                tasks.create_task(reader.read())
                await asyncio.sleep(1 / settings.opens_per_s)
        failures = [await reader.broken(_FIRST, _SECOND) for reader in running]
        anew = [await reader.broken(_FIRST, _SECOND) for reader in later]
        return FailoverFigures(
            taken_up=failures.count(None),
            anew=anew.count(None),
            gap=spread_of([reader.gap_ns for reader in running]),
            first_event=spread_of([reader.moments[1] - reader.moments[0] for reader in later]),
            failures=[failure for failure in [*failures, *anew] if failure is not None],
        )


def _config(*ports: int) -> str:
    parts = [
        (
            f'[models."bench-*"]\ntargets = ["{_FIRST}/*", "{_SECOND}/*"]\n'
            "continue_after_failure = true\n"
        )
    ]
    parts += [
        f'[providers.{name}]\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        for name, port in zip((_FIRST, _SECOND), ports, strict=True)
    ]
    return "".join(parts)
