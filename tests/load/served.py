"""`midstream serve` that tells on SIGUSR1 what it holds, as a line of its log.

For tests that look for leaks: the product has no such door. It collects garbage first, so what
it tells of is what something still refers to. Where tracemalloc runs (``PYTHONTRACEMALLOC=1``)
it also tells which lines allocated the most.
"""

import asyncio
import gc
import os
import signal
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from types import FrameType

import msgspec

from proxy.__main__ import run
from proxy.serving import serve
from tests.server import Served

_MARK = "HOLDS "
_ANSWER_S = 20.0
_PLACES_MAX = 40
_TIMER = "uvloop.loop.TimerHandle"


class Holds(msgspec.Struct, frozen=True):
    """What the process holds at one moment."""

    tasks: dict[str, int]
    """Tasks that are not done, by the name of their coroutine."""
    timers: int
    objects: dict[str, int]
    """Objects of the product and of its HTTP server, by class."""
    allocated: list[tuple[str, int, int]]
    """Where, bytes, blocks; the most first. Empty without tracemalloc."""
    looked_at: int
    """Objects that a collection looks at, one by one, while everything stands still."""
    garbage: int
    """Objects that nothing referred to, but each other, and that no collection had found yet."""


def look(served: Served) -> Holds:
    """Ask a process that runs this module."""
    told = served.log.read_bytes().count(_MARK.encode())
    served.process.send_signal(signal.SIGUSR1)
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until:
        lines = [line for line in served.log.read_text().split("\n")[:-1] if _MARK in line]
        if len(lines) > told:
            return msgspec.json.decode(lines[-1].partition(_MARK)[2], type=Holds)
        time.sleep(0.02)
    raise AssertionError("the process does not tell what it holds")


def _holds() -> Holds:
    garbage = gc.collect()
    objects = gc.get_objects()
    kinds = Counter(_name(type(each)) for each in objects)
    tasks = Counter(
        str(getattr(each.get_coro(), "__qualname__", "?"))
        for each in objects
        if isinstance(each, asyncio.Task) and not each.done()
    )
    ours = {name: count for name, count in kinds.items() if name.startswith(("proxy.", "uvicorn."))}
    return Holds(
        tasks=dict(tasks),
        timers=kinds[_TIMER],
        objects=ours,
        allocated=_allocated(),
        looked_at=len(objects),
        garbage=garbage,
    )


def _name(kind: type) -> str:
    return f"{kind.__dict__.get('__module__', '')}.{kind.__qualname__}"


def _allocated() -> list[tuple[str, int, int]]:
    if not tracemalloc.is_tracing():
        return []
    found = tracemalloc.take_snapshot().statistics("lineno")[:_PLACES_MAX]
    return [(_place(each.traceback[0]), each.size, each.count) for each in found]


def _place(frame: tracemalloc.Frame) -> str:
    return f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}"


def _tell(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.stderr.write(f"{_MARK}{msgspec.json.encode(_holds()).decode()}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    sys.exit(run(sys.argv[1:], os.environ, serve))
