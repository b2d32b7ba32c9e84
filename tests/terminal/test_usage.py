"""`midstream usage`, as people run it, against a real server."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from proxy.terminal.usage import Limit, Pool, picture
from tests.server import Served, scripted, serving
from tests.terminal.commands import call, run

ENV = {"SHOP": "secret-of-shop-0123456789", "OPS": "secret-of-ops-0123456789"}
CONFIG = (
    '[store]\nurl = "memory://"\n'
    + scripted()
    + """
[quotas.small]
requests_per_minute = 4
tokens_per_month = 1000000
[keys.shop]
secret = "env:SHOP"
quota = "small"
[keys.ops]
secret = "env:OPS"
role = "operator"
"""
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("usage"), CONFIG, env=ENV) as served:
        body = {"model": "said/usage", "messages": [{"role": "user", "content": "hi"}]}
        key = {"x-api-key": ENV["SHOP"]}
        call("POST", f"{served.url}/v1/chat/completions", body, key)
        yield served


def ask(server: Served, key: str, folder: Path, *words: str) -> str:
    env = {"MIDSTREAM_KEY": ENV[key], "COLUMNS": "100"}
    done = run("usage", "--url", server.url, *words, folder=folder, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_an_operator_sees_every_key_with_its_limits(server: Served, tmp_path: Path) -> None:
    told = ask(server, "OPS", tmp_path)

    lines = told.splitlines()
    shop = next(place for place, line in enumerate(lines) if line.startswith("shop"))
    assert lines[shop + 1].split()[:6] == ["requests", "a", "minute", "4", "1", "3"]
    assert "█" in lines[shop + 1]
    assert lines[shop + 2].split()[:4] == ["tokens", "a", "month", "1,000,000"]
    assert "no limits" in lines[shop + 4]


def test_a_key_sees_itself_and_json_is_what_the_server_answers(
    server: Served, tmp_path: Path
) -> None:
    own = json.loads(ask(server, "SHOP", tmp_path, "--json"))
    named = json.loads(ask(server, "OPS", tmp_path, "--json", "--of", "shop"))

    assert [pool["pool"] for pool in own["data"]] == ["key:shop"]
    assert [pool["keys"] for pool in named["data"]] == [["shop"]]


def test_another_key_s_usage_is_refused_in_a_sentence(server: Served, tmp_path: Path) -> None:
    env = {"MIDSTREAM_KEY": ENV["SHOP"]}
    done = run("usage", "--url", server.url, "--of", "ops", folder=tmp_path, env=env)

    assert done.returncode == 1
    assert b"Only an operator's key may ask for another key's usage." in done.stderr


def test_what_is_used_up_is_full_and_what_is_money_is_in_dollars() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    limits = [
        Limit("usd_per_month", 5_000_400, 5_000_400, 0, now + timedelta(days=6)),
        Limit("concurrent_streams", 3, 1, 2, now),
        Limit("requests_per_minute", 10, 5, 5, now + timedelta(seconds=29.5)),
    ]
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as caught:
        console.print(picture([Pool("team:web\x1b", ["a", "b"], limits)], now, 100))

    title, money, streams, rate = [line.rstrip() for line in caught.get().splitlines()[1:]]
    assert title == "team web␛  a, b"
    assert money.split()[:6] == ["USD", "a", "month", "5.0004", "5.0004", "0"]
    assert "█" * 20 in money
    assert streams.endswith("as they end")
    assert rate.endswith("in 30 s")
