"""Real processes, killed without mercy under load; then every event is accounted for.

``python -m tests.chaos --help`` tells what can be asked. Exit code 1 if anything was lost, doubled,
changed, left without an end, asked twice, or ended wrongly or late.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path
from typing import cast

import uvloop

from tests.chaos.plan import Transport
from tests.chaos.report import tell
from tests.chaos.run import Order, chaos


def main() -> int:
    """The command; its exit code."""
    order = _read_order()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(chaos(order))
    print(tell(order, report))
    return 1 if report.verdict.anomalies else 0


def _read_order() -> Order:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--streams", type=int, default=300, help="that run or are read at a time")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--worker-kills", type=int, default=30)
    parser.add_argument("--store-kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, help="that the kills take (default: 1.2 for each)")
    parser.add_argument("--lease-s", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--transports", nargs="+", default=["sse", "poll", "ws"])
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
        seconds=asked.seconds or 1.2 * asked.worker_kills,
        lease_s=asked.lease_s,
        transports=cast("tuple[Transport, ...]", tuple(asked.transports)),
        store=asked.store,
    )


if __name__ == "__main__":
    sys.exit(main())
