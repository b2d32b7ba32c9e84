"""The numbers that are told: all of the table, under bounded labels, as Prometheus reads them."""

import json
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

import proxy
from proxy.errors import ConfigInvalid, ProviderRefused
from proxy.observe import Names, Observer, Share
from proxy.observe.counts import Counts
from proxy.observe.exposition import Sample, expose
from proxy.observe.metrics import GAPS, METRICS, Kind
from proxy.policy.routes import Route, Routes, Target
from proxy.stream import Birth, Ending, StreamId, Usage
from tests.observe.telling import untraced
from tests.scrape import Scraped, read_metrics

STREAM = StreamId("st_00000000000000000000000000")
USAGE = Usage(input_tokens=50, output_tokens=7, cached_input_tokens=20, reasoning_tokens=3)
GUESS = Usage(input_tokens=5, output_tokens=2, is_estimate=True)
QUOTAS = ("midstream_quota_used", "midstream_quota_limit")
"""What no process counts: the store is asked."""
DASHBOARD = Path(proxy.__file__).parent / "web" / "grafana.json"


def birth(model: str = "gpt-5", owner: str = "ann", provider: str = "openai") -> Birth:
    return Birth(
        id=STREAM,
        owner=owner,
        dialect="openai.chat",
        model=model,
        provider=provider,
        created_at=1.0,
        retention_s=60,
    )


def counting() -> Observer:
    routes = [
        Route("gpt-5", (Target("openai", "gpt-5"),)),
        Route("any/*", (Target("openai", "*"),)),
    ]
    logger = logging.getLogger("midstream.test")
    logger.setLevel(logging.CRITICAL)
    observer = Observer(logger)
    observer.counts.know(
        Names(
            route_of=Routes(routes).name_of,
            owners={"ann"},
            providers={"openai"},
            dialects={"/v1/chat/completions": "openai.chat"},
            version="1.2.3",
            targets={"openai/gpt-5"},
        )
    )
    return observer


def told(observer: Observer) -> Scraped:
    used: dict[str, Sequence[Sample]] = {
        name: [(("key:ann", "usd_per_day"), (2_500_000,))] for name in QUOTAS
    }
    rests = {"midstream_target_resting": [(("openai", "gpt-5"), (1,))]}
    return read_metrics(observer.counts.exposition({**used, **rests}).decode())


def tell_everything(observer: Observer) -> None:
    counts = observer.counts
    observer.worker_died(1, 2, -9, 3.0)
    observer.config_accepted()
    observer.config_refused(ConfigInvalid(("no",)))
    observer.served(
        method="POST", route="/v1/chat/completions", status=429, ms=1.0, request="r", stream=None
    )
    observer.create_answered("openai.chat", 200)
    pace = observer.stream_started(birth())
    pace.heard(pace.now())
    pace.heard(pace.now())
    pace.accepted(pace.now())
    pace.spoke()
    observer.stream_ended(
        birth(),
        Ending.COMPLETED,
        "",
        12,
        1.5,
        USAGE,
        provider=birth().provider,
        bytes_kept=4000,
        course=untraced,
    )
    observer.sweep_ended(birth(), "openai", Ending.INTERRUPTED, GUESS, 0.5, 12)
    observer.stream_unread(birth(), "openai", USAGE, 1)
    observer.stream_unread(birth(), "openai", USAGE, 0.6)
    observer.charged(birth(), [Share("openai", USAGE, 1234), Share("openai", GUESS, 0)])
    observer.refused("tokens_per_minute", "key:ann")
    observer.reader_came("sse", 3)
    observer.reader_left("sse")
    observer.delivered(counts.clock())
    observer.appended(3, counts.clock())
    observer.provider_failed(STREAM, "openai", ProviderRefused("openai", 429, message="", body=b""))
    observer.resumed_upstream(birth(), "openai", 0.2)
    observer.took_over(birth(), "resumed", 12, 1)
    observer.not_taken_over(birth(), "its provider does not keep it")
    observer.asked_again(birth(), "openai/gpt-5", "anthropic/claude", "next", 0.5)
    observer.target_rests("openai/gpt-5", "provider_error 503", 10.0)
    observer.target_probed("openai/gpt-5", "failed")
    observer.target_probed("openai/made-up", "failed")
    observer.target_back("openai/gpt-5")
    observer.store_lost("timeout")
    observer.store_back(2.5)
    observer.internal_error(RuntimeError())


def test_every_metric_of_the_table_is_told_with_exactly_its_labels() -> None:
    observer = counting()

    tell_everything(observer)

    scraped = told(observer)
    assert scraped.kinds == {metric.name: metric.kind for metric in METRICS}
    for metric in METRICS:
        name = f"{metric.name}_count" if metric.kind is Kind.HISTOGRAM else metric.name
        assert scraped.series(name), f"nobody counts {name}"
        for labels in scraped.series(name):
            assert {label for label, _ in labels} == set(metric.labels)
    assert scraped.total("midstream_metrics_overflows_total") == 0


