"""A model has several targets: who is asked, with what, under which limits, and what that costs."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tests.reading import session
from tests.server import RECORDINGS, scripted, serving, start
from tests.upstream.fake_provider import FakeProvider, streamed

ENV = {
    "APP": "secret-of-app-0123456789",
    "TEAM": "secret-of-team-0123456789",
    "OPS": "secret-of-ops-0123456789",
}
KEYS = """
[keys.app]
secret = "env:APP"
[keys.team]
secret = "env:TEAM"
quota = "team"
[keys.ops]
secret = "env:OPS"
role = "operator"
[quotas.team]
usd_per_day = 1
"""
CREATES = 60
CHAT = "/v1/chat/completions"
ASKED: Mapping[str, object] = {
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 50,
}


class App:
    """An application in front of the proxy."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http

    async def post(
        self, model: str, key: str = "APP", path: str = CHAT, **fields: object
    ) -> tuple[int, Any]:
        """The status, and the view of the stream; or the error."""
        asked = ASKED if path == CHAT else {"input": "hi"}
        headers = {"x-api-key": ENV[key]}
        body = {"model": model, **asked, **fields}
        async with self.http.post(self.url + path, json=body, headers=headers) as answer:
            told, where = await answer.json(), answer.headers.get("location")
        if answer.status != 200:
            return answer.status, told["error"]
        assert where is not None
        async with self.http.get(self.url + where, headers=headers) as answer:
            return 200, await answer.json()

    async def providers(self, model: str, count: int) -> Counter[str]:
        return Counter([(await self.post(model))[1]["provider"] for _ in range(count)])

    async def used(self, pool: str, kind: str) -> int:
        headers = {"x-api-key": ENV["OPS"]}
        async with self.http.get(f"{self.url}/v1/usage", headers=headers) as answer:
            pools = {each["pool"]: each["limits"] for each in (await answer.json())["data"]}
        (used,) = [limit["used"] for limit in pools[pool] if limit["kind"] == kind]
        return int(used)


def tell(folder: Path, config: str, story: Callable[[App], Awaitable[None]]) -> None:
    async def scenario(url: str) -> None:
        async with session() as http:
            await story(App(url, http))

    text = (
        '[store]\nurl = "memory://"\n'
        + scripted("a", model="a")
        + scripted("b", model="b", quota="small")
    )
    with serving(folder, f"{text}{KEYS}{config}", env=ENV) as served:
        asyncio.run(scenario(served.url))


SMALL = "[quotas.small]\nrequests_per_minute = 1000\nusd_per_day = 1\n"


def test_weighted_targets_are_asked_by_their_shares(tmp_path: Path) -> None:
    config = (
        '[models.m]\nstrategy = "weighted"\n'
        'targets = [{to = "a/text", weight = 9}, {to = "b/text", price = {input = 1, output = 1}}]\n'
    )

    async def story(app: App) -> None:
        asked = await app.providers("m", CREATES)
        assert asked["a"] > asked["b"]  # by chance not once in 10**12 runs

    tell(tmp_path, config + SMALL, story)


def test_the_least_busy_target_for_its_weight_is_asked(tmp_path: Path) -> None:
    config = (
        scripted("slow", model="slow", fault="stall", fault_after=3)
        + scripted("slower", model="slower", fault="stall", fault_after=3)
        + """
[models.m]
strategy = "least_busy"
targets = [{to = "slow/text", weight = 3}, "slower/text"]
"""
    )

    async def story(app: App) -> None:
        headers = {"x-api-key": ENV["APP"], "prefer": "respond-async"}
        asked = []
        for _ in range(8):
            body = {"model": "m", **ASKED}
            async with app.http.post(app.url + CHAT, json=body, headers=headers) as answer:
                asked.append((await answer.json())["provider"])
        assert Counter(asked) == {"slow": 6, "slower": 2}
        assert asked[:4] == ["slow", "slower", "slow", "slow"]

    tell(tmp_path, config + SMALL, story)


