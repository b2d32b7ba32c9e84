"""`midstream top`, as people run it, against a real server."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.policy.keys import digest
from tests.server import Served, scripted, serving, start
from tests.terminal.commands import ask, at_terminal, begin, call, run

OPERATOR, USER = "ms_an-operator-of-this-test", "ms_a-user-of-this-test"
CONFIG = (
    '[store]\nurl = "memory://"\n'
    + scripted("slow", model="slow", events_per_s=20)
    + scripted()
    + f'[keys.ops]\nsha256 = "{digest(OPERATOR).hex()}"\nrole = "operator"\n'
    + f'[keys.shop]\nsha256 = "{digest(USER).hex()}"\n'
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("top"), CONFIG) as served:
        yield served


def make_stream(url: str, key: str, tag: str, model: str = "slow/long") -> str:
    return ask(url, model, headers={"x-api-key": key, "midstream-tag": tag})


def look(url: str, key: str, folder: Path, *words: str) -> Any:
    done = run(
        "top", "--once", "--json", "--url", url, *words, folder=folder, env={"MIDSTREAM_KEY": key}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_operator_sees_workers_everybody_s_streams_their_pace_and_readers(
    server: Served, tmp_path: Path
) -> None:
    mine = make_stream(server.url, OPERATOR, "mine")
    theirs = make_stream(server.url, USER, "theirs")
    ended = make_stream(server.url, USER, "ended", model="said/text")
    reading = begin(
        "tail", theirs, "--url", server.url, "--key", "file:key", folder=_with_key(tmp_path)
    )
    try:
        assert reading.stdout is not None
        reading.stdout.read(1)
        time.sleep(2.2)  # until the worker has reported it
        seen = look(server.url, OPERATOR, tmp_path)
    finally:
        reading.kill()
        reading.communicate()
        for stream in (mine, theirs):
            _cancel(server.url, stream)

    running = {stream["id"]: stream for stream in seen["streams"]}
    assert running.keys() >= {mine, theirs}
    assert running[theirs]["owner"] == "shop"
    assert running[theirs]["tag"] == "theirs"
    assert running[theirs]["model"] == "slow/long"
    assert (running[mine]["readers"], running[theirs]["readers"]) == (0, 1)
    assert 10 < running[theirs]["events_per_s"] < 30
    (worker,) = seen["workers"]
    assert worker["pid"] == server.process.pid
    assert worker["streams"] >= 2
    assert worker["readers"] >= 1
    assert not worker["draining"]
    assert ended in {stream["id"] for stream in seen["ended"]}


def _with_key(folder: Path) -> Path:
    (folder / "key").write_text(USER)
    return folder


def _cancel(url: str, stream: str) -> None:
    call("POST", f"{url}/v1/streams/{stream}/cancel", headers={"x-api-key": OPERATOR})


def test_a_user_sees_its_own_and_no_workers(server: Served, tmp_path: Path) -> None:
    mine = make_stream(server.url, OPERATOR, "mine")
    theirs = make_stream(server.url, USER, "theirs")

    seen = look(server.url, USER, tmp_path)

    for stream in (mine, theirs):
        _cancel(server.url, stream)
    assert seen["workers"] is None
    assert theirs in {stream["id"] for stream in seen["streams"]}
    assert {stream["owner"] for stream in (*seen["streams"], *seen["ended"])} == {"shop"}


def test_in_a_pipe_it_prints_one_plain_table(server: Served, tmp_path: Path) -> None:
    stream = make_stream(server.url, OPERATOR, "in-a-pipe")

    env = {"MIDSTREAM_KEY": OPERATOR, "COLUMNS": "140"}
    done = run("top", "--url", server.url, folder=tmp_path, env=env)

    _cancel(server.url, stream)
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert re.search(
        rf"{stream} +in-a-pipe +ops +slow/long +slow +\d+s +\d+ +\d+ +0 +running", text
    )
    assert re.search(r"pid \d+  up \d+s", text)


def test_the_live_picture_goes_on_through_a_restart_and_q_leaves(tmp_path: Path) -> None:
    config = CONFIG.partition("[keys.ops]")[0]
    served = start(tmp_path, config)
    port = int(served.url.rpartition(":")[2])
    try:
        first = ask(served.url, "slow/long")
        words = ("top", "--every", "0.3", "--url", served.url)
        with at_terminal(*words, folder=tmp_path) as terminal:
            terminal.read_until(first)
            assert "\x1b[?1049h" in terminal.raw
            terminal.read_until(r" (19|20|21) +\S* +running")
            served.kill()
            terminal.read_until("connection refused; trying again")
            served = start(tmp_path, config, port=port)
            second = ask(served.url, "slow/long")
            terminal.read_until(second)
            terminal.press("s")
            terminal.read_until("by rate")
            terminal.resize(60, 10)
            terminal.press("q")
            assert terminal.read_to_end() == 0
            assert terminal.raw.rpartition("\x1b[?1049l")[1]
    finally:
        served.kill()


@pytest.mark.parametrize("words", [(), ("--once",), ("--json",)])
def test_a_server_that_is_not_there_or_refuses_is_one_sentence(
    server: Served, tmp_path: Path, words: tuple[str, ...]
) -> None:
    nobody = run("top", "--url", "http://127.0.0.1:1", *words, folder=tmp_path)
    refused = run("top", "--url", server.url, *words, folder=tmp_path)

    assert (nobody.returncode, refused.returncode) == (1, 1)
    assert nobody.stderr == b"midstream: No connection to http://127.0.0.1:1: connection refused.\n"
    assert b"refuses (401): A key is needed" in refused.stderr


def test_every_worker_is_there_and_one_that_is_stopped_is_gone_at_once(tmp_path: Path) -> None:
    config = '[server]\nworkers = 2\n[store]\npath = "data"\n' + scripted()
    with serving(tmp_path, config) as served:
        until = time.monotonic() + 10
        while len(found := _pids(served.url)) < 2:
            assert time.monotonic() < until, found
            time.sleep(0.1)
        stopped = found[0]
        os.kill(stopped, signal.SIGTERM)
        while stopped in (found := _pids(served.url)) or len(found) < 2:
            assert time.monotonic() < until, found
            time.sleep(0.1)
        done = run("top", "--url", served.url, folder=tmp_path)

    assert b"2 workers" in done.stdout
    assert all(b"pid %d " % pid in done.stdout for pid in found)


def _pids(url: str) -> list[int]:
    return [worker["pid"] for worker in call("GET", f"{url}/v1/workers")["data"]]
