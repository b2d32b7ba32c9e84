"""Workers that are stopped in turn, and a store that stands still: it costs time, and nothing else."""

import asyncio
from pathlib import Path

import uvloop

from tests.chaos.asking import Client
from tests.chaos.record import Anomaly, History, Outage
from tests.chaos.run import Crowd, Order, Stage, account, stage, unsettled
from tests.chaos.verdict import Verdict, judge

FROZEN_S = 10.0
BROKEN_MAX = 12
"""Creates whose line broke before an answer: a connection that was just accepted is cut when its
worker closes. Measured: up to 6 in four stops; whoever asks again is served."""


def crowd_of(order: Order, staged: Stage) -> Crowd:
    """Clients whose readers never cut their own line."""
    return Crowd(
        order,
        lambda key: Client(
            staged.http, staged.workers, order.seed, key, order.transports, is_steady=True
        ),
    )


async def stopped_in_turn(order: Order) -> tuple[Crowd, Verdict, list[int], list[Anomaly]]:
    async with stage(order) as staged:
        crowd = crowd_of(order, staged)
        crowd.open(1.0)
        await asyncio.sleep(2.0)
        codes = []
        for worker in staged.workers:
            codes.append(await worker.stop())
            while not worker.is_serving:
                await asyncio.sleep(0.02)
        await crowd.close()
        left = await unsettled(staged.store)
    return crowd, judge(account(order, crowd.clients, staged)), codes, left


def test_workers_that_are_stopped_in_turn_cost_nobody_an_answer(tmp_path: Path) -> None:
    order = Order(
        seed=7, folder=tmp_path, streams=100, drain_s=20.0, longest_s=5.0, keeps_alive=False
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crowd, verdict, codes, left = runner.run(stopped_in_turn(order))
    assert codes == [0] * order.workers
    assert verdict.anomalies == left == []
    assert set(verdict.endings) == {"completed"}
    refusals = [refusal for client in crowd.clients for refusal in client.refusals]
    answered = [(status, after) for status, after in refusals if status]
    assert all(status == 503 and after is not None for status, after in answered)
    assert len(refusals) - len(answered) <= BROKEN_MAX
    posts = [
        (history.posted, history.last_id)
        for client in crowd.clients
        for watched in client.watched.values()
        for history in watched.histories
        if history.posted is not None
    ]
    assert len(posts) > order.streams
    assert all(posted == last_id for posted, last_id in posts), "whole, on its own line"


async def frozen(order: Order) -> tuple[Verdict, list[History], Outage, list[Anomaly]]:
    async with stage(order) as staged:
        crowd = crowd_of(order, staged)
        crowd.open(0.5)
        await asyncio.sleep(2.0)
        crowd.is_closed = True
        await staged.store.freeze(FROZEN_S)
        await crowd.close()
        left = await unsettled(staged.store)
    run = account(order, crowd.clients, staged)
    histories = [history for watched in run.watched for history in watched.histories]
    return judge(run), histories, staged.store.outages[0], left


def test_a_store_that_stands_still_for_ten_seconds_costs_ten_seconds(tmp_path: Path) -> None:
    order = Order(seed=8, folder=tmp_path, streams=60, heartbeat_s=2.0, longest_s=20.0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        verdict, histories, outage, left = runner.run(frozen(order))
    assert verdict.anomalies == left == []
    assert set(verdict.endings) == {"completed"}
    waited = [
        [leg for at, leg in history.heartbeats if outage.begin < at < outage.end]
        for history in histories
        if any(a < outage.begin and outage.end < b for a, b in history.listening)
    ]
    on_sse = [legs for legs in waited if legs]
    assert {leg for legs in on_sse for leg in legs} >= {f"sse@{n}.1" for n in range(4)} | {"post"}
    assert min(len(legs) for legs in on_sse) >= FROZEN_S / order.heartbeat_s - 2
