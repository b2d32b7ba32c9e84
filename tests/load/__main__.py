"""Many readers, and long runs: ``python -m tests.load idle``, ``stalled``, ``churn``; ``failover``.

Each starts a server of its own, ends by itself, prints what it saw, and fails if what it saw
breaks a promise. Figures are printed, not judged: they are those of the machine. Linux only.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path

import msgspec
import uvloop

from tests.load.churn import Churn, ChurnFigures, ChurnSettings
from tests.load.crowd import TooFewDescriptors
from tests.load.failover import Failover, FailoverFigures, FailoverSettings
from tests.load.idle import Idle, IdleFigures, IdleSettings
from tests.load.stalled import Stalled, StalledFigures, StalledSettings

Figures = IdleFigures | StalledFigures | ChurnFigures | FailoverFigures


def main() -> int:
    """The process's exit code: 1 if something was broken."""
    options = _options()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="midstream-load-") as folder,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            figures = runner.run(_measure(options, Path(folder)))
    except TooFewDescriptors as error:
        _say(f"{error}.")
        return 1
    for name, value in msgspec.to_builtins(figures).items():
        print(f"{name:24} {value}")
    broken = broken_promises(figures)
    for promise in broken:
        print(f"BROKEN: {promise}")
    return 1 if broken else 0


def broken_promises(figures: Figures) -> list[str]:
    """What must hold on any machine, and did not."""
    broken = [f"a client saw: {failure}" for failure in figures.failures]
    if isinstance(figures, StalledFigures | FailoverFigures):
        return broken
    if figures.left_tasks:
        broken.append(f"tasks are left: {figures.left_tasks}")
    if figures.left_descriptors > 0:
        broken.append(f"{figures.left_descriptors} descriptors are left")
    if figures.left_timers > 0:
        broken.append(f"{figures.left_timers} timers are left")
    if isinstance(figures, IdleFigures):
        if figures.beats_least < figures.beats_due:
            due = f"{figures.beats_due} were due"
            broken.append(f"a reader had {figures.beats_least} heartbeats, and {due}")
        return broken
    if figures.left_objects:
        broken.append(f"objects are left: {figures.left_objects}")
    if figures.eternal_keys:
        broken.append(f"keys that never expire: {figures.eternal_keys[:5]}")
    if figures.running:
        broken.append(f"{figures.running} streams count as running")
    return broken


def _measure(options: argparse.Namespace, folder: Path) -> Coroutine[object, object, Figures]:
    given = {name: value for name, value in vars(options).items() if value is not None}
    match given.pop("load"):
        case "idle":
            return Idle(msgspec.convert(given, IdleSettings), _say).measure(folder)
        case "stalled":
            return Stalled(msgspec.convert(given, StalledSettings), _say).measure(folder)
        case "failover":
            return Failover(msgspec.convert(given, FailoverSettings), _say).measure(folder)
        case _:
            return Churn(msgspec.convert(given, ChurnSettings), _say).measure(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    loads = parser.add_subparsers(dest="load", required=True)

    add = loads.add_parser("idle", help="readers that wait").add_argument
    add("--transport", choices=["sse", "ws"])
    add("--readers", type=int, help="at once; 10,000 unless given")
    add("--streams", type=int, help="that they read, in turn")
    add("--steps", type=int, help="in which they are opened")
    add("--waves", type=int, help="how often all come and go")
    add("--heartbeat-s", type=float)
    add("--hold-s", type=float, help="how long all stay")
    add("--traced", dest="is_traced", action="store_true", default=None, help="where the bytes go")

    add = loads.add_parser("stalled", help="readers that stop reading").add_argument
    add("--readers", type=int, help="that stop; 1,000 unless given")
    add("--streams", type=int, help="each with one reader that reads on")
    add("--reader-stall-s", type=float)
    add("--span-s", type=float, help="without them, and again with them")

    add = loads.add_parser("churn", help="clients that come and go").add_argument
    add("--minutes", type=float, help="10 unless given")
    add("--lives", type=int, help="at once in each round")
    add("--seed", type=int)

    add = loads.add_parser("failover", help="a provider that dies in the middle").add_argument
    add("--streams", type=int, help="that it is answering; 200 unless given")
    add("--later", type=int, help="asked for when it is dead")
    add("--events", type=int, help="of each answer")
    add("--events-per-s", type=float)
    return parser.parse_args()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
