"""An operator limits a team, a key and a budget; applications run into it, and nobody gets round."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.reading import lower, session
from tests.server import Served, scripted, serving, start
from tests.talking import talking
from tests.upstream.fake_provider import FakeProvider, streamed

KEYS = ("shop", "chat", "lone", "paid", "free", "ops")
ENV = {key.upper(): f"secret-of-{key}-0123456789" for key in KEYS} | {"UPSTREAM_KEY": "upstream"}
CHAT: Mapping[str, Any] = {
    "model": "said/text",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 50,
}
CONFIG = (
    '[store]\nurl = "memory://"\n'
    + scripted()
    + scripted("held", model="held", fault="stall", fault_after=3)
    + """
[models.priced]
targets = ["said/text"]
price = {input = 1.0, output = 1.0}
[quotas.team]
shared = true
tokens_per_minute = 1000
concurrent_streams = 2
[quotas.lone]
requests_per_minute = 2
max_output_tokens = 64
[quotas.paid]
usd_per_day = 0.001
[keys.shop]
secret = "env:SHOP"
quota = "team"
[keys.chat]
secret = "env:CHAT"
quota = "team"
[keys.lone]
secret = "env:LONE"
quota = "lone"
[keys.paid]
secret = "env:PAID"
quota = "paid"
[keys.free]
secret = "env:FREE"
[keys.ops]
secret = "env:OPS"
role = "operator"
"""
)


class Got:
    """One answer."""

    def __init__(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = answer.status
        self.headers = lower(answer.headers)
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Shop:
    """Applications, by the names of their keys."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http

    def headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": ENV[key.upper()]}

    async def post(
        self, key: str, path: str = "/v1/chat/completions", also: Any = None, **fields: object
    ) -> Got:
        headers = self.headers(key) | (also or {})
        body = {**CHAT, **fields}
        async with self.http.post(self.url + path, json=body, headers=headers) as answer:
            return Got(answer, await answer.read())

    async def usage(self, key: str, query: str = "") -> Got:
        headers = self.headers(key)
        async with self.http.get(f"{self.url}/v1/usage{query}", headers=headers) as answer:
            return Got(answer, await answer.read())

    async def remaining(self, key: str, kind: str) -> int:
        (pool,) = (await self.usage(key)).json["data"]
        (limit,) = [limit for limit in pool["limits"] if limit["kind"] == kind]
        return int(limit["remaining"])