def test_names_say_what_they_count_and_in_which_unit() -> None:
    for metric in METRICS:
        assert metric.name.startswith("midstream_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        is_fraction = metric.name.endswith("_seconds") or metric.name in QUOTAS
        assert (metric.scale == 1_000_000) == is_fraction
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert metric.meaning.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_facts_are_counted_exactly() -> None:
    observer = counting()

    tell_everything(observer)
    tell_everything(observer)

    scraped = told(observer)
    route = {"provider": "openai", "model": "gpt-5"}
    assert scraped.total("midstream_tokens_total", type="input", **route) == 110
    assert scraped.total("midstream_tokens_total", type="cached_input", **route) == 40
    assert scraped.total("midstream_tokens_total", type="output", **route) == 18
    assert scraped.total("midstream_guessed_tokens_total", type="input", **route) == 10
    assert scraped.total("midstream_guessed_tokens_total", type="output", **route) == 4
    assert scraped.total("midstream_owner_tokens_total", owner="ann", type="reasoning") == 6
    assert scraped.total("midstream_streams_ended_total", ending="completed") == 2
    assert scraped.total("midstream_streams_running") == 0
    assert scraped.total("midstream_stream_bytes_sum") == 8000
    assert scraped.total("midstream_stream_duration_seconds_sum") == 4.0
    assert scraped.total("midstream_creates_total", transport="http", status="4xx") == 2
    assert scraped.total("midstream_creates_total", transport="websocket", status="2xx") == 2
    assert scraped.total("midstream_wasted_tokens_total", **route) == 22
    assert scraped.total("midstream_wasted_streams_total", **route) == 2
    assert scraped.total("midstream_cost_microdollars_total", **route) == 2468
    refused = {"pool": "key:ann", "kind": "tokens_per_minute"}
    assert scraped.total("midstream_quota_refusals_total", **refused) == 2
    failed = {"provider": "openai", "code": "provider_error", "status": "429"}
    assert scraped.total("midstream_provider_errors_total", **failed) == 2
    assert scraped.total("midstream_target_rests_total", **route) == 2
    assert scraped.total("midstream_target_probes_total", **route, outcome="failed") == 2
    assert scraped.total("midstream_target_probes_total", model="other") == 2
    assert scraped.total("midstream_store_appends_total") == 6
    assert scraped.total("midstream_store_away_milliseconds_total") == 5000


def test_a_stream_that_went_to_another_worker_has_not_ended_here() -> None:
    observer = counting()

    observer.stream_started(birth())
    observer.stream_ended(
        birth(), None, "", 3, 1.0, None, provider=birth().provider, bytes_kept=9, course=untraced
    )

    scraped = told(observer)
    assert scraped.total("midstream_streams_running") == 0
    assert scraped.total("midstream_streams_ended_total") == 0
    assert scraped.total("midstream_stream_events_count") == 0


def test_a_stream_of_a_provider_that_the_config_lost_meanwhile_still_leaves() -> None:
    observer = counting()

    observer.stream_started(birth())
    observer.counts.know(Names(lambda _: None, (), (), {}, "1.2.3"))
    observer.stream_ended(
        birth(),
        Ending.COMPLETED,
        "",
        3,
        1.0,
        None,
        provider=birth().provider,
        bytes_kept=9,
        course=untraced,
    )

    running = told(observer).samples
    assert [n for (name, _), n in running.items() if name == "midstream_streams_running"] == [0]


def test_a_thousand_hostile_names_make_one_series() -> None:
    observer = counting()
    for number in range(1000):
        hostile = f'any/{number}"}} 1\nx{{y="'
        asked = birth(model=hostile, owner=f"owner {number}", provider=f"provider {number}")
        observer.stream_started(asked)
        observer.stream_ended(
            asked,
            Ending.COMPLETED,
            "",
            1,
            1.0,
            USAGE,
            provider=asked.provider,
            bytes_kept=9,
            course=untraced,
        )
        observer.served(method=f"M{number}", route="", status=404, ms=1.0, request="r", stream=None)

    scraped = told(observer)
    ended = scraped.series("midstream_streams_ended_total")
    assert [dict(labels)["model"] for labels in ended] == ["any/*"]
    assert scraped.total("midstream_streams_ended_total", provider="other") == 1000
    assert scraped.total("midstream_owner_streams_total", owner="other") == 1000
    assert len(scraped.series("midstream_requests_total")) == 1
    assert "any/1" not in observer.counts.exposition({}).decode()


def test_a_config_of_very_many_names_fills_no_sheet() -> None:
    counts = Counts()
    everything = [f"a-rather-long-name-{number:03}" for number in range(500)]
    known = set(everything)
    counts.know(Names(lambda model: model, known, known, {}, "1"))
    for name in everything:
        asked = birth(model=name, owner=name, provider=everything[0])
        counts.began(asked)
        counts.wasted(asked, everything[0], USAGE, 1)
        for dialect in ("openai.chat", "anthropic.messages"):
            for ending in Ending:
                spoken = msgspec.structs.replace(asked, dialect=dialect)
                counts.ended(spoken, everything[0], ending, 1.0)
                counts.used(spoken, Share(everything[0], USAGE, 1))

    scraped = read_metrics(counts.exposition({}).decode())
    assert scraped.total("midstream_metrics_overflows_total") == 0
    assert len(scraped.series("midstream_streams_started_total")) == 101
    assert scraped.total("midstream_streams_started_total") == 500
    assert scraped.total("midstream_streams_started_total", model="other") == 400


def test_series_that_find_no_room_are_counted_as_missing() -> None:
    counts = Counts()
    for number in range(100_000):
        counts.add("midstream_requests_total", "GET", f"/{number}", "200")

    scraped = read_metrics(counts.exposition({}).decode())
    told_of = scraped.total("midstream_requests_total")
    assert 1000 < told_of < 100_000
    assert told_of + scraped.total("midstream_metrics_overflows_total") == 100_000


def test_label_values_cannot_break_out_of_their_quotes() -> None:
    values = ('a"b\\c\nd{e="f"}',)

    scraped = read_metrics(expose({"midstream_streams_running": [(values, [3])]}).decode())

    assert scraped.samples == {
        ("midstream_streams_running", frozenset({("provider", values[0])})): 3
    }


@pytest.mark.parametrize(("value", "bound"), [(1, "1"), (2, "10"), (10, "10"), (11, "25")])
def test_a_value_is_in_the_first_bucket_that_reaches_it(value: int, bound: str) -> None:
    counts = Counts()

    counts.distribution("midstream_stream_events", "openai.chat").add(value)

    scraped = read_metrics(counts.exposition({}).decode())
    reached = [
        dict(labels)["le"]
        for (name, labels), number in scraped.samples.items()
        if name == "midstream_stream_events_bucket" and number == 1
    ]
    assert reached[0] == bound


def test_waits_are_kept_finely_and_told_at_each_doubling() -> None:
    counts = Counts()
    for microseconds in (900, 1001, 1999, 2001, 10**9):
        counts.distribution(GAPS, "openai", "gpt-5").add(microseconds)

    scraped = read_metrics(counts.exposition({}).decode())

    told_bounds = {
        float(dict(labels)["le"]): number
        for (name, labels), number in scraped.samples.items()
        if name == f"{GAPS}_bucket"
    }
    assert sorted(told_bounds)[:-1] == [0.001 * 2**power for power in range(17)]
    assert [told_bounds[0.001], told_bounds[0.002], told_bounds[0.004]] == [1, 3, 4]
    assert told_bounds[math.inf] == 5
    assert [place for place, count in enumerate(counts.counted(GAPS)) if count] == [0, 1, 4, 5, 65]


def test_the_dashboard_asks_only_for_what_is_told() -> None:
    known = {
        name + part: {*metric.labels, *({"le"} if part else ())}
        for metric in METRICS
        for name in [metric.name]
        for part in (("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",))
    }
    panels = [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] != "row"]
    assert len({panel["title"] for panel in panels}) == len(panels) > 20
    shown = set()
    for panel in panels:
        for target in panel["targets"]:
            expression, legend = target["expr"], target["legendFormat"]
            names = re.findall(r"midstream_[a-z_]+", expression)
            assert names, expression
            for name, matchers in re.findall(r"(midstream_[a-z_]+)\{([^}]*)\}", expression):
                labels = set(re.findall(r"([a-z_]+)\s*=~?", matchers))
                assert labels <= known[name] | {"job"}, expression
            grouped = {
                label.strip()
                for group in re.findall(r"by \(([^)]*)\)", expression)
                for label in group.split(",")
            }
            assert all(grouped <= known[name] for name in names), expression
            assert set(re.findall(r"\{\{([a-z_]+)\}\}", legend)) <= grouped
            shown |= set(names)
    shown_metrics = {re.sub(r"_(bucket|sum|count)\Z", "", name) for name in shown}
    untold = {metric.name for metric in METRICS} - shown_metrics
    assert untold == {
        "midstream_streams_started_total",
        "midstream_wasted_streams_total",
        "midstream_quota_pools_untold",
        "midstream_build_info",
    }
