"""Traces, while workers come and go, and while the collector is not what it should be."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collector import CLIENT, SERVER, Collector, collecting, of_kind
from tests.reading import ask, read_sse, session
from tests.server import Served, scripted, serving
from tests.serving.processes import workers_of

LEASE_S = 1.0
ALONE = '[store]\nurl = "memory://"\n' + scripted("quick", model="quick")
PAIR = (
    f'[server]\nworkers = 2\n[store]\npath = "data"\n[streams]\nlease_s = {LEASE_S}\n'
    + scripted("quick", model="quick")
    + scripted("slow", model="slow", events_per_s=20)
)
NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
"""Nothing is exported before the end."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


async def answers(url: str, count: int, **headers: str) -> list[str]:
    """Answers on connections of their own, each to its end; their streams."""
    body: dict[str, Any] = {"model": "quick/text", "stream": True, "messages": []}

    async def one() -> str:
        address = f"{url}/v1/chat/completions"
        async with session() as http, http.post(address, json=body, headers=headers) as answer:
            await answer.read()
            return answer.headers["midstream-stream"]

    return [await one() for _ in range(count)]


def producer_of(served: Served, stream: str) -> int:
    """The process that produces `stream`."""
    log = served.log.read_text().splitlines()
    (line,) = (line for line in log if "stream_started" in line and stream in line)
    return workers_of(served)[f"midstream-{line.partition('worker=')[2].split()[0]}"]


async def half_read(url: str) -> str:
    """A stream that will run for a while, and of which there are some events."""
    async with session() as http:
        stream = await ask(http, url, "slow/long")
        await read_sse(http, url, stream, 0, 3)
        return stream


async def ended(url: str, stream: str) -> str:
    """Its ending, when it has one."""
    async with session() as http:
        while True:
            async with http.get(f"{url}/v1/streams/{stream}") as answer:
                state = await answer.json()
            if state["ending"] is not None:
                return str(state["ending"])
            await asyncio.sleep(0.1)


def test_a_resume_on_any_worker_is_linked_to_the_answer_of_another(
    collector: Collector, tmp_path: Path
) -> None:
    async def scenario(url: str) -> str:
        (stream,) = await answers(url, 1)
        for _ in range(12):
            async with session() as http:
                await read_sse(http, url, stream, 2, None)
        return stream

    with serving(tmp_path, PAIR, env=collector.env) as served:
        stream = asyncio.run(scenario(served.url))
        spans = collector.wait(lambda spans: len(of_kind(spans, SERVER, stream)) == 13)

    answer = collector.answer_of(stream)
    resumes = [span for span in of_kind(spans, SERVER, stream) if span.links]
    assert len(resumes) == 12
    assert {span.links for span in resumes} == {((answer.trace, answer.span),)}
    assert len({span.resource["service.instance.id"] for span in resumes}) == 2
    assert len({(span.trace, span.span) for span in spans}) == len(spans), "workers draw alike"


def test_an_answer_whose_worker_was_killed_has_its_span_too(
    collector: Collector, tmp_path: Path
) -> None:
    caller = f"00-{'7' * 32}-{'8' * 16}-01"

    async def scenario(served: Served) -> str:
        async with session() as http:
            called = {"traceparent": caller}
            stream = await ask(http, served.url, "slow/long", headers=called)
            await read_sse(http, served.url, stream, 0, 3)
        os.kill(producer_of(served, stream), signal.SIGKILL)
        assert await ended(served.url, stream) == "interrupted"
        await answers(served.url, 1)
        return stream

    with serving(tmp_path, PAIR, env=collector.env) as served:
        stream = asyncio.run(scenario(served))
        answer = collector.answer_of(stream)

    assert answer.trace == "7" * 32
    assert answer.is_error
    assert answer.attributes["midstream.ending"] == "interrupted"
    assert answer.attributes["error.type"] == "stream_interrupted"
    assert answer.attributes["midstream.events"] > 3
    assert answer.ended_ns - answer.begun_ns > LEASE_S * 1e9
    assert len(of_kind(collector.spans, CLIENT, stream)) == 1


def test_a_worker_that_lost_its_stream_makes_no_second_span(
    collector: Collector, tmp_path: Path
) -> None:
    async def scenario(served: Served) -> str:
        stream = await half_read(served.url)
        frozen = producer_of(served, stream)
        os.kill(frozen, signal.SIGSTOP)
        try:
            await asyncio.to_thread(collector.answer_of, stream)
        finally:
            os.kill(frozen, signal.SIGCONT)
        while f"stream={stream} events=" not in (log := served.log.read_text()):
            await asyncio.sleep(0.1)
        (line,) = (line for line in log.splitlines() if f"stream={stream} events=" in line)
        assert "ending=" not in line
        return stream

    with serving(tmp_path, PAIR, env=collector.env) as served:
        stream = asyncio.run(scenario(served))

    assert len(of_kind(collector.spans, CLIENT, stream)) == 1


@pytest.mark.parametrize("config", [ALONE, PAIR], ids=["alone", "two workers"])
def test_who_is_stopped_sends_its_last_spans_first(
    collector: Collector, tmp_path: Path, config: str
) -> None:
    with serving(tmp_path, config, env={**collector.env, **NEVER}) as served:
        streams = asyncio.run(answers(served.url, 5))
        assert not collector.spans
        assert served.stop() == 0

    for stream in streams:
        assert len(of_kind(collector.spans, CLIENT, stream)) == 1
        assert len(of_kind(collector.spans, SERVER, stream)) == 1


