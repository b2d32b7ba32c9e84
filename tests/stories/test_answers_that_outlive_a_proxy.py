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


def outer(url: str) -> str:
    return f"""
[store]
path = "outer-data"
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
            answers = asyncio.run(all_answers(front.url, 3, kill_and_restart))
            log = front.log.read_text()
        for dialect, some in answers.items():
            for seen in some:
                assert said(seen) == recorded(dialect), dialect
                assert [each.id for each in seen] == list(range(1, len(seen) + 1))
        assert log.count("ending=completed") == 9
        assert log.count("resumed_upstream") >= 9
        assert inner[1].log.read_text().count("took_over") == 9
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
