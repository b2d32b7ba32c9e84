"""What is left, as each kind of caller reads it."""

import re
from collections.abc import Sequence
from datetime import datetime

import pytest

from proxy.downstream.quota_headers import go_duration, quota_headers
from proxy.policy.quotas import Kind, Limit, Standing

NOW = 1_790_000_000.0
STANDINGS = (
    Standing(Limit("key:a", Kind.REQUESTS_PER_MINUTE, 60), 1, 0.9995),
    Standing(Limit("all", Kind.REQUESTS_PER_MINUTE, 1000), 988, 59.28),
    Standing(Limit("team:t", Kind.TOKENS_PER_MINUTE, 6000), 1000, 10.0),
    Standing(Limit("team:t", Kind.TOKENS_PER_DAY, 90_000), 89_300, 7200.0),
    Standing(Limit("team:t", Kind.CONCURRENT_STREAMS, 3), 3, 1.0),
    Standing(Limit("key:a", Kind.USD_PER_MONTH, 10**15), 0, 100_000.5),
    Standing(Limit("all", Kind.USD_PER_DAY, 5_000_000), 4_999_996, 100.0),
)
_ITEM = re.compile(
    r'"[a-z_]+"(;[a-z]+=([0-9]{1,15}|"[a-z-]+"))+(, "[a-z_]+"(;[a-z]+=([0-9]{1,15}|"[a-z-]+"))+)*'
)
"""As much of a structured field's list as is written here (RFC 9651 3.1)."""


def told(dialect: str, standings: Sequence[Standing] = STANDINGS) -> dict[str, str]:
    headers = quota_headers(dialect, standings, NOW)
    assert len(dict(headers)) == len(headers)
    return dict(headers)


def test_an_openai_caller_is_told_the_tightest_limit_of_requests_and_of_tokens() -> None:
    headers = told("openai.chat")

    assert {name: text for name, text in headers.items() if name.startswith("x-")} == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "12",
        "x-ratelimit-reset-requests": "59.28s",
        "x-ratelimit-limit-tokens": "90000",
        "x-ratelimit-remaining-tokens": "700",
        "x-ratelimit-reset-tokens": "2h0m0s",
    }
    assert not any(name.startswith("anthropic") for name in headers)


def test_an_anthropic_caller_is_told_the_same_with_moments() -> None:
    headers = told("anthropic.messages")

    assert headers["anthropic-ratelimit-requests-limit"] == "1000"
    assert headers["anthropic-ratelimit-requests-remaining"] == "12"
    assert headers["anthropic-ratelimit-tokens-limit"] == "90000"
    assert headers["anthropic-ratelimit-tokens-remaining"] == "700"
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-tokens-reset"])
    assert reset.timestamp() == NOW + 7200
    assert not any(name.startswith("x-") for name in headers)


@pytest.mark.parametrize("dialect", ["openai.chat", "anthropic.messages"])
def test_everybody_is_told_every_kind_as_structured_fields(dialect: str) -> None:
    headers = told(dialect)

    policy, left = headers["ratelimit-policy"], headers["ratelimit"]
    assert _ITEM.fullmatch(policy)
    assert _ITEM.fullmatch(left)
    assert policy.split(", ") == [
        '"requests_per_minute";q=1000;w=60',
        '"tokens_per_minute";q=6000;qu="tokens";w=60',
        '"concurrent_streams";q=3;qu="concurrent-requests"',
        '"tokens_per_day";q=90000;qu="tokens";w=86400',
        '"usd_per_month";q=999999999999999;qu="microdollars"',
    ]
    assert left.split(", ") == [
        '"requests_per_minute";r=12;t=60',
        '"tokens_per_minute";r=5000;t=10',
        '"concurrent_streams";r=0;t=1',
        '"tokens_per_day";r=700;t=7200',
        '"usd_per_month";r=999999999999999;t=100001',
    ]


def test_money_above_all_keys_is_told_to_nobody() -> None:
    assert "usd_per_day" not in str(told("openai.chat"))


def test_where_nothing_is_limited_nothing_is_said() -> None:
    assert told("openai.chat", ()) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.0001, "1ms"),
        (0.012, "12ms"),
        (0.9995, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (100, "1m40s"),
        (3600.25, "1h0m0.25s"),
        (90_000, "25h0m0s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
