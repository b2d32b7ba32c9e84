"""Several workers under a supervisor: a real one, with real signals."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.reading import Seen, ask, parse_sse, read_poll, session
from tests.server import RECORDINGS, Served, scripted, serving, start
from tests.serving.processes import children, family, is_alive, workers_of

WORKERS = 3


def configured(*, drain_s: float = 15) -> str:
    return (
        f"[server]\nworkers = {WORKERS}\ndrain_s = {drain_s}\n"
        '[store]\npath = "data"\n'
        "[streams]\nheartbeat_s = 0.5\nlease_s = 2\n"
        + scripted("slow", model="slow", events_per_s=60)
        + scripted("quick", model="quick")
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, configured()) as served:
        yield served


def until(is_so: Callable[[], bool], within_s: float = 10) -> None:
    over_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < over_at, "it did not happen"
        time.sleep(0.02)


def said() -> list[str]:
    raw = (RECORDINGS / "long.chat.sse").read_text()
    return [line[6:] for line in raw.split("\n") if line.startswith("data: ")]


def worker_of(served: Served, stream: str) -> int:
    """The number of the worker that produces `stream`, from the log."""
    for line in served.log.read_text().splitlines():
        if "stream_started" in line and stream in line:
            return int(line.partition("worker=")[2].split()[0])
    raise AssertionError("nobody started it")


async def ask_patiently(http: aiohttp.ClientSession, url: str, model: str) -> str:
    """As an SDK does: what is refused with a 503 is asked again, on another connection."""
    while True:
        body = {"model": model, "stream": True, "messages": []}
        asked = {"Prefer": "respond-async"}
        async with http.post(f"{url}/v1/chat/completions", json=body, headers=asked) as answer:
            if answer.status == 202:
                return str((await answer.json())["id"])
            assert answer.status == 503
            assert answer.headers["x-should-retry"] == "true"
            assert answer.headers["connection"] == "close"


async def read_sse_to_the_end(http: aiohttp.ClientSession, url: str, stream: str) -> list[Seen]:
    """As EventSource does: on again after whatever breaks, from the last id."""
    seen: list[Seen] = []
    while True:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen[-1].id if seen else 0)}
        raw = b""
        try:
            async with http.get(f"{url}/v1/streams/{stream}/events", headers=headers) as answer:
                if answer.status == 204:
                    return seen
                assert answer.status == 200, await answer.text()
                async for chunk in answer.content.iter_any():
                    raw += chunk
        except aiohttp.ClientConnectorError:  # it has ended, perhaps before it could say 204
            return seen
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
        seen += parse_sse(raw)
        await asyncio.sleep(0.05)


# --- starting -----------------------------------------------------------------------------------


def test_every_worker_serves_and_reads_the_others_streams(server: Served) -> None:
    assert sorted(workers_of(server)) == ["midstream-1", "midstream-2", "midstream-3"]
    assert f"{WORKERS} workers" in server.log.read_text()

    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, server.url, "quick/long")
        for _ in range(20):
            async with session() as http:  # a connection of its own
                seen = await read_poll(http, server.url, stream, 0, None)
                assert [each.data for each in seen] == said()

    asyncio.run(scenario())
    served_by = {
        line.partition("worker=")[2].split()[0]
        for line in server.log.read_text().splitlines()
        if " served " in line
    }
    assert len(served_by) == WORKERS


def serve_in_vain(folder: Path, port: str) -> "subprocess.CompletedProcess[str]":
    """`midstream serve`, where it cannot."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--config", "server.toml", "--port", port],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_port_in_use_is_one_clear_sentence_even_if_its_owner_would_share(
    server: Served, tmp_path: Path
) -> None:
    port = server.url.rpartition(":")[2]
    done = serve_in_vain(tmp_path, port)
    assert done.returncode == 1
    assert done.stderr == f"midstream: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_store_out_of_reach_is_told_once_and_ends_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = f'[server]\nworkers = 3\n[store]\nurl = "redis://127.0.0.1:{port}"\n' + scripted()
    (tmp_path / "server.toml").write_text(config)
    done = serve_in_vain(tmp_path, "0")
    assert done.returncode == 1
    assert done.stderr.count("The store cannot be reached.") == 1
    assert "listens" not in done.stderr


