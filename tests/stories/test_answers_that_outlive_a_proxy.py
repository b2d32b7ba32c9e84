"""Two Midstreams in a row: the inner one is killed in the middle, and nobody notices."""

import asyncio
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.fleets import free_port
from tests.reading import Seen, ask, parse_sse, read_sse, session
from tests.server import RECORDINGS, Served, scripted, serving, start
from tests.serving.processes import workers_of

PACE = 60
LEASE_S = 1.0
EACH = 34
"""Answers in each dialect, so that the inner one dies in the middle of a hundred."""
INNER = f"""
[store]
path = "inner-data"
[streams]
takeover = true
lease_s = {LEASE_S}
""" + scripted("kept", model="kept", events_per_s=PACE, resumes=True)
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


CANCELLED_S = 2.0
"""A second is promised; another for a machine that runs other things too."""


def outer(url: str, more: str = "") -> str:
    return f"""
[store]
path = "outer-data"
{more}
[providers.openai]
kind = "openai"
base_url = "{url}/v1"
dialects = ["openai.chat", "openai.responses"]
[providers.anthropic]
kind = "anthropic"
base_url = "{url}"
[models."a/*"]
targets = ["anthropic/kept/*"]
[models."o/*"]
targets = ["openai/kept/*"]
"""


def body(model: str, dialect: str) -> dict[str, Any]:
    said = [{"role": "user", "content": "hi"}]
    asked = {"model": model, "stream": True}
    if dialect == "responses":
        return {**asked, "input": "hi"}
    if dialect == "chat":
        asked["stream_options"] = {"include_usage": True}
    return {**asked, "messages": said, "max_tokens": 4000}


async def answer(
    http: aiohttp.ClientSession, url: str, model: str, dialect: str, begun: list[str]
) -> list[Seen]:
    """The whole answer, on the one connection that asked for it."""
    async with http.post(url + PATHS[dialect], json=body(model, dialect)) as got:
        assert got.status == 200, await got.text()
        begun.append(dialect)
        return parse_sse(await got.read())


def recorded(dialect: str) -> list[bytes]:
    raw = (RECORDINGS / f"long.{dialect}.sse").read_bytes()
    return [line[6:] for line in raw.splitlines() if line.startswith(b"data: ")]


def said(seen: list[Seen]) -> list[bytes]:
    return [each.data.encode() if isinstance(each.data, str) else each.data for each in seen]


async def all_answers(
    url: str, each: int, middle: Any, dialects: tuple[str, ...] = tuple(PATHS)
) -> dict[str, list[list[Seen]]]:
    """Those of so many clients for each dialect; `middle` is called once all have begun to read."""
    begun: list[str] = []
    async with session() as http:
        models = {"chat": "o/long", "responses": "o/long", "messages": "a/long"}
        tasks = {
            dialect: [
                asyncio.create_task(answer(http, url, models[dialect], dialect, begun))
                for _ in range(each)
            ]
            for dialect in dialects
        }
        async with asyncio.timeout(30):
            while len(begun) < each * len(dialects):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(middle)
        return {dialect: await asyncio.gather(*some) for dialect, some in tasks.items()}


def test_an_inner_proxy_that_is_killed_and_restarted_costs_no_client_anything(
    tmp_path: Path,
) -> None:
    port = free_port()
    inner: list[Served] = [start(tmp_path, INNER, name="inner", port=port)]

    def kill_and_restart() -> None:
        inner[0].kill()
        time.sleep(0.5)
        inner.append(start(tmp_path, INNER, name="again", port=port))

    try:
        with serving(tmp_path, outer(f"http://127.0.0.1:{port}"), name="outer") as front:
            answers = asyncio.run(all_answers(front.url, EACH, kill_and_restart))
            log = front.log.read_text()
        for dialect, some in answers.items():
            for seen in some:
                assert said(seen) == recorded(dialect), dialect
                assert [each.id for each in seen] == list(range(1, len(seen) + 1))
        assert log.count("ending=completed") == EACH * len(PATHS)
        assert log.count("resumed_upstream") >= EACH * len(PATHS)
        assert inner[1].log.read_text().count("took_over") == EACH * len(PATHS)
    finally:
        for served in inner:
            if served.process.poll() is None:
                served.stop()


def test_a_worker_that_is_killed_leaves_its_streams_to_the_other_one(tmp_path: Path) -> None:
    config = "[server]\nworkers = 2\n" + INNER
    with serving(tmp_path, config) as served:

        async def scenario() -> list[list[Seen]]:
            async with session() as http:
                streams = [await ask(http, served.url, "kept/long") for _ in range(6)]
                await asyncio.sleep(1.0)
                os.kill(workers_of(served)[producer(served, streams[0])], signal.SIGKILL)
                return [await whole(http, served.url, stream) for stream in streams]

        for seen in asyncio.run(scenario()):
            assert said(seen) == recorded("chat")
            assert [each.id for each in seen] == list(range(1, len(seen) + 1))
        log = served.log.read_text()
        assert log.count("took_over") >= 1
        assert log.count("ending=completed") == 6
        assert "ending=interrupted" not in log