def test_who_goes_on_from_a_response_asks_the_provider_that_made_it(tmp_path: Path) -> None:
    config = '[models.m]\nstrategy = "weighted"\ntargets = ["a/text", "b/text"]\n'

    async def story(app: App) -> None:
        headers, path = {"x-api-key": ENV["APP"]}, "/v1/responses"
        body = {"model": "m", "input": "hi"}
        async with app.http.post(app.url + path, json=body, headers=headers) as first:
            name, where = (await first.json())["id"], first.headers["location"]
        async with app.http.get(app.url + where, headers=headers) as view:
            made_by = (await view.json())["provider"]
        for _ in range(20):
            _, told = await app.post("m", path=path, previous_response_id=name)
            assert told["provider"] == made_by

    tell(tmp_path, config + SMALL, story)


def test_what_each_target_costs_is_charged_by_its_own_price(tmp_path: Path) -> None:
    config = """
[models.m]
strategy = "weighted"
targets = [
    {to = "a/text", price = {input = 1, output = 2}},
    {to = "b/text", price = {input = 100, output = 200}},
]
"""

    async def story(app: App) -> None:
        costs = {"a": 0.0, "b": 0.0}
        while not all(costs.values()):
            status, view = await app.post("m", key="TEAM")
            assert status == 200
            usage, dear = view["usage"], 100 if view["provider"] == "b" else 1
            cost = dear * (usage["input_tokens"] + 2 * usage["output_tokens"])
            assert round(view["cost_usd"] * 1_000_000) == cost
            costs[view["provider"]] += cost
        assert await app.used("key:team", "usd_per_day") == sum(costs.values())
        assert await app.used("provider:b", "usd_per_day") == costs["b"]

    tell(tmp_path, config + SMALL, story)


def test_a_provider_that_is_full_leaves_its_share_to_the_next(tmp_path: Path) -> None:
    config = """
[models.m]
targets = ["b/text", "a/text"]
[models.lone]
targets = ["b/text"]
[quotas.small]
requests_per_minute = 2
"""

    async def story(app: App) -> None:
        assert await app.providers("m", 5) == {"b": 2, "a": 3}
        status, error = await app.post("lone")
        assert (status, error["code"]) == (429, "rate_limit_exceeded")

    tell(tmp_path, config, story)


def test_a_target_that_cannot_be_asked_is_left_out_if_there_is_another(tmp_path: Path) -> None:
    config = """
[providers.far]
kind = "anthropic"
base_url = "http://127.0.0.1:9"
[models.strict]
targets = ["far/x", "a/choices"]
[models.alone]
targets = ["far/x"]
[models.priced]
targets = ["far/x", {to = "a/text", price = {input = 1, output = 1}}]
"""

    async def story(app: App) -> None:
        status, view = await app.post("strict", n=2)
        assert (status, view["provider"]) == (200, "a")
        status, error = await app.post("alone", n=2)
        assert (status, error["param"]) == (400, "n")
        status, view = await app.post("priced", key="TEAM")
        assert (status, view["provider"]) == (200, "a")
        status, error = await app.post("alone", key="TEAM")
        assert (status, error["code"]) == (400, "model_without_price")

    tell(tmp_path, config + SMALL, story)


def test_a_target_gets_its_parameters_over_the_clients_in_its_own_dialect(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeProvider.running() as far:
            chat, messages = (
                streamed([(RECORDINGS / f"text.{kind}.sse").read_bytes()])
                for kind in ("chat", "messages")
            )
            config = f"""
[providers.chat]
kind = "openai"
base_url = "{far.url}/v1"
[providers.claude]
kind = "anthropic"
base_url = "{far.url}"
[models.one]
targets = [{{to = "chat/m", parameters = {{temperature = 0.5, metadata = {{by = "us"}}}}}}]
[models.two]
targets = [{{to = "claude/m", parameters = {{max_tokens = 7, top_k = 3}}}}]
"""
            text = '[store]\nurl = "memory://"\n' + KEYS + config
            served = await asyncio.to_thread(start, tmp_path, text, env=ENV)
            try:
                async with session() as http:
                    app = App(served.url, http)
                    far.plays(chat, messages)
                    await app.post("one", temperature=1, metadata={"a": "b"}, user="u")
                    await app.post("two", temperature=1)
            finally:
                await asyncio.to_thread(served.stop)
            one, two = (json.loads(request.body) for request in far.requests)
            assert (one["temperature"], one["metadata"], one["user"]) == (0.5, {"by": "us"}, "u")
            assert (two["max_tokens"], two["top_k"], two["temperature"]) == (7, 3, 1)

    asyncio.run(scenario())
