"""Where a worker's CPU goes while a load runs, by the samples of py-spy (PyPI).

Costs are shares of the samples, scaled to the CPU time per token (or request) of the same load. py-spy sees
threads that run, and needs the right to trace them. It looks without stopping the worker; to see
below Python it has to stop it, which changes what is seen: tokens pile up meanwhile.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.bench.contenders import Contender
from tests.bench.measure import Sample

_SAMPLES_PER_S = 250
"""Chosen: some thousand samples of a window at half a core."""
_SHOWN = 40
_ROOT = f"{Path(__file__).parents[2]}/"


def profile(
    measure: Callable[[Contender], Sample], contender: Contender, lasts_s: float, *, is_native: bool
) -> int:
    """Print where `contender`'s worker spends what `measure` costs; the process's exit code."""
    program = shutil.which("py-spy") or shutil.which("py-spy", path=Path(sys.executable).parent)
    if program is None or not contender.workers:
        print("profiling takes py-spy (pip install py-spy), and a contender with a worker")
        return 2
    with tempfile.TemporaryDirectory(prefix="midstream-profile-") as folder:
        stacks = Path(folder) / "stacks"
        command = [program, "record", "--format", "raw", "--output", str(stacks)]
        command += ["--pid", str(contender.workers[0]), "--rate", str(_SAMPLES_PER_S)]
        command += ["--duration", str(max(1, round(lasts_s)))]
        command += ["--native"] if is_native else ["--nonblocking"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as spy:
            sample = measure(contender)
            spy.wait()
        unit, cost_us = next(
            (key.rpartition("_")[2], value)
            for key, value in sample.figures.items()
            if key.startswith("worker_us_per_")
        )
        _print(stacks.read_text(), unit, cost_us)
    return 1 if sample.failures else 0


def _print(stacks: str, unit: str, cost_us: float) -> None:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.replace(_ROOT, "").split(";")
        own[frames[-1]] += int(samples)
        for function in {_function(frame) for frame in frames}:
            whole[function] += int(samples)
    total = own.total()
    print(f"{cost_us:.1f} us of worker CPU per {unit}, {total} samples")
    for title, counter in (("in the line itself", own), ("in a function and below", whole)):
        print(f"\nus per {unit}, {title}")
        for name, count in counter.most_common(_SHOWN):
            print(f"{cost_us * count / max(1, total):8.2f}  {name}")


def _function(frame: str) -> str:
    """A frame without its line: ``name (file)``."""
    place, _, line = frame.rpartition(":")
    return f"{place})" if line.rstrip(")").isdigit() else frame
