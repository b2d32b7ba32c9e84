"""A bounded run of chaos. `python -m tests.chaos` does the same with any numbers."""

import asyncio
import secrets
from pathlib import Path

import uvloop

from tests.chaos.report import tell
from tests.chaos.run import Order, chaos


def test_whoever_dies_nothing_is_lost_doubled_or_left_without_an_end(tmp_path: Path) -> None:
    order = Order(seed=secrets.randbelow(10**6), folder=tmp_path)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(chaos(order))
    assert not report.verdict.anomalies, tell(order, report)
    assert (report.worker_kills, report.store_kills) == (order.worker_kills, order.store_kills)
    assert report.verdict.endings["completed"] > 50, "not all were cut"
    assert report.verdict.endings["interrupted"] > 50, "and not all were left alone"
