"""An application embeds and counts through the proxy, and gets its provider's own bytes."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.reading import lower, session
from tests.server import Served, serving
from tests.upstream.fake_provider import FakeProvider, Send, Sleep, Stall, head, whole

ENV = {"APP": "secret-of-app-0123456789", "POOR": "secret-of-poor-0123456789", "UP": "upstream-key"}
EMBEDDED = b'{ "object":"list","data":[{"embedding":"AAAAPwAAgL4=","index":0}],\n"new":[1],'
EMBEDDED += b'"usage":{"prompt_tokens":5,"total_tokens":5}}'
COUNTED = b'{"input_tokens": 14, "new": null}'
PATHS = {"openai": "/v1/embeddings", "anthropic": "/v1/messages/count_tokens"}
ANSWERS = {"openai": EMBEDDED, "anthropic": COUNTED}
ERRORS = {
    "openai": b'{"error": {"message": "Too \\u006cong.", "type": "x", "code": "too_long"}}',
    "anthropic": b'{"type": "error", "error": {"type": "invalid_request_error", "message": "No"}}',
}

either = pytest.mark.parametrize("kind", PATHS)

Story = Callable[["Office"], Awaitable[None]]


class Office:
    """The proxy, what is behind it, and an application."""

    def __init__(self, served: Served, far: FakeProvider, http: aiohttp.ClientSession) -> None:
        self.served = served
        self.far = far
        self.http = http

    def post(self, kind: str, body: bytes | None = None, key: str = "APP", **also: str) -> Any:
        given = b'{"model":"%s-one", "input":["x"],  "messages":[], "dimensions":2.50}'
        return self.http.post(
            self.served.url + PATHS[kind],
            data=body or given % kind.encode(),
            headers={"x-api-key": ENV[key], "content-type": "application/json"} | also,
        )

    async def got(self, kind: str, **given: Any) -> tuple[int, dict[str, str], bytes]:
        async with self.post(kind, **given) as answer:
            return answer.status, lower(answer.headers), await answer.read()

    async def ask_and_leave(self, kind: str, **given: Any) -> None:
        """As soon as the provider has heard of it."""
        before = len(self.far.requests)
        asking = asyncio.ensure_future(self.got(kind, **given))
        await self.far.until(lambda: len(self.far.requests) > before)
        asking.cancel()

    async def used(self, key: str) -> dict[str, int]:
        headers = {"x-api-key": ENV[key]}
        async with self.http.get(f"{self.served.url}/v1/usage", headers=headers) as answer:
            (pool,) = (await answer.json())["data"]
        return {limit["kind"]: limit["used"] for limit in pool["limits"]}

    async def until_used(self, key: str, kind: str, count: int) -> None:
        async with asyncio.timeout(5):
            while (await self.used(key))[kind] != count:
                await asyncio.sleep(0.02)


def configured(far: FakeProvider) -> str:
    return f"""