# --- dying --------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_its_readers_get_the_end_elsewhere(server: Served) -> None:
    lease_s = 2

    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, server.url, "slow/long")
            reading = asyncio.ensure_future(read_sse_to_the_end(http, server.url, stream))
            await asyncio.sleep(0.7)
            doomed = workers_of(server)[f"midstream-{worker_of(server, stream)}"]
            os.kill(doomed, signal.SIGKILL)
            killed_at = time.monotonic()
            seen = await reading
            assert time.monotonic() - killed_at < lease_s + 1 + 0.5  # and the way to the reader
            assert [each.id for each in seen] == list(range(1, len(seen) + 1))
            assert [each.data for each in seen[:-1]] == said()[: len(seen) - 1]
            assert "stream_interrupted" in seen[-1].data
            until(lambda: len(workers_of(server)) == WORKERS)
            assert doomed not in workers_of(server).values()

    asyncio.run(scenario())
    assert "worker_died" in server.log.read_text()
    assert "exit_code=-9" in server.log.read_text()


def test_a_worker_that_keeps_dying_is_started_ever_later(server: Served) -> None:
    begun = time.monotonic()
    dead: list[int] = []
    for _ in range(3):
        dead.append(workers_of(server)["midstream-1"])
        os.kill(dead[-1], signal.SIGKILL)
        until(lambda: workers_of(server).get("midstream-1", dead[-1]) not in dead)
    assert time.monotonic() - begun > 0.5 + 1.0


def test_a_worker_that_could_not_be_started_is_started_later(server: Served) -> None:
    """The process that forks workers dies just as it is asked for one."""
    dead = workers_of(server)["midstream-1"]
    forks = next(parent for parent in family(server.process.pid) if dead in children(parent))
    os.kill(forks, signal.SIGSTOP)
    os.kill(dead, signal.SIGKILL)
    time.sleep(2)  # beyond the second in which the exit code could still come
    os.kill(forks, signal.SIGKILL)
    until(lambda: workers_of(server).get("midstream-1", dead) != dead)


def test_a_dead_supervisor_takes_everything_along(tmp_path: Path) -> None:
    served = start(tmp_path, configured(drain_s=1))
    pids = family(served.process.pid)
    served.kill()
    until(lambda: not any(is_alive(pid) for pid in pids), 15)
    with serving(tmp_path, configured()) as again:  # neither port nor data are held
        assert len(workers_of(again)) == WORKERS


# --- stopping -----------------------------------------------------------------------------------


def test_stopped_it_finishes_its_answers_refuses_new_ones_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    served = start(tmp_path, configured())
    pids = family(served.process.pid)

    async def scenario() -> None:
        async with session() as http:
            streams = [await ask(http, served.url, "slow/long") for _ in range(9)]
            reading = [
                asyncio.ensure_future(read_sse_to_the_end(http, served.url, stream))
                for stream in streams
            ]
            await asyncio.sleep(0.5)
            served.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            async with http.get(f"{served.url}/readyz") as ready:
                assert ready.status == 503
                assert "draining" in await ready.text()
            body = {"model": "slow/long", "stream": True, "messages": []}
            async with http.post(f"{served.url}/v1/chat/completions", json=body) as refused:
                assert refused.status == 503
                assert refused.headers["retry-after"] == "1"
                assert refused.headers["connection"] == "close"
            for seen in await asyncio.gather(*reading):
                assert [each.data for each in seen] == said()

    try:
        asyncio.run(scenario())
        assert served.process.wait(20) == 0
    finally:
        served.kill()
    until(lambda: not any(is_alive(pid) for pid in pids))
    log = served.log.read_text()
    assert "internal_error" not in log
    assert "library" not in log, "uvicorn had nothing to complain of"


