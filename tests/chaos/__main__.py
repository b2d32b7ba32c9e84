"""Real processes, killed without mercy under load; then every event is accounted for.

``python -m tests.chaos --help`` tells what can be asked. Exit code 1 if anything was lost, doubled,
changed, left without an end, asked twice, or ended wrongly or late.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import cast

import uvloop

from tests.chaos.plan import Transport
from tests.chaos.record import Fault
from tests.chaos.run import Order, Report, chaos

_EXAMPLES_MAX = 20


def main() -> int:
    """The command; its exit code."""
    order = _read_order()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(chaos(order))
    print(tell(order, report))
    return 1 if report.verdict.anomalies else 0


def tell(order: Order, report: Report) -> str:
    """What came of it, and the command that repeats its plan."""
    verdict = report.verdict
    found = Counter(anomaly.fault for anomaly in verdict.anomalies)
    endings = ", ".join(f"{count} {ending}" for ending, count in verdict.endings.most_common())
    lines = [
        f"kills: {report.worker_kills} of workers, {report.store_kills} of the store",
        f"streams: {report.streams} ({endings})",
        f"asks: {report.asks}, creates: {report.creates}, events read: {verdict.events}",
        ", ".join(f"{fault.value}: {found[fault]}" for fault in Fault),
        *_tell_waits(report),
        f"a key stayed with a stream that had ended early for {report.held_s:.1f} s at most",
        f"this process was late by {report.lag_s:.2f} s at most; all took {report.lasted_s:.0f} s",
    ]
    lines += [f"  {a.fault.value}: {a.stream}: {a.what}" for a in verdict.anomalies[:_EXAMPLES_MAX]]
    return "\n".join([*lines, f"the same plan again: {_command(order)}"])


def _tell_waits(report: Report) -> list[str]:
    waits = report.verdict.waits
    if not waits:
        return []
    lines = [f"from the kill of a worker to the end, {len(waits)} readers, in s (p50 p99 max):"]
    for name, told in {
        "whole_s": "by the clock",
        "reachable_s": "without the store's absence",
        "overdue_s": "in which somebody could have written it",
    }.items():
        values = sorted(getattr(wait, name) for wait in waits)
        p50, p99 = values[len(values) // 2], values[len(values) * 99 // 100]
        lines.append(f"  {told}: {p50:.2f} {p99:.2f} {values[-1]:.2f}")
    return lines


def _command(order: Order) -> str:
    names = ("streams", "workers", "worker_kills", "store_kills", "seconds", "lease_s", "seed")
    options = [f"--{name.replace('_', '-')} {getattr(order, name)}" for name in names]
    options.append(f"--transports {' '.join(order.transports)}")
    if order.store:
        options.append(f"--store {order.store}")
    return " ".join(["python -m tests.chaos", *options])


def _read_order() -> Order:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--streams", type=int, default=300, help="that run or are read at a time")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--worker-kills", type=int, default=30)
    parser.add_argument("--store-kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, help="that the kills take (default: 1.5 for each)")
    parser.add_argument("--lease-s", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--transports", nargs="+", default=["sse", "poll"])
    parser.add_argument("--store", choices=["redis", "valkey"], default="")
    parser.add_argument("--folder", type=Path, help="for logs and data (default: a new one)")
    asked = parser.parse_args()
    return Order(
        seed=asked.seed,
        folder=asked.folder or Path(tempfile.mkdtemp(prefix="chaos-")),
        streams=asked.streams,
        workers=asked.workers,
        worker_kills=asked.worker_kills,
        store_kills=asked.store_kills,
        seconds=asked.seconds or 1.5 * asked.worker_kills,
        lease_s=asked.lease_s,
        transports=cast("tuple[Transport, ...]", tuple(asked.transports)),
        store=asked.store,
    )


if __name__ == "__main__":
    sys.exit(main())
