"""What Midstream costs: ``python -m tests.bench``, side by side with direct and with nginx.

One run, one machine, one mock provider; the contenders take turns, and another one begins each
round, so that drift hits all alike. Linux only. Nothing here is collected by pytest, but for
``test_bench_runs``, which looks whether it runs.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from types import FrameType

import msgspec

from tests.bench import contenders, profiling
from tests.bench.contenders import Contender
from tests.bench.measure import Bench, Figures, Kind, Sample, Settings
from tests.bench.report import (
    DIRECT,
    Report,
    command_line,
    conditions,
    summarize,
    table,
)

KINDS: tuple[Kind, ...] = ("paced", "unpaced", "create")


def main() -> int:
    """The process's exit code: 1 if any stream was not whole."""
    signal.signal(signal.SIGTERM, _leave)
    options = _options()
    settings = Settings(
        dialect=options.dialect,
        wants_usage=options.usage,
        events_per_s=options.rate,
        event_bytes=options.bytes,
        seconds=options.seconds,
        warm_s=options.warm_s,
        opens_per_s=options.opens_per_s,
        unpaced_streams=options.unpaced_streams,
        unpaced_events=options.unpaced_events,
        unpaced_s_max=options.unpaced_s_max,
        creates=options.creates,
    )
    names = [name for name in options.contenders if _is_there(name)]
    with _all(names, options, settings.dialect) as (provider_pid, running):
        bench = Bench(settings, provider_pid)
        _warm_up(settings, provider_pid, running)
        if options.profile:
            measure = next(iter(_measurements(bench, options).values()))
            lasts_s = _lasts_s(settings, options)
            return profiling.profile(measure, running[-1], lasts_s, is_native=options.native)
        return _measure(bench, running, settings, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--streams", type=int, nargs="+", default=[100], help="at once; several are several loads")
    add("--rate", type=float, default=50, help="tokens per second of each stream")
    add("--seconds", type=float, default=10, help="length of the measured window")
    add("--warm-s", type=float, default=1, help="all streams run so long before the window")
    add("--bytes", type=int, default=280, help="of one token's event")
    add("--rounds", type=int, default=3)
    add("--dialect", choices=["openai", "anthropic"], default="openai")
    add("--usage", action="store_true", help="clients ask for usage (openai)")
    add("--kinds", choices=KINDS, nargs="+", default=KINDS)
    add("--opens-per-s", type=float, default=100, help="how fast streams are opened")
    add("--unpaced-streams", type=int, default=16)
    add("--unpaced-events", type=int, default=2500, help="of each unpaced stream")
    add("--unpaced-s-max", type=float, default=60, help="after which it is given up")
    add("--creates", type=int, default=300, help="answers of one token")
    add("--contenders", nargs="+", choices=_NAMES, default=_NAMES)
    add("--stores", nargs="+", choices=contenders.STORES, default=["embedded"])
    add("--beside", type=Path, nargs="+", default=[], help="other checkouts, to measure them too")
    add("--json", type=Path, help="write everything there")
    add(
        "--profile",
        action="store_true",
        help="only say where the worker's CPU goes in the first of the loads (py-spy)",
    )
    add("--native", action="store_true", help="profile below Python too")
    return parser.parse_args()


_NAMES = (DIRECT, "nginx", "midstream", "translated")
"""The last is Midstream in front of a provider that does not speak its client's dialect."""
_OTHER = {"openai": "anthropic", "anthropic": "openai"}


def _is_there(name: str) -> bool:
    if name == "nginx" and contenders.nginx_program() is None:
        _say("nginx is not installed: left out")
        return False
    return True


@contextmanager
def _all(
    names: Sequence[str], options: argparse.Namespace, dialect: str
) -> Iterator[tuple[int, list[Contender]]]:
    """The mock provider's process id, and all contenders, running."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="midstream-bench-")))
        port, provider_pid = stack.enter_context(contenders.mock_provider())
        running = []
        if DIRECT in names:
            running.append(Contender(DIRECT, f"http://127.0.0.1:{port}"))
        if "nginx" in names:
            running.append(stack.enter_context(contenders.nginx(folder / "nginx", port)))
        if "midstream" in names:
            for checkout, store in product([*options.beside, None], options.stores):
                place = folder / f"midstream-{len(running)}"
                contender = contenders.midstream(place, port, dialect, store, checkout)
                running.append(stack.enter_context(contender))
        if "translated" in names:
            for store in options.stores:
                place = folder / f"translated-{len(running)}"
                other = _OTHER[dialect]
                contender = contenders.midstream(place, port, other, store, None, "translated")
                running.append(stack.enter_context(contender))
        yield provider_pid, running


def _warm_up(settings: Settings, provider_pid: int, running: Sequence[Contender]) -> None:
    """What is only slow the first time: lazy imports, first connections."""
    _say("warming up")
    short = msgspec.structs.replace(settings, creates=min(50, settings.creates))
    for contender in running:
        Bench(short, provider_pid).create(contender)


def _leave(number: int, frame: FrameType | None) -> None:
    """Told to stop: leave all blocks, and with them end what was started."""
    del frame
    sys.exit(128 + number)


def _measure(
    bench: Bench, running: Sequence[Contender], settings: Settings, options: argparse.Namespace
) -> int:
    before = conditions()
    loads, failures = _rounds(bench, running, options)
    summaries = {name: summarize(rounds) for name, rounds in loads.items()}
    report = Report(command_line(), before, settings, summaries, failures)
    _print(report, options.rounds)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return 1 if failures else 0


# --- rounds -----------------------------------------------------------------------------------

Loads = dict[str, dict[str, list[Figures]]]
Measure = Callable[[Contender], Sample]


def _rounds(
    bench: Bench, running: Sequence[Contender], options: argparse.Namespace
) -> tuple[Loads, list[str]]:
    """Load by load, contender by contender, the figures of each round; and what failed."""
    measurements = _measurements(bench, options)
    loads: Loads = {load: {one.name: [] for one in running} for load in measurements}
    failures = []
    for number in range(options.rounds):
        turn = number % len(running)
        for load, measure in measurements.items():
            for contender in [*running[turn:], *running[:turn]]:
                sample = measure(contender)
                if number > 0:  # only a fresh process shows what a stream takes
                    sample.figures.pop("worker_kib_per_stream", None)
                loads[load][contender.name].append(sample.figures)
                failures += [f"{load}, {contender.name}: {why}" for why in sample.failures]
                _say(_progress(f"{number + 1}/{options.rounds}", load, contender, sample))
    return loads, failures


def _measurements(bench: Bench, options: argparse.Namespace) -> dict[str, Measure]:
    """What is measured in each round, by name."""
    measurements: dict[str, Measure] = {}
    for kind in options.kinds:
        match kind:
            case "paced":
                for streams in options.streams:
                    name = f"paced: {streams} x {options.rate:g} tokens/s, {options.seconds:g} s"
                    measurements[name] = partial(_paced, bench, streams)
            case "unpaced":
                name = f"unpaced: {options.unpaced_streams} x {options.unpaced_events} tokens"
                measurements[name] = bench.unpaced
            case "create":
                name = f"create: {options.creates} answers of one token, {options.opens_per_s:g}/s"
                measurements[name] = bench.create
    return measurements


def _lasts_s(settings: Settings, options: argparse.Namespace) -> float:
    """About how long the first measurement takes."""
    match options.kinds[0]:
        case "paced":
            ramp_s: float = options.streams[0] / settings.opens_per_s
            return ramp_s + settings.warm_s + settings.seconds
        case "create":
            return settings.creates / settings.opens_per_s
        case _:
            return settings.seconds


def _paced(bench: Bench, streams: int, contender: Contender) -> Sample:
    return bench.paced(contender, streams)


# --- what is said -----------------------------------------------------------------------------


def _progress(number: str, load: str, contender: Contender, sample: Sample) -> str:
    shown = ("worker_us_per_token", "worker_us_per_request", "tokens_per_s", "delay_p50_ms")
    told = [f"{key} {sample.figures[key]:.2f}" for key in shown if key in sample.figures]
    told += [f"FAILED {why}" for why in sample.failures[:1]]
    return f"[{number}] {load.partition(':')[0]}, {contender.name}: {', '.join(told)}"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _print(report: Report, rounds: int) -> None:
    print(f"$ {report.command}")
    print("; ".join(f"{name}: {value}" for name, value in report.conditions.items()))
    print(f"{report.settings.dialect}, {report.settings.event_bytes} bytes per event; ", end="")
    print(f"{rounds} round(s): median [least..most]")
    for load, summary in report.loads.items():
        print(table(load, summary))
    for failure in report.failures:
        print(f"FAILED: {failure}")


if __name__ == "__main__":
    sys.exit(main())