def test_a_second_signal_hurries(tmp_path: Path) -> None:
    served = start(tmp_path, configured(drain_s=60))

    async def begin() -> None:
        async with session() as http:
            await ask(http, served.url, "slow/long")

    try:
        asyncio.run(begin())
        served.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert served.process.poll() is None
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(5) == 0
    finally:
        served.kill()


def test_a_signal_to_all_its_processes_at_once_lets_nobody_wait_for_nothing(
    tmp_path: Path,
) -> None:
    """As systemd sends it."""
    served = start(tmp_path, configured())

    async def scenario() -> None:
        async with session() as http:
            streams = [await ask(http, served.url, "slow/long") for _ in range(6)]
            await asyncio.sleep(0.5)
            for pid in [served.process.pid, *workers_of(served).values()]:
                os.kill(pid, signal.SIGTERM)
            await asyncio.sleep(0.5)
            reading = [read_sse_to_the_end(http, served.url, stream) for stream in streams]
            async with asyncio.timeout(20):
                for seen in await asyncio.gather(*reading):
                    assert [each.data for each in seen] == said()

    try:
        asyncio.run(scenario())
        assert served.process.wait(20) == 0
    finally:
        served.kill()
    assert "worker_leaves" not in served.log.read_text(), "a successor would come for nothing"


def test_workers_stopped_in_turn_are_succeeded_and_nobody_notices(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            streams = [await ask(http, server.url, "slow/long") for _ in range(12)]
            reading = [
                asyncio.ensure_future(read_sse_to_the_end(http, server.url, stream))
                for stream in streams
            ]
            for pid in workers_of(server).values():
                os.kill(pid, signal.SIGTERM)
                await asyncio.sleep(1.0)
                made = {await ask_patiently(http, server.url, "quick/long") for _ in range(6)}
                assert len(made) == 6
            for seen in await asyncio.gather(*reading):
                assert [each.data for each in seen] == said()

    asyncio.run(scenario())
    assert server.log.read_text().count("worker_leaves") == WORKERS
    assert "worker_died" not in server.log.read_text()


# --- reloading ----------------------------------------------------------------------------------


def test_a_reload_reaches_every_worker_and_a_bad_file_changes_nothing(
    server: Served, tmp_path: Path
) -> None:
    file = tmp_path / "server.toml"

    async def statuses(model: str) -> set[int]:
        found = set()
        for _ in range(20):
            async with session() as http:
                body = {"model": model, "messages": []}
                async with http.post(f"{server.url}/v1/chat/completions", json=body) as answer:
                    found.add(answer.status)
        return found

    assert asyncio.run(statuses("new/text")) == {404}
    before = file.read_text()
    file.write_text(before + scripted("more", model="new") + "[streams.nonsense]\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "config_refused" in server.log.read_text())
    assert asyncio.run(statuses("new/text")) == {404}

    changed = before.replace("lease_s = 2", "lease_s = 3")
    file.write_text(changed + scripted("more", model="new"))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.log.read_text().count(" reloaded ") == WORKERS)
    assert asyncio.run(statuses("new/text")) == {200}
    assert 'needs_restart="[streams] lease_s"' in server.log.read_text()


def test_a_worker_that_stands_still_holds_up_neither_reloads_nor_the_stop(
    server: Served, tmp_path: Path
) -> None:
    file = tmp_path / "server.toml"
    frozen = workers_of(server)["midstream-1"]
    os.kill(frozen, signal.SIGSTOP)
    try:
        text = file.read_text()
        for number in range(12):
            file.write_text(text + f"# {number} {'x' * 60_000}\n")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: server.log.read_text().count(" reloaded ") >= (number + 1) * 2)  # noqa: B023
    finally:
        os.kill(frozen, signal.SIGCONT)
    until(
        lambda: any(
            " reloaded " in line and "worker=1" in line
            for line in server.log.read_text().splitlines()
        )
    )
    assert server.stop() == 0
