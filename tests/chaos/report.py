"""What came of a run, in words."""

from collections import Counter

from tests.chaos.record import Fault
from tests.chaos.run import Order, Report

_EXAMPLES_MAX = 20


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
        f"this process was late by {report.lag_s:.2f} s at most, {report.stalls} times too late",
        f"all took {report.lasted_s:.0f} s",
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
