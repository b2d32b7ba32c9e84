"""What the rounds gave, in figures and as a table: medians with their smallest and largest.

What a contender adds is taken against direct of the same round, so that what disturbed a round
disturbs both sides of the difference.
"""

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench.measure import Figures, Settings

DIRECT = "direct"
_ADDED = ("first_token_p50_ms", "first_token_p99_ms", "delay_p50_ms", "delay_p99_ms")

_LABELS = {
    "worker_us_per_token": "worker CPU, us per token",
    "kernel_us_per_token": "  of it in the kernel",
    "store_us_per_token": "store CPU, us per token",
    "worker_us_per_request": "worker CPU, us per request",
    "kernel_us_per_request": "  of it in the kernel",
    "store_us_per_request": "store CPU, us per request",
    "worker_us_per_admission": "worker CPU, us per admission",
    "store_us_per_admission": "store CPU, us per admission",
    "round_trips_per_admission": "round trips per admission",
    "tokens_per_s": "tokens per second",
    "first_token_p50_ms": "first token, p50 ms",
    "first_token_p99_ms": "first token, p99 ms",
    "delay_p50_ms": "delay of a token, p50 ms",
    "delay_p99_ms": "delay of a token, p99 ms",
    "added_first_token_p50_ms": "  added to first token, p50 ms",
    "added_first_token_p99_ms": "  added to first token, p99 ms",
    "added_delay_p50_ms": "  added to delay, p50 ms",
    "added_delay_p99_ms": "  added to delay, p99 ms",
    "jitter_p50_ms": "jitter between tokens, p50 ms",
    "jitter_p99_ms": "jitter between tokens, p99 ms",
    "worker_kib_per_stream": "worker memory, KiB per stream",
    "worker_cores": "cores: worker",
    "provider_cores": "cores: mock provider",
    "load_cores": "cores: load generator",
    "others_cores": "cores: who takes no part",
    "yardstick_ms": "yardstick: fixed work, CPU ms",
}
_COLUMN_CHARS = 26


class Figure(msgspec.Struct, frozen=True):
    """One figure over all rounds."""

    median: float
    least: float
    most: float
    values: list[float]


class Report(msgspec.Struct, frozen=True):
    """Everything: under which conditions, and load by load, contender by contender."""

    command: str
    conditions: dict[str, str]
    settings: Settings
    loads: dict[str, dict[str, dict[str, Figure]]]
    failures: list[str]


def conditions() -> dict[str, str]:
    """What else the figures depend on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": f"{os.cpu_count()} x {model}",
        "load average before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def command_line() -> str:
    """How this run was started."""
    return shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]])


def with_added(rounds: dict[str, list[Figures]]) -> dict[str, list[Figures]]:
    """The same, with what each contender adds to direct in each round."""
    if DIRECT not in rounds:
        return rounds
    return {
        name: samples
        if name == DIRECT
        else [
            figures
            | {
                f"added_{key}": figures[key] - base[key]
                for key in _ADDED
                if key in figures and key in base
            }
            for figures, base in zip(samples, rounds[DIRECT], strict=True)
        ]
        for name, samples in rounds.items()
    }


def summarize(rounds: dict[str, list[Figures]]) -> dict[str, dict[str, Figure]]:
    """Contender by contender, each figure that it has."""
    return {
        name: {
            key: _figure([sample[key] for sample in samples if key in sample])
            for key in _LABELS
            if any(key in sample for sample in samples)
        }
        for name, samples in with_added(rounds).items()
    }


def _figure(values: Sequence[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values), list(values))


def table(title: str, summary: dict[str, dict[str, Figure]]) -> str:
    """One load: a row for each figure, a column for each contender."""
    names = list(summary)
    lines = ["", title, "-" * len(title)]
    label_chars = max(len(label) for label in _LABELS.values()) + 2
    lines.append(" " * label_chars + "".join(f"{name:>{_COLUMN_CHARS}}" for name in names))
    for key, label in _LABELS.items():
        cells = [summary[name].get(key) for name in names]
        if any(cell is not None for cell in cells):
            row = "".join(f"{_cell(cell):>{_COLUMN_CHARS}}" for cell in cells)
            lines.append(f"{label:<{label_chars}}{row}")
    return "\n".join(lines)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if len(figure.values) == 1:
        return _number(figure.median)
    return f"{_number(figure.median)} [{_number(figure.least)}..{_number(figure.most)}]"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
