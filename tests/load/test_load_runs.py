"""Small loads, with everything held that holds on any machine."""

import asyncio
from pathlib import Path

import uvloop

from tests.load.__main__ import broken_promises
from tests.load.churn import Churn, ChurnSettings
from tests.load.failover import Failover, FailoverSettings
from tests.load.idle import Idle, IdleSettings
from tests.load.stalled import Stalled, StalledSettings


def _silent(sentence: str) -> None:
    del sentence


def test_idle_readers_have_their_heartbeats_and_leave_nothing(tmp_path: Path) -> None:
    settings = IdleSettings(
        readers=500, streams=10, steps=1, waves=2, opens_per_s=400, heartbeat_s=1, hold_s=2.2
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(Idle(settings, _silent).measure(tmp_path))

    assert broken_promises(figures) == []
    assert figures.kib_per_reader[0] < 24, "a reader costs half as much again as it did"
    assert figures.looked_at < 20_000, "what was loaded at the start is looked at again and again"
    assert figures.garbage < 500, "a request refers to itself, and waits for a collection"


def test_stalled_readers_hold_little_and_go_on_where_they_were(tmp_path: Path) -> None:
    settings = StalledSettings(
        readers=100, streams=6, reader_stall_s=1, span_s=2.5, small_per_s=400, large_per_s=20
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(Stalled(settings, _silent).measure(tmp_path))

    assert broken_promises(figures) == []
    assert figures.resumed == settings.readers
    assert figures.kib_per_stalled < 64 + 50, "the rest is the streams' own growth, by chance"


def test_clients_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    settings = ChurnSettings(minutes=0, lives=40, warm_rounds=1, rounds_min=2)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(Churn(settings, _silent).measure(tmp_path))

    assert broken_promises(figures) == []
    assert {"meta", "claim"} <= figures.keys.keys()


def test_answers_of_a_provider_that_is_killed_are_completed_by_the_next(tmp_path: Path) -> None:
    settings = FailoverSettings(streams=40, later=10, events=40)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(Failover(settings, _silent).measure(tmp_path))

    assert broken_promises(figures) == []
    assert (figures.taken_up, figures.anew) == (40, 10)