def test_what_a_killed_worker_was_told_by_a_provider_that_keeps_nothing_is_taken_up(
    tmp_path: Path,
) -> None:
    config = f"""
[server]
workers = 2
[store]
path = "data"
[streams]
takeover = true
lease_s = {LEASE_S}
""" + scripted("lost", model="lost", events_per_s=PACE)
    config = config.replace(
        'targets = ["lost/*"]', 'targets = ["lost/*"]\ncontinue_after_failure = true'
    )
    with serving(tmp_path, config) as served:

        async def scenario() -> list[tuple[list[Seen], dict[str, Any]]]:
            async with session() as http:
                streams = [await ask(http, served.url, "lost/long") for _ in range(6)]
                await asyncio.sleep(1.0)
                os.kill(workers_of(served)[producer(served, streams[0])], signal.SIGKILL)
                return [
                    (
                        await whole(http, served.url, stream),
                        await state_of(http, served.url, stream),
                    )
                    for stream in streams
                ]

        answers = asyncio.run(scenario())
        log = served.log.read_text()
    taken = [(seen, state) for seen, state in answers if len(state["legs"]) > 1]
    assert 1 <= len(taken) == log.count("took_over")
    for seen, state in answers:
        assert state["ending"] == "completed"
        assert [each.id for each in seen] == list(range(1, len(seen) + 1))
        seam = state["legs"][1]["after"] if len(state["legs"]) > 1 else len(seen)
        assert said(seen)[:seam] == recorded("chat")[:seam]
    for seen, state in taken:
        first, second = state["legs"]
        assert first["failure"] == "worker_died"
        assert 0 < second["after"] < len(seen)
        assert state["usage"]["output_tokens"] > second["usage"]["output_tokens"]


def producer(served: Served, stream: str) -> str:
    """The name of the worker that has the stream."""
    line = next(
        line
        for line in served.log.read_text().splitlines()
        if "stream_started" in line and stream in line
    )
    found = re.search(r"worker=(\d+)", line)
    assert found is not None, line
    return f"midstream-{found[1]}"


async def state_of(http: aiohttp.ClientSession, url: str, stream: str) -> Any:
    async with http.get(f"{url}/v1/streams/{stream}") as got:
        return await got.json()


async def whole(http: aiohttp.ClientSession, url: str, stream: str) -> list[Seen]:
    """All of its events, however often the line is cut meanwhile."""
    seen: list[Seen] = []
    for _ in range(50):
        after = len(seen)
        try:
            more = await read_sse(http, url, stream, after, None)
        except aiohttp.ClientError:
            more = []
            await asyncio.sleep(0.1)
        seen += more
        if seen and seen[-1].data == "[DONE]":
            return seen
    raise AssertionError(f"it ends at {len(seen)}")


async def cancelled(http: aiohttp.ClientSession, url: str, streams: list[str]) -> None:
    """Cancel all, and wait until they have ended so."""
    for stream in streams:
        async with http.post(f"{url}/v1/streams/{stream}/cancel") as got:
            assert got.status == 200
    await all_ended(http, url, streams)


async def all_ended(http: aiohttp.ClientSession, url: str, streams: list[str]) -> None:
    async with asyncio.timeout(CANCELLED_S):
        for stream in streams:
            while (await state_of(http, url, stream))["ending"] != "cancelled":
                await asyncio.sleep(0.02)


async def all_at(http: aiohttp.ClientSession, url: str) -> list[str]:
    async with http.get(f"{url}/v1/streams") as got:
        return [each["id"] for each in (await got.json())["data"]]


def test_a_cancel_reaches_the_inner_proxy_and_ends_the_wait_for_one_that_is_away(
    tmp_path: Path,
) -> None:
    inner = start(tmp_path, INNER, name="inner")
    try:
        with serving(tmp_path, outer(inner.url), name="outer") as front:

            async def scenario() -> None:
                async with session() as http:
                    streams = [await ask(http, front.url, "o/long") for _ in range(4)]
                    await asyncio.sleep(0.5)
                    await cancelled(http, front.url, streams[:2])
                    states = [
                        await state_of(http, inner.url, s) for s in await all_at(http, inner.url)
                    ]
                    assert [state["ending"] for state in states].count("cancelled") == 2
                    inner.kill()
                    await asyncio.sleep(1.0)
                    for stream in streams[2:]:
                        assert (await state_of(http, front.url, stream))["status"] == "running"
                    await cancelled(http, front.url, streams[2:])

            asyncio.run(scenario())
    finally:
        if inner.process.poll() is None:
            inner.stop()


def test_a_cancel_stops_what_a_heir_has_taken_over(tmp_path: Path) -> None:
    more = f"[server]\nworkers = 2\n[streams]\ntakeover = true\nlease_s = {LEASE_S}\n"
    with (
        serving(tmp_path, INNER, name="inner") as inner,
        serving(tmp_path, outer(inner.url, more), name="outer") as front,
    ):

        async def scenario() -> None:
            async with session() as http:
                streams = [await ask(http, front.url, "o/long") for _ in range(4)]
                await asyncio.sleep(0.5)
                os.kill(workers_of(front)[producer(front, streams[0])], signal.SIGKILL)
                async with asyncio.timeout(10):
                    while "took_over" not in front.log.read_text():
                        await asyncio.sleep(0.05)
                await cancelled(http, front.url, streams)
                await all_ended(http, inner.url, await all_at(http, inner.url))

        asyncio.run(scenario())
