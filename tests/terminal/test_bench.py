"""`midstream bench`, as people run it, against a real server."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.terminal.bench import BenchWish, announcement, plan_of
from proxy.terminal.load import Tally
from proxy.terminal.report import Outcome
from tests.server import Served, scripted, serving
from tests.terminal.commands import at_terminal, begin, run

EVENTS_PER_S = 50.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = (
        '[store]\nurl = "memory://"\n[streams]\nfirst_content_s = 0\n'
        + scripted("paced", model="paced", events_per_s=EVENTS_PER_S, start_s=0.2)
        + scripted("cut", model="cut", fault="cut", fault_after=9)
        + scripted("busy", model="busy", fault="status", fault_status=429, retries=0)
    )
    with serving(tmp_path_factory.mktemp("bench"), config) as served:
        yield served


def measured(folder: Path, *words: str) -> tuple[int, Any]:
    done = run("bench", *words, "--json", folder=folder)
    return done.returncode, json.loads(done.stdout)


def test_what_it_measures_of_a_paced_answer_is_its_pace(server: Served, tmp_path: Path) -> None:
    words = (f"{server.url}/v1", "--model", "paced/usage", "--streams", "3", "--requests", "7")

    code, told = measured(tmp_path, *words)

    assert code == 0
    assert told["requests"] == {"ok": 7, "failed": 0, "unfinished": 0}
    assert told["errors"] == {}
    assert told["dialect"] == "openai.chat"
    assert told["tokens"]["counted"] % 7 == 0
    assert told["tokens"]["counted"] > 0
    assert told["tokens"]["answers_that_told"] == 7
    assert told["tokens"]["told"] % 7 == 0
    assert 0.15 < told["first_token_s"]["p50"] < 0.6
    assert 0.8 / EVENTS_PER_S < told["gap_s"]["p50"] < 1.3 / EVENTS_PER_S
    assert sum(b["count"] for b in told["buckets"]["answer_s"]) == 7
    assert told["warning"] is None


def test_it_speaks_anthropic_s_language_as_its_sdk_would(server: Served, tmp_path: Path) -> None:
    words = (server.url, "--dialect", "anthropic", "--model", "paced/text", "--requests", "4")

    code, told = measured(tmp_path, *words)

    assert code == 0
    assert told["url"] == f"{server.url}/v1/messages"
    assert told["requests"]["ok"] == 4
    assert told["tokens"]["counted"] > 0
    assert told["tokens"]["answers_that_told"] == 4


@pytest.mark.parametrize(
    ("model", "error", "tokens"),
    [
        ("cut/long", "error event provider_truncated", True),
        ("busy/long", r"status 429( [\w.]+)?", False),
        ("nothing", "status 404 model_not_found", False),
    ],
)
def test_failures_are_counted_by_what_went_wrong(
    server: Served, tmp_path: Path, model: str, error: str, tokens: bool
) -> None:
    words = (f"{server.url}/v1", "--model", model, "--requests", "3", "--streams", "3")

    code, told = measured(tmp_path, *words)

    assert code == 1
    assert told["requests"] == {"ok": 0, "failed": 3, "unfinished": 0}
    ((what, count),) = told["errors"].items()
    assert re.fullmatch(error, what)
    assert count == 3
    assert (told["tokens"]["counted"] > 0) == tokens
    assert told["answer_s"] == {}


def test_a_server_that_is_not_there_fails_every_request(tmp_path: Path) -> None:
    code, told = measured(tmp_path, "http://127.0.0.1:1/v1", "--model", "m", "--requests", "2")

    assert code == 1
    assert told["errors"] == {"connection refused": 2}


def test_when_the_time_is_up_it_stops_whatever_runs(server: Served, tmp_path: Path) -> None:
    words = (f"{server.url}/v1", "--model", "paced/long", "--streams", "4", "--seconds", "2")

    code, told = measured(tmp_path, *words)

    assert code == 0
    assert 1.9 < told["seconds"] < 4
    assert told["requests"] == {"ok": 0, "failed": 0, "unfinished": 4}
    assert told["tokens"]["counted"] > 100
    assert told["gap_s"]["p50"] > 0


def test_for_people_it_says_first_what_it_sends_and_then_draws_what_came(
    server: Served, tmp_path: Path
) -> None:
    words = (f"{server.url}/v1", "--model", "paced/text", "--requests", "3", "--max-tokens", "50")

    done = run("bench", *words, folder=tmp_path)

    assert done.returncode == 0
    assert done.stderr.decode() == (
        f"Sends 3 requests, 3 at once, to {server.url}/v1/chat/completions (model paced/text): "
        "at most 150 tokens in all.\n"
    )
    text = done.stdout.decode()
    assert "3 ok, 0 failed" in text
    assert re.search(r"time to first token +\d+ ms +\d+ ms", text)
    assert re.search(r"\ngap between tokens\n( +\S+ m?s +\d+ .*\n)+", text)
    assert "█" in text
    assert "\x1b" not in text


def test_at_a_terminal_its_progress_can_be_seen_and_ctrl_c_shows_what_there_is(
    server: Served, tmp_path: Path
) -> None:
    words = (f"{server.url}/v1", "--model", "paced/long", "--streams", "2")

    with at_terminal("bench", *words, folder=tmp_path) as terminal:
        terminal.read_until(r"0 done, 2 running, 0 failed, [1-9][0-9.]+ tokens/s")
        terminal.press("\x03")
        assert terminal.read_to_end() == 130

    assert "0 ok, 0 failed, 2 unfinished when it was stopped" in terminal.text
    assert "Traceback" not in terminal.text


def test_a_signal_in_a_pipe_shows_what_there_is_too(server: Served, tmp_path: Path) -> None:
    process = begin("bench", f"{server.url}/v1", "--model", "paced/long", "--json", folder=tmp_path)
    assert process.stderr is not None
    assert process.stderr.read(5) == b"Sends"
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    assert json.loads(out)["requests"]["unfinished"] == 10


# --- without a server ---------------------------------------------------------------------------


def make_wish(*, requests: int | None = None, seconds: float | None = None) -> BenchWish:
    return BenchWish(
        url="https://x.example/v1/",
        key=None,
        model="m",
        dialect="openai",
        streams=10,
        requests=requests,
        seconds=seconds,
        prompt="p",
        max_tokens=100,
        is_json=False,
    )


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (make_wish(), "Sends 30 requests, for 60 s at most, 10 at once,"),
        (make_wish(requests=5), "Sends 5 requests, 5 at once,"),
        (make_wish(seconds=90), "Sends as many requests as fit into 90 s, 10 at once,"),
        (make_wish(requests=40, seconds=9), "Sends 40 requests, for 9 s at most, 10 at once,"),
    ],
)
def test_there_is_always_a_bound_and_it_is_announced(wish: BenchWish, said: str) -> None:
    plan = plan_of(wish)

    assert plan.requests or plan.seconds
    assert announcement(plan).startswith(said)
    assert plan.url == "https://x.example/v1/chat/completions"


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-5-mini", "max_completion_tokens"),
        ("openai/o3", "max_completion_tokens"),
        ("olmo", "max_tokens"),
    ],
)
def test_the_bound_of_an_answer_has_the_name_that_the_model_takes(model: str, field: str) -> None:
    wish = make_wish()
    plan = plan_of(BenchWish(**{**_fields(wish), "model": model}))

    assert bytes(plan.ask().fields[field]) == b"100"


def _fields(wish: BenchWish) -> dict[str, Any]:
    return {name: getattr(wish, name) for name in wish.__struct_fields__}


def test_it_warns_when_it_may_have_measured_itself() -> None:
    plan = plan_of(make_wish())

    assert Outcome(plan, Tally(), lasted_s=10, cpu_s=7.9).warning == ""
    assert "used 81% of a core" in Outcome(plan, Tally(), lasted_s=10, cpu_s=8.1).warning
