"""The official SDKs under a limit: they come back when they may, and stop where waiting is vain."""

import asyncio
import time
from collections.abc import Iterator

import anthropic
import openai
import pytest

from tests.clients.hearing import Kind, question
from tests.clients.sdks import PAIRS, Sdks
from tests.reading import session
from tests.server import Served, scripted, serving

BURST = 20
WAIT_S = 60 / BURST
KEYS = [f"{use}-{kind}-{sdk}" for use in ("rate", "budget") for kind, sdk in PAIRS]
CONFIG = (
    '[store]\nurl = "embedded"\npath = "data"\n'
    + scripted()
    + f"[quotas.rate]\nrequests_per_minute = {BURST}\ntokens_per_minute = 10000000\n"
    + "[quotas.budget]\ntokens_per_day = 10000\n"
    + "".join(
        f'[keys.{key}]\nsecret = "env:{key.upper().replace("-", "_")}"\n'
        f'quota = "{key.partition("-")[0]}"\n'
        for key in (*KEYS, "rate-raw")
    )
)
ENV = {key.upper().replace("-", "_"): f"secret-of-{key}" for key in (*KEYS, "rate-raw")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("quotas"), CONFIG, env=ENV) as served:
        yield served


def use_up(url: str, key: str, count: int) -> None:
    body = {
        "model": "said/usage",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}],
    }

    async def all_of_them() -> None:
        async with session() as http:

            async def one() -> None:
                headers = {"x-api-key": f"secret-of-{key}"}
                async with http.post(
                    f"{url}/v1/chat/completions", json=body, headers=headers
                ) as answer:
                    assert answer.status == 200, await answer.text()

            await asyncio.gather(*(one() for _ in range(count)))

    asyncio.run(all_of_them())


def refusals(server: Served) -> int:
    return server.log.read_text().count("status=429")


def refusals_since(server: Served, before: int) -> int:
    """At least one is waited for: a client has its answer before the log has its line."""
    until = time.monotonic() + 5
    while refusals(server) == before and time.monotonic() < until:
        time.sleep(0.02)
    return refusals(server) - before


@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_an_sdk_that_meets_a_rate_comes_back_by_itself_at_the_right_moment(
    server: Served, sdks: Sdks, kind: Kind, sdk: str
) -> None:
    key, before = f"rate-{kind}-{sdk}", refusals(server)
    use_up(server.url, key, BURST)
    begun = time.monotonic()
    (heard,) = sdks[sdk](
        kind,
        server.url,
        [question(kind, "create", "said/text")],
        key=f"secret-of-{key}",
        max_retries=2,
    )
    took_s = time.monotonic() - begun

    assert heard.error is None
    assert heard.final is not None
    assert refusals_since(server, before) == 1
    assert WAIT_S / 2 < took_s < WAIT_S + 2


@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_an_sdk_whose_budget_is_used_up_asks_once_and_is_told_why(
    server: Served, sdks: Sdks, kind: Kind, sdk: str
) -> None:
    key, before = f"budget-{kind}-{sdk}", refusals(server)
    use_up(server.url, key, 10)
    begun = time.monotonic()
    (heard,) = sdks[sdk](
        kind,
        server.url,
        [question(kind, "create", "said/text", max_tokens=9700)],
        key=f"secret-of-{key}",
        max_retries=2,
    )

    assert time.monotonic() - begun < 2
    assert refusals_since(server, before) == 1
    assert heard.error is not None
    assert heard.error.status == 429
    assert heard.error.name == "RateLimitError"
    assert "Try again in" in heard.error.message
    assert int(heard.error.retry_after or "0") > 60
    if kind == "openai":
        assert (heard.error.code, heard.error.type) == ("insufficient_quota", "insufficient_quota")
    elif sdk != "node" or heard.error.type is not None:
        assert heard.error.type == "rate_limit_error"


def test_the_sdks_give_the_headers_that_tell_what_is_left(server: Served) -> None:
    key = "secret-of-rate-raw"
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="said/text", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
        )
    assert raw.headers["x-ratelimit-limit-requests"] == str(BURST)
    assert raw.headers["x-ratelimit-remaining-requests"] == str(BURST - 1)
    assert raw.headers["x-ratelimit-reset-requests"] == f"{WAIT_S:g}s"

    with anthropic.Anthropic(base_url=server.url, api_key=key) as other:
        answered = other.messages.with_raw_response.create(
            model="said/text", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
        )
    assert answered.headers["anthropic-ratelimit-requests-limit"] == str(BURST)
    assert int(answered.headers["anthropic-ratelimit-requests-remaining"]) == BURST - 2
    assert answered.headers["anthropic-ratelimit-tokens-limit"] == "10000000"