def test_what_a_stop_interrupts_is_told_with_the_last_spans(
    collector: Collector, tmp_path: Path
) -> None:
    config = PAIR.replace("workers = 2\n", "workers = 2\ndrain_s = 0\n")
    with serving(tmp_path, config, env={**collector.env, **NEVER}) as served:
        stream = asyncio.run(half_read(served.url))
        assert served.stop() == 0

    assert collector.answer_of(stream).attributes["midstream.ending"] == "interrupted"


@pytest.mark.parametrize("trouble", ["stalls", "refuses", "is not there"])
def test_a_collector_in_trouble_holds_nobody_up(
    collector: Collector, tmp_path: Path, trouble: str
) -> None:
    env = {**collector.env}
    if trouble == "stalls":
        collector.delay_s = 20
    elif trouble == "refuses":
        collector.status = 503
    else:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"

    with serving(tmp_path, ALONE, env=env) as served:
        begun = time.monotonic()
        asyncio.run(answers(served.url, 20))
        assert time.monotonic() - begun < 5
        begun = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - begun < 8
        log = served.log.read_text()
    assert "internal_error" not in log
    assert log.count("warning collector_lost") == 1
    assert "warning library" not in log


def test_a_collector_that_comes_back_is_told_and_takes_what_comes_then(
    collector: Collector, tmp_path: Path
) -> None:
    collector.status = 400
    with serving(tmp_path, ALONE, env=collector.env) as served:
        asyncio.run(answers(served.url, 1))
        while collector.requests == 0 or "collector_lost" not in served.log.read_text():
            time.sleep(0.02)
        collector.status = 200
        (stream,) = asyncio.run(answers(served.url, 1))
        collector.answer_of(stream)
        while "collector_back" not in (log := served.log.read_text()):
            time.sleep(0.02)

    assert "warning collector_back spans=2" in log


def test_the_sampler_is_the_operators_and_then_the_callers(
    collector: Collector, tmp_path: Path
) -> None:
    unsampled = {"traceparent": f"00-{'7' * 32}-{'8' * 16}-00"}
    with serving(tmp_path, ALONE, env=collector.env) as served:
        asyncio.run(answers(served.url, 3, **unsampled))
    with serving(
        tmp_path, ALONE, env={**collector.env, "OTEL_TRACES_SAMPLER": "always_off"}
    ) as served:
        asyncio.run(answers(served.url, 3))
    assert not collector.spans

    half = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    with serving(tmp_path, ALONE, env={**collector.env, **half}) as served:
        asyncio.run(answers(served.url, 40))
    spans = collector.spans
    assert 0 < len(spans) < 80
    by_trace: dict[str, set[int]] = {}
    for span in spans:
        by_trace.setdefault(span.trace, set()).add(span.kind)
    assert set(map(frozenset, by_trace.values())) == {frozenset({SERVER, CLIENT})}, "all or none"


def test_without_the_propagator_no_caller_is_heard(collector: Collector, tmp_path: Path) -> None:
    called = {"traceparent": f"00-{'7' * 32}-{'8' * 16}-01"}
    with serving(tmp_path, ALONE, env={**collector.env, "OTEL_PROPAGATORS": "none"}) as served:
        asyncio.run(answers(served.url, 1, **called))
    assert len(collector.spans) == 2
    assert "7" * 32 not in {span.trace for span in collector.spans}


def test_headers_and_names_are_those_of_the_variables(collector: Collector, tmp_path: Path) -> None:
    env = {
        **collector.env,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20of-the-collector",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "answers",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=trial",
    }
    with serving(tmp_path, ALONE, env=env) as served:
        asyncio.run(answers(served.url, 1))
        log = served.log
    (headers, *_) = collector.headers
    assert headers["authorization"] == "Bearer of-the-collector"
    assert headers["content-encoding"] == "gzip"
    (resource,) = {tuple(sorted(span.resource.items())) for span in collector.spans}
    assert dict(resource)["service.name"] == "answers"
    assert dict(resource)["deployment.environment.name"] == "trial"
    assert "of-the-collector" not in log.read_text()


@pytest.mark.parametrize("config", [ALONE, PAIR], ids=["alone", "two workers"])
def test_a_variable_that_cannot_be_meant_is_told(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.toml").write_text(config)
    env = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "OTEL_ variables" in done.stderr
    assert "max_queue_size must be a positive integer" in done.stderr


def test_traces_that_cannot_be_sent_are_told_and_keep_nobody_from_serving(
    collector: Collector, tmp_path: Path
) -> None:
    env = {**collector.env, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with serving(tmp_path, ALONE, env=env) as served:
        assert len(asyncio.run(answers(served.url, 1))) == 1
        log = served.log.read_text()

    told = "warning: nothing is traced: OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf"
    assert told in log
    assert not collector.spans


def test_who_wants_no_traces_loads_nothing_that_makes_them() -> None:
    script = (
        "import sys, proxy.__main__, proxy.serving.supervisor, proxy.upstream.openai\n"
        "names = ('proxy.observe.export', 'proxy.observe.spans', 'opentelemetry.sdk.trace', 'opentelemetry.exporter',"
        " 'google.protobuf', 'requests')\n"
        "print(*(set(names) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
