"""That the bench measures what it says; how fast anything is stands in no test."""

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.bench import admission
from tests.bench.contenders import nginx_program, project_root
from tests.bench.job import Plan, read_model
from tests.bench.load import Notes, Stream
from tests.bench.report import Report

_TIMES = {
    *("first_token_p50_ms", "first_token_p99_ms", "delay_p50_ms", "delay_p99_ms"),
    *("jitter_p50_ms", "jitter_p99_ms"),
}
_ADDED = {
    *("added_first_token_p50_ms", "added_first_token_p99_ms"),
    *("added_delay_p50_ms", "added_delay_p99_ms"),
}
_PACED = _TIMES | {"tokens_per_s", "provider_cores", "load_cores", "others_cores", "yardstick_ms"}
_FIRST = {"yardstick_ms", "first_token_p50_ms", "first_token_p99_ms"}
_ADDED_FIRST = {"added_first_token_p50_ms", "added_first_token_p99_ms"}
_TOKEN = {"worker_us_per_token", "kernel_us_per_token"}
_REQUEST = {"worker_us_per_request", "kernel_us_per_request"}
_WORKER = _TOKEN | {"worker_kib_per_stream", "worker_cores"}

_FIGURES = {
    ("paced", "direct"): _PACED,
    ("paced", "nginx"): _PACED | _ADDED | _WORKER,
    ("paced", "midstream"): _PACED | _ADDED | _WORKER | {"store_us_per_token"},
    ("unpaced", "direct"): {"tokens_per_s", "yardstick_ms"},
    ("unpaced", "nginx"): {"tokens_per_s", "yardstick_ms"} | _TOKEN,
    ("unpaced", "midstream"): {"tokens_per_s", "yardstick_ms", "store_us_per_token"} | _TOKEN,
    ("create", "direct"): _FIRST,
    ("create", "nginx"): _FIRST | _ADDED_FIRST | _REQUEST,
    ("create", "midstream"): _FIRST | _ADDED_FIRST | _REQUEST | {"store_us_per_request"},
}


def _bench(file: Path, settings: str) -> tuple[Report, str]:
    """The report of a tiny run, and what it printed."""
    tiny = "--streams 3 --seconds 0.4 --warm-s 0.1 --rounds 1 --creates 3"
    tiny += f" --unpaced-streams 2 --unpaced-events 80 --json {file}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *tiny.split(), *settings.split()],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stderr + done.stdout
    return msgspec.json.decode(file.read_bytes(), type=Report), done.stdout


def test_a_tiny_bench_gives_every_figure(tmp_path: Path) -> None:
    report, printed = _bench(tmp_path / "report.json", "")

    assert report.failures == []
    found = {
        (load.partition(":")[0], contender): set(figures)
        for load, contenders in report.loads.items()
        for contender, figures in contenders.items()
    }
    expected = dict(_FIGURES)
    expected |= {(load, "translated"): _FIGURES[load, "midstream"] for load, _ in _FIGURES}
    has_nginx = nginx_program() is not None
    assert found == {
        key: figures for key, figures in expected.items() if has_nginx or key[1] != "nginx"
    }
    assert "worker CPU, us per token" in printed


def test_the_bench_speaks_the_other_dialect_too(tmp_path: Path) -> None:
    report, _ = _bench(
        tmp_path / "report.json", "--dialect anthropic --kinds unpaced --contenders midstream"
    )

    assert report.failures == []
    assert [set(summary) for summary in report.loads.values()] == [{"midstream"}]


def test_an_admission_costs_one_round_trip_under_however_many_limits() -> None:
    figures = asyncio.run(admission.measure(20, 1))

    assert set(figures) == {"no limit", "six limits"}
    for (round_,) in figures.values():
        assert round_["round_trips_per_admission"] == 1
        assert round_["worker_us_per_admission"] > 0


def test_a_plan_survives_its_way_through_a_models_name() -> None:
    plan = Plan(events=300, events_per_s=12.5, event_bytes=280)

    assert read_model(plan.model) == plan
    assert read_model("gpt-5") is None


@pytest.mark.parametrize(
    ("sequences", "ends", "failure"),
    [
        ([0, 1, 2], 1, None),
        ([0, 2], 1, "an event out of its place"),
        ([0, 1, 1, 2], 1, "an event out of its place"),
        ([1, 0, 2], 1, "an event out of its place"),
        ([0, 1], 1, "2 of 3 events, 1 ends"),
        ([0, 1, 2], 0, "3 of 3 events, 0 ends"),
        ([0, 1, 2], 2, "3 of 3 events, 2 ends"),
    ],
)
def test_the_load_generator_notices_what_is_lost_repeated_or_moved(
    sequences: list[int], ends: int, failure: str | None
) -> None:
    async def hear() -> str | None:
        stream = Stream(b"", 3, b"data: [DONE]", Notes((0, 1)))
        events = [b'data: {"content":"@%07d:%018d:"}\n\n' % (number, 1) for number in sequences]
        body = b"".join(events) + b"data: [DONE]\n\n" * ends
        stream.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 7):
            stream.data_received(body[at : at + 7])
        return stream.failure()

    assert asyncio.run(hear()) == failure
