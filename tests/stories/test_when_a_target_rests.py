"""A target dies and comes back: it is left alone by all workers, and nobody waits for it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.reading import session
from tests.scrape import read_metrics
from tests.server import Served, scripted, serving
from tests.upstream.fake_provider import FakeProvider, Stall, Step, streamed, whole

WORKERS = 4
REST_S, REST_MAX_S = 2.0, 4.0
LATE_S = 1.3
"""Until every worker knows of a rest, by its next look."""
DEAD = whole(503, b'{"error":{"message":"down","type":"server_error","code":null}}')
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)
SAID = [CHUNK % (b'{"content":"back"}', b"null"), CHUNK % (b"{}", b'"stop"'), b"data: [DONE]\n\n"]


class Clocked(FakeProvider):
    """It knows when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at: list[float] = []

    def next_script(self) -> Sequence[Step]:
        self.asked_at.append(time.monotonic())
        return super().next_script()


def config(provider: str, *, retries: int = 0) -> str:
    return (
        f'[server]\nworkers = {WORKERS}\n[store]\npath = "data"\n'
        f'[providers.frail]\nkind = "openai"\nbase_url = "{provider}/v1"\n'
        f"retries = {retries}\nrest_after = 5\nrest_s = {REST_S}\nrest_max_s = {REST_MAX_S}\n"
        + scripted("sound", model="sound")
        + '[models.both]\ntargets = ["frail/m", "sound/usage"]\n'
        + '[models.alone]\ntargets = ["frail/m"]\n'
    )


async def create(url: str, model: str) -> tuple[int, str, str]:
    """On a connection of its own, so that any worker may have it: status, retry-after, body."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with session() as http, http.post(f"{url}/v1/chat/completions", json=body) as answer:
        return answer.status, answer.headers.get("retry-after", ""), await answer.text()


async def get(url: str, path: str) -> Any:
    async with session() as http, http.get(url + path) as answer:
        return await (answer.json() if path != "/metrics" else answer.text())


async def keep_asking(url: str, for_s: float) -> Counter[int]:
    """Twenty creates a second; how often each status."""
    until, asking = time.monotonic() + for_s, []
    while time.monotonic() < until:
        asking.append(asyncio.create_task(create(url, "both")))
        await asyncio.sleep(0.05)
    return Counter([status for status, _, _ in await asyncio.gather(*asking)])


def told(served: Served, fact: str) -> list[str]:
    return [line for line in served.log.read_text().splitlines() if f" {fact} " in line]


def test_of_all_workers_one_request_an_interval_reaches_a_dead_target(tmp_path: Path) -> None:
    async def story() -> None:
        async with Clocked.running() as frail:
            assert isinstance(frail, Clocked)
            frail.always_plays(DEAD)
            with serving(tmp_path, config(frail.url)) as served:
                statuses = await keep_asking(served.url, 13)
                assert set(statuses) == {200}, "the other target has answered all"
                (line,) = told(served, "target_rests")
                assert "target=frail/m" in line
                assert 'reason="provider_error 503"' in line
                begun = told(served, "stream_started")
                workers = {line.partition("worker=")[2].split()[0] for line in begun}
                assert len(workers) == WORKERS

                rests_at = frail.asked_at[4]
                probed_at = [at for at in frail.asked_at if at > rests_at + LATE_S]
                gaps = [b - a for a, b in zip([rests_at, *probed_at], probed_at, strict=False)]
                assert len(gaps) == 3, gaps  # 2, 4 and 4 s after each other; more are not due yet
                assert all(gap >= 0.95 * least for gap, least in zip(gaps, (2, 4, 4), strict=True))
                assert all(gap <= least + 1.5 for gap, least in zip(gaps, (2, 4, 4), strict=True))

                frail.always_plays(streamed(SAID))
                await keep_asking(served.url, REST_MAX_S + LATE_S)
                answers = [await create(served.url, "both") for _ in range(8)]
                assert all("back" in body for _, _, body in answers)
                assert len(told(served, "target_back")) == 1

    asyncio.run(story())


def test_where_all_rest_a_create_is_refused_at_once_and_told_when_to_come_back(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with FakeProvider.running() as frail:
            frail.always_plays(DEAD)
            with serving(tmp_path, config(frail.url, retries=2)) as served:
                while len(told(served, "target_rests")) == 0:
                    assert (await create(served.url, "alone"))[0] == 503
                await asyncio.sleep(LATE_S)
                asked, begun = len(frail.requests), time.monotonic()
                status, retry_after, body = await create(served.url, "alone")
                assert time.monotonic() - begun < 0.5
                assert len(frail.requests) - asked <= 1, "no more than a probe"
                if len(frail.requests) == asked:
                    assert (status, json.loads(body)["error"]["code"]) == (503, "targets_resting")
                    assert 1 <= int(retry_after) <= REST_MAX_S

                (target,) = (await get(served.url, "/v1/targets"))["data"]
                assert (target["provider"], target["model"]) == ("frail", "m")
                assert target["reason"] == "provider_error 503"
                scraped = read_metrics(await get(served.url, "/metrics"))
                where = {"provider": "frail", "model": "m"}
                assert scraped.total("midstream_target_resting", **where) == 1
                assert scraped.total("midstream_target_rests_total", **where) == 1

    asyncio.run(story())


def test_a_probe_that_nobody_waits_for_any_more_holds_up_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with Clocked.running() as frail:
            assert isinstance(frail, Clocked)
            frail.always_plays(DEAD)
            with serving(tmp_path, config(frail.url)) as served:
                for _ in range(5):
                    await create(served.url, "alone")
                await asyncio.sleep(LATE_S)
                frail.always_plays(streamed(SAID))
                frail.plays([Stall()])
                await cancelled_probe(served.url, frail)
                hung_at = frail.asked_at[-1]
                async with asyncio.timeout(3 * REST_S):
                    while (await create(served.url, "alone"))[0] != 200:
                        await asyncio.sleep(0.1)
                assert frail.asked_at[-1] - hung_at >= 0.95 * REST_S

    asyncio.run(story())


async def cancelled_probe(url: str, frail: Clocked) -> None:
    """Ask until one gets through, and cancel that one."""
    before = len(frail.asked_at)
    body = {"model": "alone", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"prefer": "respond-async"}
    async with session() as http, asyncio.timeout(10):
        while len(frail.asked_at) == before:
            asked = http.post(f"{url}/v1/chat/completions", json=body, headers=headers)
            async with asked as answer:
                stream = (await answer.json())["id"]
            await asyncio.sleep(0.2)
        async with http.post(f"{url}/v1/streams/{stream}/cancel") as answer:
            assert (await answer.json())["ending"] == "cancelled"