[store]
url = "memory://"
[providers.openai]
kind = "openai"
base_url = "{far.url}/v1"
api_key = "env:UP"
first_event_s = 2
[providers.anthropic]
kind = "anthropic"
base_url = "{far.url}"
api_key = "env:UP"
first_event_s = 2
[models.openai-one]
targets = ["openai/real-one"]
price = {{input = 1.0, output = 9.0}}
[models.anthropic-one]
targets = ["anthropic/real-one"]
[keys.app]
secret = "env:APP"
role = "operator"
[keys.poor]
secret = "env:POOR"
quota = "poor"
[quotas.poor]
requests_per_minute = 100
tokens_per_day = 1000
usd_per_day = 1
concurrent_streams = 1
"""


def tell(folder: Path, story: Story) -> None:
    async def scenario() -> None:
        async with FakeProvider.running() as far, session() as http:
            opened = serving(folder, configured(far), env=ENV)
            served = await asyncio.to_thread(opened.__enter__)
            try:
                await story(Office(served, far, http))
            finally:
                await asyncio.to_thread(opened.__exit__, None, None, None)

    asyncio.run(scenario())


@either
def test_the_answer_is_the_providers_and_the_request_the_applications_but_for_the_model(
    tmp_path: Path, kind: str
) -> None:
    async def story(office: Office) -> None:
        office.far.always_plays(whole(200, ANSWERS[kind]))
        status, headers, body = await office.got(kind, **{"anthropic-beta": "a,b"})
        assert (status, body) == (200, ANSWERS[kind])
        assert headers["content-type"] == "application/json"
        assert headers["x-request-id"].startswith("req_")
        assert "midstream-stream" not in headers
        (sent,) = office.far.requests
        assert sent.path == PATHS[kind]
        assert sent.body == b'{"model":"real-one","input":["x"],"messages":[],"dimensions":2.50}'
        assert sent.header("anthropic-beta") == "a,b"
        assert ENV["APP"] not in str(sent.headers)

    tell(tmp_path, story)


@either
def test_what_the_provider_refuses_comes_with_its_status_and_in_its_words(
    tmp_path: Path, kind: str
) -> None:
    async def story(office: Office) -> None:
        office.far.plays(whole(400, ERRORS[kind]), whole(401, ERRORS[kind]), whole(200, b"{"))
        status, headers, body = await office.got(kind)
        assert (status, body) == (400, ERRORS[kind])
        assert headers["x-should-retry"] == "false"
        status, _, body = await office.got(kind)
        assert (status, b"provider_refused_us" in body) == (502, True)
        status, _, body = await office.got(kind)
        assert (status, b"provider_garbled" in body) == (502, True)
        status, _, body = await office.got(kind)  # stalls
        assert (status, b"provider_stalled" in body) == (504, True)

    tell(tmp_path, story)


@either
def test_who_leaves_lets_go_of_the_provider_at_once(tmp_path: Path, kind: str) -> None:
    async def story(office: Office) -> None:
        office.far.always_plays([Send(head(200, (("content-type", "application/json"),))), Stall()])
        await office.ask_and_leave(kind)
        await office.far.until(lambda: office.far.open == 0, within_s=1)

    tell(tmp_path, story)


@pytest.mark.parametrize(
    ("kind", "body", "status", "named"),
    [
        ("openai", b'{"model":"openai-one"}', 400, "'input'"),
        ("openai", b'{"input":"x"}', 400, "'model'"),
        ("openai", b"[]", 400, "object"),
        ("openai", b'{"model":"anthropic-one","input":"x"}', 404, "no embeddings"),
        ("openai", b'{"model":"nobody","input":"x"}', 404, "does not exist"),
        ("anthropic", b'{"model":"anthropic-one"}', 400, "'messages'"),
        ("anthropic", b'{"model":"openai-one","messages":[]}', 404, "count tokens"),
    ],
)
def test_what_is_wrong_is_told_in_the_callers_dialect_and_reaches_nobody(
    tmp_path: Path, kind: str, body: bytes, status: int, named: str
) -> None:
    async def story(office: Office) -> None:
        got, _, raw = await office.got(kind, body=body)
        said = json.loads(raw)
        assert got == status
        assert named in said["error"]["message"]
        assert ("request_id" in said) == (kind == "anthropic")
        assert not office.far.requests

    tell(tmp_path, story)


def test_embeddings_are_charged_by_the_providers_count_and_counting_is_free(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        office.far.plays(whole(200, COUNTED), whole(200, EMBEDDED))
        status, headers, _ = await office.got("anthropic", key="POOR")
        assert (status, headers["anthropic-ratelimit-requests-remaining"]) == (200, "99")
        assert "tokens_per_day" not in headers["ratelimit"]
        assert (await office.used("POOR"))["tokens_per_day"] == 0
        status, headers, _ = await office.got("openai", key="POOR")
        assert (status, headers["x-ratelimit-remaining-requests"]) == (200, "98")
        assert '"usd_per_day"' in headers["ratelimit"]
        assert '"concurrent_streams"' not in headers["ratelimit"]
        await office.until_used("POOR", "tokens_per_day", 5)
        assert (await office.used("POOR"))["usd_per_day"] == 5

        asked = b'{"model":"openai-one","input":"%s"}' % (b"x" * 2000)
        status, headers, body = await office.got("openai", key="POOR", body=asked)
        assert (status, headers["x-should-retry"]) == (429, "false")
        assert json.loads(body)["error"]["code"] == "insufficient_quota"
        assert len(office.far.requests) == 2

        office.far.always_plays([Stall()])
        await office.ask_and_leave("openai", key="POOR")
        sent = len(office.far.requests[-1].body)
        await office.until_used("POOR", "tokens_per_day", 5 + -(-sent // 4))

    tell(tmp_path, story)


def test_a_worker_that_is_told_to_stop_brings_it_to_its_end(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        begun = head(
            200,
            (("content-type", "application/json"),),
            framing=f"content-length: {len(EMBEDDED)}",
        )
        office.far.plays([Send(begun + EMBEDDED[:9]), Sleep(0.7), Send(EMBEDDED[9:])])
        asking = asyncio.ensure_future(office.got("openai"))
        await office.far.until(lambda: office.far.steps_played == 1)
        office.served.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        status, _, refused = await office.got("openai")
        assert (status, b"draining" in refused) == (503, True)
        assert (await asking)[::2] == (200, EMBEDDED)

    tell(tmp_path, story)


def test_it_is_counted_as_a_request_with_its_tokens_and_its_cost(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        office.far.plays(whole(200, EMBEDDED), whole(200, COUNTED), whole(500, b"?"))
        for kind in ("openai", "anthropic", "openai"):
            await office.got(kind)
        lines = [
            'requests_total{method="POST",route="/v1/embeddings",status="200"} 1',
            'requests_total{method="POST",route="/v1/messages/count_tokens",status="200"} 1',
            'tokens_total{provider="openai",model="openai-one",type="input"} 5',
            'cost_microdollars_total{provider="openai",model="openai-one"} 5',
            'provider_errors_total{provider="openai",code="provider_error",status="500"} 1',
        ]
        headers = {"x-api-key": ENV["APP"]}
        async with office.http.get(f"{office.served.url}/metrics", headers=headers) as answer:
            told = (await answer.text()).splitlines()
        assert [line for line in lines if f"midstream_{line}" not in told] == []

    tell(tmp_path, story)
