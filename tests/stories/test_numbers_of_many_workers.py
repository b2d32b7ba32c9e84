"""An operator scrapes one address, and has the truth about all workers behind it."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.reading import ask, read_poll, read_sse, read_ws, session
from tests.scrape import Scraped, read_metrics
from tests.server import Served, scripted, serving
from tests.serving.processes import workers_of
from tests.talking import talking_openly

WORKERS = 3
INPUT, CACHED, OUTPUT = 2048, 1920, 4
"""What the recording ``usage`` says."""
QUICK = {"provider": "quick", "model": "quick/*"}

CONFIG = (
    f'[server]\nworkers = {WORKERS}\n[store]\npath = "data"\n'
    "[streams]\nheartbeat_s = 0.5\nlease_s = 2\n"
    + scripted("quick", model="quick")
    + scripted("slow", model="slow", events_per_s=40)
    + scripted("broken", model="broken", fault="status", fault_status=503, retries=0)
)


async def scrape(url: str) -> Scraped:
    """Of whichever worker has the new connection."""
    async with session() as http, http.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return read_metrics(await answer.text())


async def scraped_when(url: str, is_so: Callable[[Scraped], bool]) -> Scraped:
    over_at = time.monotonic() + 15
    while not is_so(scraped := await scrape(url)):
        assert time.monotonic() < over_at, scraped.samples
        await asyncio.sleep(0.05)
    return scraped


async def call(url: str, model: str, *, is_streamed: bool = True, **headers: str) -> int:
    """A call on a connection of its own, answered to the end."""
    body: dict[str, Any] = {"model": model, "stream": is_streamed, "messages": []}
    body |= {"stream_options": {"include_usage": True}} if is_streamed else {}
    async with session() as http:
        asked = http.post(f"{url}/v1/chat/completions", json=body, headers=headers)
        async with asked as answer:
            await answer.read()
            return answer.status


async def repeat(count: int, what: Callable[[], Awaitable[object]]) -> None:
    await asyncio.gather(*(what() for _ in range(count)))


async def read_over_all_transports(url: str) -> None:
    """One stream, from the beginning and then after its second event, three times."""
    async with session() as http:
        stream = await ask(http, url, "quick/usage")
        for read in (read_sse, read_ws):
            seen = await read(http, url, stream, 0, None)
            assert await read(http, url, stream, 2, None) == seen[2:]
        seen = await read_poll(http, url, stream, 0, None)
        assert await read_poll(http, url, stream, 2, None) == seen[2:]


async def create_over_ws(url: str) -> None:
    async with session() as http, talking_openly(http, url) as talk:
        for model in ("quick/usage", "nobody"):
            body: dict[str, Any] = {"model": model, "stream": True, "messages": []}
            await talk.say("create", ref=1, path="/v1/chat/completions", body=body)
            heard = await talk.hear()
            if heard["type"] == "created":
                await talk.hear_to_the_end()


async def cancel_one(url: str) -> None:
    async with session() as http:
        stream = await ask(http, url, "slow/long")
        await read_sse(http, url, stream, 0, 2)
        async with http.post(f"{url}/v1/streams/{stream}/cancel") as answer:
            assert (await answer.json())["ending"] == "cancelled"


async def usages(url: str) -> list[dict[str, Any]]:
    """What each stream has used, by its own account; those that used nothing left out."""
    async with session() as http, http.get(f"{url}/v1/streams?limit=100") as answer:
        streams = (await answer.json())["data"]
    return [stream["usage"] for stream in streams if stream["usage"] is not None]


def worker_of(served: Served, stream: str) -> int:
    """The process that produces `stream`."""
    log = served.log.read_text().splitlines()
    (line,) = (line for line in log if "stream_started" in line and stream in line)
    number = line.partition("worker=")[2].split()[0]
    return workers_of(served)[f"midstream-{number}"]


def test_the_sum_over_all_workers_is_exact_whoever_is_asked(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        await repeat(6, lambda: call(url, "quick/usage"))
        await repeat(3, lambda: call(url, "quick/usage", is_streamed=False))
        await repeat(2, lambda: call(url, "broken/text"))
        await repeat(2, lambda: call(url, "nobody"))
        await read_over_all_transports(url)
        await create_over_ws(url)
        await cancel_one(url)
        async with session() as http:
            await ask(http, url, "quick/usage")  # and nobody reads it
        first = await scraped_when(
            url, lambda scraped: scraped.total("midstream_streams_ended_total") == 15
        )
        await scraped_when(url, lambda scraped: scraped.total("midstream_wasted_streams_total") > 0)
        for _ in range(12):
            again = await scrape(url)
            for name in ("midstream_streams_ended_total", "midstream_tokens_total"):
                assert again.total(name) == first.total(name)
        check_streams(again)
        check_tokens(again, await usages(url))
        check_readers(again)

    with serving(tmp_path, CONFIG) as served:
        asyncio.run(scenario(served.url))


def test_what_is_made_after_its_last_reader_has_left_is_wasted(tmp_path: Path) -> None:
    config = '[store]\nurl = "memory://"\n' + scripted("slow", model="slow", events_per_s=200)

    async def scenario(url: str) -> None:
        async with session() as http:
            whole = await ask(http, url, "slow/long")
            await read_sse(http, url, whole, 0, None)
            stream = await ask(http, url, "slow/long")
            await read_sse(http, url, stream, 0, 10)
        told = await scraped_when(
            url, lambda scraped: scraped.total("midstream_wasted_tokens_total") > 0
        )
        made = (await usages(url))[0]["output_tokens"]
        assert 0.8 * made < told.total("midstream_wasted_tokens_total") < made
        assert told.total("midstream_wasted_streams_total") == 0

    with serving(tmp_path, config) as served:
        asyncio.run(scenario(served.url))


def check_streams(told: Scraped) -> None:
    """6 + 3 calls, 1 read over all transports, 1 over WebSocket, 1 unread; 2 broken, 1 cancelled."""
    ended = {
        ending: told.total("midstream_streams_ended_total", ending=ending)
        for ending in ("completed", "failed", "cancelled", "interrupted")
    }
    assert ended == {"completed": 12, "failed": 2, "cancelled": 1, "interrupted": 0}
    assert told.total("midstream_streams_started_total") == 15
    assert told.total("midstream_owner_streams_total", owner="local") == 15
    assert told.total("midstream_streams_running") == 0
    assert told.total("midstream_wasted_streams_total") == 1
    assert told.total("midstream_wasted_tokens_total", **QUICK) == OUTPUT
    assert told.total("midstream_creates_total", transport="http", status="2xx") == 12
    assert told.total("midstream_creates_total", transport="http", status="5xx") == 2
    assert told.total("midstream_creates_total", transport="http", status="4xx") == 2
    assert told.total("midstream_creates_total", transport="websocket", status="2xx") == 1
    assert told.total("midstream_creates_total", transport="websocket", status="4xx") == 1
    failed = {"provider": "broken", "status": "503"}
    assert told.total("midstream_provider_errors_total", **failed) == 2
    assert told.total("midstream_time_to_first_token_seconds_count", **QUICK) == 12
    assert told.total("midstream_stream_events_count") == 15
    assert told.total("midstream_workers") == WORKERS


def check_tokens(told: Scraped, said: Sequence[dict[str, Any]]) -> None:
    """What the streams say of themselves: 12 with a count, and a guess for the cancelled one."""
    for kind, tokens in (("input", INPUT), ("cached_input", CACHED), ("output", OUTPUT)):
        assert told.total("midstream_tokens_total", type=kind, **QUICK) == 12 * tokens
    (guess,) = (usage for usage in said if usage.get("is_estimate", False))
    assert guess["input_tokens"] > 0
    assert guess["output_tokens"] > 0
    for kind in ("input", "cached_input", "output", "reasoning"):
        tokens = sum(usage.get(f"{kind}_tokens", 0) for usage in said)
        assert told.total("midstream_tokens_total", type=kind) == tokens
        assert told.total("midstream_owner_tokens_total", type=kind, owner="local") == tokens
        guessed = told.total("midstream_guessed_tokens_total", type=kind, provider="slow")
        assert guessed == guess.get(f"{kind}_tokens", 0)
        assert told.total("midstream_guessed_tokens_total", type=kind) == guessed


def check_readers(told: Scraped) -> None:
    reads = {
        transport: told.total("midstream_reads_total", transport=transport)
        for transport in ("sse", "json", "websocket", "long_poll")
    }
    resumes = {
        transport: told.total("midstream_resumes_total", transport=transport)
        for transport in ("sse", "json", "websocket", "long_poll")
    }
    assert reads["json"] == 3
    assert reads["websocket"] == 3
    assert resumes == {"sse": 1, "json": 0, "websocket": 1, "long_poll": resumes["long_poll"]}
    assert reads["long_poll"] == resumes["long_poll"] + 1
    assert told.total("midstream_readers") == 0


def test_no_number_goes_backwards_when_workers_are_killed(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        url = served.url
        await repeat(6, lambda: call(url, "quick/usage"))
        before = await scraped_when(
            url, lambda scraped: scraped.total("midstream_streams_ended_total") == 6
        )
        for round_number in range(1, 4):
            async with session() as http:
                stream = await ask(http, url, "slow/long")
                await read_sse(http, url, stream, 0, 2)
            os.kill(worker_of(served, stream), signal.SIGKILL)
            after = await scraped_when(
                url,
                lambda scraped, dead=round_number: (  # type: ignore[misc]
                    scraped.total("midstream_streams_ended_total", ending="interrupted") == dead
                    and scraped.total("midstream_worker_deaths_total") == dead
                    and scraped.total("midstream_workers") == WORKERS
                ),
            )
            for series, number in before.growing().items():
                assert after.samples[series] >= number, series
            before = after
        assert before.total("midstream_streams_ended_total", ending="completed") == 6
        assert before.total("midstream_tokens_total", type="input") == 6 * INPUT
        assert before.total("midstream_streams_started_total") == 9
        assert before.total("midstream_streams_running") == 0
        assert before.total("midstream_readers") == 0

    async def patiently(served: Served) -> None:
        """A connection may reach the socket of a worker that is just dying."""
        try:
            await scenario(served)
        except aiohttp.ClientError as error:
            raise AssertionError(repr(error)) from error

    with serving(tmp_path, CONFIG) as served:
        asyncio.run(patiently(served))


def test_a_config_that_is_read_again_counts_once_not_once_for_each_worker(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        file = tmp_path / "server.toml"
        served.process.send_signal(signal.SIGHUP)
        await scraped_when(
            served.url,
            lambda told: told.total("midstream_config_reloads_total", result="accepted") == 1,
        )
        file.write_text("[server]\nnonsense = 1\n")
        served.process.send_signal(signal.SIGHUP)
        told = await scraped_when(
            served.url,
            lambda told: told.total("midstream_config_reloads_total", result="refused") > 0,
        )
        assert told.total("midstream_config_reloads_total") == 2

    with serving(tmp_path, CONFIG) as served:
        asyncio.run(scenario(served))


def test_with_keys_only_an_operators_may_ask(tmp_path: Path) -> None:
    config = (
        '[store]\nurl = "memory://"\n'
        '[keys.app]\nsecret = "env:APP"\n[keys.ops]\nsecret = "env:OPS"\nrole = "operator"\n'
    )

    async def scenario(url: str) -> None:
        async with session() as http:
            for secret, expected in ((None, 401), ("wrong", 401), ("app", 403), ("ops", 200)):
                for path in ("/metrics", "/dashboard/grafana.json"):
                    headers = {"x-api-key": f"a-long-enough-secret-of-{secret}"} if secret else {}
                    async with http.get(url + path, headers=headers) as answer:
                        assert answer.status == expected, (secret, path)

    env = {"APP": "a-long-enough-secret-of-app", "OPS": "a-long-enough-secret-of-ops"}
    with serving(tmp_path, config, env=env) as served:
        asyncio.run(scenario(served.url))