def tell(folder: Path, story: Callable[[Shop], Awaitable[None]], config: str = CONFIG) -> None:
    async def scenario(served: Served) -> None:
        async with session() as http:
            await story(Shop(served.url, http))

    with serving(folder, config, env=ENV) as served:
        asyncio.run(scenario(served))


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_team_shares_its_tokens_and_the_last_one_is_told_when_to_come_back(
    tmp_path: Path, path: str
) -> None:
    async def story(shop: Shop) -> None:
        first = await shop.post("shop", path, {"prefer": "respond-async"}, model="held/text")
        assert first.status == 202
        assert '"tokens_per_minute"' in first.headers["ratelimit"]
        refused = await shop.post("chat", path, max_tokens=700)
        assert refused.status == 429
        assert refused.headers["x-should-retry"] == "true"
        wait_s, wait_ms = (refused.headers[n] for n in ("retry-after", "retry-after-ms"))
        assert 0 < int(wait_ms) <= 60_000
        assert int(wait_s) == -(-int(wait_ms) // 1000)
        if path == "/v1/messages":
            assert refused.error["type"] == "rate_limit_error"
            assert refused.error["details"] == {"error_code": "rate_limit_exceeded"}
            assert refused.headers["anthropic-ratelimit-tokens-limit"] == "1000"
        else:
            assert refused.error["type"] == "tokens"
            assert refused.error["code"] == "rate_limit_exceeded"
            assert refused.headers["x-ratelimit-limit-tokens"] == "1000"
            assert refused.headers["x-ratelimit-reset-tokens"].endswith("s")

    tell(tmp_path, story)


def test_requests_and_streams_are_counted_and_refused_as_requests(tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        for left in ("1", "0"):
            answered = await shop.post("lone")
            assert answered.status == 200
            assert answered.headers["x-ratelimit-remaining-requests"] == left
        refused = await shop.post("lone")
        assert (refused.status, refused.error["type"]) == (429, "requests")
        assert 28 <= int(refused.headers["retry-after"]) <= 30

        wait = {"prefer": "respond-async"}
        held = [await shop.post("shop", also=wait, model="held/text") for _ in range(2)]
        busy = await shop.post("chat")
        assert (busy.status, busy.error["code"]) == (429, "rate_limit_exceeded")
        await cancel(shop, held[0].json["id"])
        assert (await shop.post("chat")).status == 200

    tell(tmp_path, story)


async def cancel(shop: Shop, stream: str) -> None:
    address = f"{shop.url}/v1/streams/{stream}/cancel"
    async with shop.http.post(address, headers=shop.headers("ops")) as answer:
        assert answer.status == 200


def test_a_budget_that_is_used_up_is_no_reason_to_try_again(tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        unpriced = await shop.post("paid")
        assert (unpriced.status, unpriced.error["code"]) == (400, "model_without_price")
        assert "said/text" in unpriced.error["message"]
        for _ in range(10):
            assert (await shop.post("paid", model="priced")).status == 200
        left = await shop.remaining("paid", "usd_per_day")
        refused = await shop.post("paid", model="priced", max_tokens=left)
        assert refused.status == 429
        assert refused.error["code"] == refused.error["type"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"
        assert "retry-after-ms" not in refused.headers
        assert await shop.remaining("paid", "usd_per_day") == left
        too_much = await shop.post("paid", model="priced", max_tokens=1_000_000)
        assert (too_much.status, too_much.error["code"]) == (429, "insufficient_quota")
        assert "retry-after" not in too_much.headers

    tell(tmp_path, story)


def test_a_create_over_a_websocket_is_refused_with_the_time_to_wait(tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        async with talking(shop.http, shop.url, headers=shop.headers("lone")) as talk:
            await talk.hear()
            for _ in range(2):
                assert (await shop.post("lone")).status == 200
            refused = await talk.ask("create", ref=1, path="/v1/chat/completions", body=CHAT)
            assert (refused["type"], refused["code"]) == ("error", "rate_limit_exceeded")
            assert 28 < refused["retry_after_s"] <= 30
            assert (await talk.ask("ping"))["type"] == "pong"

    tell(tmp_path, story)


# --- nobody gets round ----------------------------------------------------------------------------


def test_leaving_does_not_give_back_what_a_stream_holds(tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        body = {**CHAT, "model": "held/text", "stream": True, "max_tokens": 300}
        address = f"{shop.url}/v1/chat/completions"
        async with shop.http.post(address, json=body, headers=shop.headers("shop")) as answer:
            assert answer.status == 200
            await answer.content.readany()
            answer.close()
        await asyncio.sleep(0.3)
        assert await shop.remaining("shop", "concurrent_streams") == 1
        assert (await shop.post("chat", max_tokens=400)).status == 429

    tell(tmp_path, story)


def test_a_repeat_is_charged_once_and_told_what_is_left(tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        named = {"idempotency-key": "mine"}
        first = await shop.post("lone", also=named)
        again = await shop.post("lone", also=named)
        assert first.headers["midstream-stream"] == again.headers["midstream-stream"]
        assert again.headers["x-ratelimit-remaining-requests"] == "1"

    tell(tmp_path, story)


def test_the_provider_is_told_the_bound_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeProvider.running() as far, session() as http:
            chunk = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
            far.always_plays(streamed([chunk, b"data: [DONE]\n\n"]))
            config = CONFIG + (
                f'[providers.far]\nkind = "openai"\nbase_url = "{far.url}/v1"\n'
                'api_key = "env:UPSTREAM_KEY"\n[models."far/*"]\ntargets = ["far/*"]\n'
            )
            served = await asyncio.to_thread(start, tmp_path, config, env=ENV)
            try:
                await ask_far(Shop(served.url, http), far)
            finally:
                await asyncio.to_thread(served.stop)

    async def ask_far(shop: Shop, far: FakeProvider) -> None:
        unbounded = {"model": "far/m", "messages": CHAT["messages"], "max_tokens": None}
        for key, fields in (
            ("lone", unbounded),
            ("lone", unbounded | {"max_tokens": 1000}),
            ("shop", unbounded | {"max_completion_tokens": 70}),
            ("free", unbounded | {"max_tokens": 1000}),
            ("free", unbounded),
        ):
            assert (await shop.post(key, **fields)).status == 200
        sent = [json.loads(one.body) for one in far.requests]
        assert [(b.get("max_tokens"), b.get("max_completion_tokens")) for b in sent] == [
            (None, 64),
            (64, None),
            (None, 70),
            (1000, None),
            (None, None),
        ]

    asyncio.run(scenario())


# --- in plain sight -------------------------------------------------------------------------------


def test_a_key_sees_its_own_usage_and_an_operator_all(tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        assert (await shop.post("shop", model="said/usage")).status == 200
        (own,) = (await shop.usage("chat")).json["data"]
        assert (own["pool"], own["keys"]) == ("team:team", ["chat"])
        tokens = own["limits"][0]
        assert tokens["kind"] == "tokens_per_minute"
        assert tokens["amount"] == 1000
        assert tokens["used"] > 2000, "the provider counted more than was held: a debt is shown"
        assert tokens["remaining"] == 0
        seen = {pool["pool"]: pool["keys"] for pool in (await shop.usage("ops")).json["data"]}
        assert seen["team:team"] == ["shop", "chat"]
        assert seen.keys() >= {"key:lone", "key:paid", "key:free", "key:ops"}
        (one,) = (await shop.usage("ops", "?key=lone")).json["data"]
        assert one["keys"] == ["lone"]
        assert (await shop.usage("shop", "?key=lone")).status == 403
        assert (await shop.usage("ops", "?key=nobody")).status == 400

    tell(tmp_path, story)
