"""Readers that wait: what each costs a worker in memory, and all together in CPU."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench import machine
from tests.load.crowd import Crowd, allow_readers
from tests.load.served import Holds, look
from tests.reading import ask, session
from tests.server import RECORDINGS, Served, serving

_WARM = 100
"""Readers before the first look, so that what is loaded once is there."""
_COME_BACK_S = 30.0
_QUIET_CPU_S = 0.02
"""In a second. Chosen: several times what a worker without readers takes."""
_KIB = 1024

Say = Callable[[str], None]


class IdleSettings(msgspec.Struct, frozen=True):
    """The load."""

    transport: str = "sse"
    readers: int = 10_000
    streams: int = 100
    steps: int = 5
    """Readers are opened in so many steps, with a look after each."""
    waves: int = 2
    """How often all come and go: what one wave leaves behind, the next one can use."""
    opens_per_s: float = 1000
    heartbeat_s: float = 15
    hold_s: float = 40
    is_traced: bool = False
    """Whether tracemalloc runs in the worker. It triples what a reader costs."""


class IdleFigures(msgspec.Struct, frozen=True):
    """What was seen."""

    kib_per_reader: list[float]
    """At the end of each wave, against the worker before the first one."""
    idle_cpu_ms_per_s: list[float]
    beats_least: int
    """Of any reader, in any wave."""
    beats_due: int
    left_mib: list[float]
    """Resident memory after each wave, beyond that before the first one."""
    left_descriptors: int
    left_tasks: dict[str, int]
    left_timers: int
    looked_at: int
    """Objects that a collection of the worker looked at before the first wave."""
    garbage: int
    """Objects that only a collection could free."""
    open_us: float
    """The worker's CPU for one reader to come, in the first wave."""
    failures: list[str]


class Idle:
    """One run."""

    def __init__(self, settings: IdleSettings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._failures: list[str] = []

    async def measure(self, folder: Path) -> IdleFigures:
        """Start a worker, let readers come, wait and go, `waves` times."""
        settings = self._settings
        allow_readers(settings.readers)
        env = {"PYTHONTRACEMALLOC": "1"} if settings.is_traced else {}
        with serving(folder, _config(settings), env=env, module="tests.load.served") as served:
            async with session() as http:
                streams = [
                    await ask(http, served.url, "quiet/text") for _ in range(settings.streams)
                ]
            crowd = Crowd(served.url, streams, settings.transport)
            await crowd.grow(_WARM, settings.opens_per_s)
            crowd.leave()
            return await self._waves(served, crowd)

    async def _waves(self, served: Served, crowd: Crowd) -> IdleFigures:
        pid = served.process.pid
        await _quiet(pid)
        before, descriptors, rss = look(served), open_descriptors(pid), machine.rss_bytes(pid)
        self._say(f"before: {rss / _KIB / _KIB:.1f} MiB, {descriptors} descriptors")
        kib, cpu, beats, left, open_us = [], [], [], [], 0.0
        for wave in range(self._settings.waves):
            spent = machine.cpu_s(pid)
            await self._come(crowd, pid, rss)
            if wave == 0:
                open_us = (machine.cpu_s(pid) - spent) / self._settings.readers * 1e6
            cpu.append(await self._hold(pid))
            beats.append(min(crowd.beats(), default=0))
            kib.append((machine.rss_bytes(pid) - rss) / _KIB / self._settings.readers)
            if self._settings.is_traced:
                self._tell_places(look(served))
            if crowd.open < self._settings.readers:
                self._failures.append(f"only {crowd.open} readers are still connected")
            crowd.leave()
            await _come_back(pid, descriptors)
            left.append((machine.rss_bytes(pid) - rss) / _KIB / _KIB)
            self._say(
                f"wave {wave + 1}: {kib[-1]:.1f} KiB a reader, {cpu[-1]:.1f} ms CPU a second, "
                f"at least {beats[-1]} heartbeats each, {left[-1]:.1f} MiB left"
            )
        after = look(served)
        self._failures += [f"refused: {answer!r}" for answer in crowd.refused[:3]]
        return IdleFigures(
            kib_per_reader=kib,
            idle_cpu_ms_per_s=cpu,
            beats_least=min(beats),
            beats_due=int(self._settings.hold_s // self._settings.heartbeat_s),
            left_mib=left,
            left_descriptors=open_descriptors(pid) - descriptors,
            left_tasks=surplus(before, after),
            left_timers=after.timers - before.timers,
            looked_at=before.looked_at,
            garbage=after.garbage,
            open_us=open_us,
            failures=self._failures,
        )

    async def _come(self, crowd: Crowd, pid: int, rss: int) -> None:
        settings = self._settings
        for step in range(settings.steps):
            due = settings.readers * (step + 1) // settings.steps
            await crowd.grow(due - len(crowd.readers), settings.opens_per_s)
            each = (machine.rss_bytes(pid) - rss) / _KIB / due
            self._say(f"  {due} readers: {each:.1f} KiB each")

    async def _hold(self, pid: int) -> float:
        """Let all wait for a while; the worker's CPU in ms a second."""
        spent, begun = machine.cpu_s(pid), time.monotonic()
        await asyncio.sleep(self._settings.hold_s)
        return (machine.cpu_s(pid) - spent) / (time.monotonic() - begun) * 1e3

    def _tell_places(self, holds: Holds) -> None:
        for place, size, count in holds.allocated:
            readers = self._settings.readers
            self._say(f"  {size / readers:8.0f} B {count / readers:6.1f} blocks  {place}")


def _config(settings: IdleSettings) -> str:
    return f"""
[server]
connections_max = {settings.readers + 1000}
[store]
url = "memory://"
[streams]
heartbeat_s = {settings.heartbeat_s}
[providers.quiet]
kind = "scripted"
recordings = "{RECORDINGS}"
events_per_s = 100000
fault = "stall"
fault_after = 3
idle_s = 3600
[models."quiet/*"]
targets = ["quiet/*"]
"""


def open_descriptors(pid: int) -> int:
    """How many files and sockets a process holds open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a look must not take milliseconds


def surplus(before: Holds, after: Holds) -> dict[str, int]:
    """Tasks that were not there before."""
    counts = {name: count - before.tasks.get(name, 0) for name, count in after.tasks.items()}
    return {name: count for name, count in counts.items() if count}


async def _quiet(pid: int) -> None:
    """Wait until the process does nothing; not for ever."""
    until, spent = time.monotonic() + _COME_BACK_S, -1.0
    while machine.cpu_s(pid) - spent > _QUIET_CPU_S and time.monotonic() < until:
        spent = machine.cpu_s(pid)
        await asyncio.sleep(1)


async def _come_back(pid: int, descriptors: int) -> None:
    """Wait until the process has let go of its connections; not for ever."""
    until = time.monotonic() + _COME_BACK_S
    while open_descriptors(pid) > descriptors and time.monotonic() < until:
        await asyncio.sleep(0.2)
    await _quiet(pid)
