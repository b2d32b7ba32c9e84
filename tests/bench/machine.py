"""What Linux knows of processes: their CPU time, memory, children. Reads, and changes nothing.

What surprises: CPU time is no constant of a piece of work. Where two processors are two threads of
one core, or the host has other guests, the same work takes up to twice the CPU time while the
neighbour is busy. The yardstick says how it is at the moment.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_YARDSTICK_ROUNDS = 10_000
"""Chosen: some 2 ms, so that looking costs little and disturbs nobody."""
_YARDSTICK_EVERY_S = 0.1


def cpu_s(pid: int) -> float:
    """User and system time of all threads that the process has, and had. Raises OSError."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) makes of a pid


def kernel_s(pid: int) -> float:
    """The part of `cpu_s` that was spent in the kernel, as far as the clock's ticks tell."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[12]) / _TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Resident memory."""
    return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES


def family(pid: int) -> dict[int, str]:
    """The process and all its descendants: pid to the name of its program."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # gone meanwhile
            name, _, rest = stat.partition("(")[2].rpartition(")")
            parents[int(folder.name)] = (int(rest.split()[1]), name)
    found = {pid: parents[pid][1]}
    while fresh := {
        child: name
        for child, (parent, name) in parents.items()
        if parent in found and child not in found
    }:
        found |= fresh
    return found


def busy_s() -> float:
    """CPU time that the whole machine has spent since it was started, on anything."""
    fields = [int(field) for field in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def yardstick_ms(is_over: Callable[[], bool]) -> float:
    """The CPU time of a fixed piece of Python, again and again until `is_over`; the median."""
    samples = []
    while not is_over():
        samples.append(_fixed_work_ms())
        time.sleep(_YARDSTICK_EVERY_S)
    return statistics.median(samples or [_fixed_work_ms()])


def _fixed_work_ms() -> float:
    begun_s = time.thread_time()
    kept: dict[int, tuple[int, str]] = {}
    for number in range(_YARDSTICK_ROUNDS):
        kept[number & 1023] = (number, str(number))
    return (time.thread_time() - begun_s) * 1e3
