"""`midstream tail`, as people run it, against a real server."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.policy.keys import digest
from proxy.store.embedded import EmbeddedServer
from tests.reading import Seen, read_poll, session
from tests.server import Served, scripted, serving, start
from tests.terminal.commands import ask as ask_for
from tests.terminal.commands import (
    at_terminal,
    begin,
    call,
    command,
    environment,
    run,
    text_of,
)

SECRET = "ms_a-secret-of-this-test"
UNKNOWN = "st_0123456789abcdefghijklmnop"
OVER = ("auto", "ws", "sse", "poll")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = (
        '[store]\nurl = "memory://"\n'
        + scripted()
        + scripted("slow", model="slow", events_per_s=50)
        + scripted("cut", model="cut", fault="cut", fault_after=3)
    )
    with serving(tmp_path_factory.mktemp("tail"), config) as served:
        yield served


def journal(url: str, stream: str) -> list[Seen]:
    async def read() -> list[Seen]:
        async with session() as http:
            return await read_poll(http, url, stream, 0, None)

    return asyncio.run(read())


def lines_of(events: list[Seen]) -> bytes:
    return "".join(f"{one.id}\t{one.name}\t{one.data}\n" for one in events).encode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def last_line(done: "subprocess.CompletedProcess[bytes]") -> str:
    return done.stderr.decode().rstrip("\n").rpartition("\n")[2]


# --- what it shows ------------------------------------------------------------------------------


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("model", ["said/unicode", "said/long"])
def test_the_text_and_the_events_are_exactly_the_journal_s(
    server: Served, tmp_path: Path, over: str, model: str
) -> None:
    stream = ask_for(server.url, model)

    text = run("tail", stream, "--url", server.url, "--over", over, folder=tmp_path)
    events = run("tail", stream, "--url", server.url, "--over", over, "--events", folder=tmp_path)

    expected = journal(server.url, stream)
    assert (text.returncode, events.returncode) == (0, 0), text.stderr
    assert text.stdout == text_of(expected).encode()
    assert events.stdout == lines_of(expected)
    assert last_line(text).startswith(f"· completed after {len(expected)} events")


def test_it_begins_after_the_event_that_is_named(server: Served, tmp_path: Path) -> None:
    stream = ask_for(server.url, "said/long")
    whole = journal(server.url, stream)

    for after in (1, 117, whole[-1].id):
        place = ("--after", str(after))
        done = run("tail", stream, "--url", server.url, *place, "--events", folder=tmp_path)
        assert done.stdout == lines_of(whole[after:])
        assert done.returncode == 0


def test_tools_and_reasoning_are_told_apart_from_the_text(server: Served, tmp_path: Path) -> None:
    said = {}
    for model, path in (
        ("reasoning", "/v1/chat/completions"),
        ("tool", "/v1/chat/completions"),
        ("two_tools", "/v1/messages"),
        ("thinking", "/v1/messages"),
    ):
        stream = ask_for(server.url, f"said/{model}", path=path)
        done = run("tail", stream, "--url", server.url, folder=tmp_path)
        assert done.returncode == 0
        said[model] = (done.stdout.decode(), done.stderr.decode())

    assert said["reasoning"][0] == "2+2 = 4"
    assert "\nThe user wants 2+2.\n" in said["reasoning"][1]
    assert said["two_tools"][0] == "I will look both up."
    assert '\n→ get_weather {"city": "Łódź", "days": 3}\n→ get_time {"zone"' in said["two_tools"][1]
    assert re.search(r"\n→ \w+ \{.*\}\n", said["tool"][1])
    assert said["thinking"][0]
    assert said["thinking"][0] not in said["thinking"][1]


def test_a_stream_that_did_not_complete_is_told_with_exit_code_1(
    server: Served, tmp_path: Path
) -> None:
    stream = ask_for(server.url, "cut/long")

    done = run("tail", stream, "--url", server.url, folder=tmp_path)

    assert done.returncode == 1
    assert done.stdout == text_of(journal(server.url, stream)).encode()
    assert re.search(
        r"· failed after 4 events; about \d+ tokens in, 4 out; provider_truncated: The provider",
        last_line(done),
    )


def test_at_a_terminal_all_but_the_text_is_dim_and_nothing_controls_it(
    server: Served, tmp_path: Path
) -> None:
    stream = ask_for(server.url, "said/reasoning")

    with at_terminal("tail", stream, "--url", server.url, folder=tmp_path) as terminal:
        assert terminal.read_to_end() == 0

    assert "\x1b[2mThe\x1b[0m" in terminal.raw
    assert "2+2" in terminal.raw
    assert re.search(r"\n2\+2 = 4\n· completed after 11 events", terminal.text)


def test_without_a_reader_it_ends_quietly(server: Served, tmp_path: Path) -> None:
    stream = ask_for(server.url, "slow/long")
    words = command("tail", stream, "--url", server.url, "--events")

    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"1\t")
        process.stdout.close()
        assert process.wait(20) == 1
        assert b"Traceback" not in (errors := process.stderr.read())
        assert b"Exception" not in errors


# --- breaks -------------------------------------------------------------------------------------


def wait_for_output(process: "subprocess.Popen[bytes]", bytes_min: int) -> bytes:
    assert process.stdout is not None
    return process.stdout.read(bytes_min)


def test_it_goes_on_where_it_was_when_its_server_is_killed_and_started_again(
    tmp_path: Path,
) -> None:
    """One server produces; the one that is read from dies twice, and is back each time."""
    store = EmbeddedServer(tmp_path / "store", on_trouble=pytest.fail)
    asyncio.run(store.start())
    config = f'[store]\nurl = "{store.url}"\n' + scripted("slow", model="slow", events_per_s=20)
    port = free_port()
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: asyncio.run(store.stop()))
        made_by = stack.enter_context(serving(tmp_path, config, name="maker"))
        read_from = start(tmp_path, config, name="reader", port=port)
        stack.callback(lambda: read_from.kill())  # noqa: PLW0108 - the one that is up then
        stream = ask_for(made_by.url, "slow/long")
        words = ("tail", stream, "--url", read_from.url)
        reading = {over: begin(*words, "--over", over, folder=tmp_path) for over in OVER}
        reading["events"] = begin(*words, "--events", folder=tmp_path)
        heard = {way: wait_for_output(process, 10) for way, process in reading.items()}
        for _ in range(2):
            read_from.kill()
            time.sleep(0.3)
            read_from = start(tmp_path, config, name="reader", port=port)
            time.sleep(1.5)
        done = {way: process.communicate(timeout=60) for way, process in reading.items()}
        expected = journal(made_by.url, stream)

    for way, (out, errors) in done.items():
        whole = lines_of(expected) if way == "events" else text_of(expected).encode()
        assert heard[way] + out == whole, way
        assert "line lost (" in errors.decode()
        assert "resumed after" in errors.decode()
        assert "· completed after 300 events" in errors.decode()
        assert reading[way].returncode == 0


def test_a_killed_server_on_an_embedded_store_leaves_an_end_that_is_told(tmp_path: Path) -> None:
    config = '[store]\npath = "data"\n[streams]\nlease_s = 1\n' + scripted(
        "slow", model="slow", events_per_s=20
    )
    port = free_port()
    served = start(tmp_path, config, port=port)
    stream = ask_for(served.url, "slow/long")
    reading = [
        begin("tail", stream, "--url", served.url, "--over", over, "--events", folder=tmp_path)
        for over in OVER
    ]
    heard = [wait_for_output(process, 10) for process in reading]
    served.kill()
    served = start(tmp_path, config, port=port)
    try:
        done = [process.communicate(timeout=60) for process in reading]
        expected = journal(served.url, stream)
    finally:
        served.stop()

    assert json.loads(expected[-1].data)["error"]["code"] == "stream_interrupted"
    for process, before, (out, errors) in zip(reading, heard, done, strict=True):
        assert before + out == lines_of(expected)
        assert f"· interrupted after {len(expected)} events" in errors.decode()
        assert process.returncode == 1


def test_ctrl_c_leaves_the_stream_alone_and_says_how_to_go_on(
    server: Served, tmp_path: Path
) -> None:
    stream = ask_for(server.url, "slow/long")

    process = begin("tail", stream, "--url", server.url, "--events", folder=tmp_path)
    first = wait_for_output(process, 2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)

    last_id = (first + out).rstrip(b"\n").rpartition(b"\n")[2].partition(b"\t")[0].decode()
    again = f"midstream tail {stream} --after {last_id} --events --url {server.url}"
    assert process.returncode == 130
    assert errors.decode().endswith(f"· the stream goes on; to see the rest: {again}\n")
    assert b"Traceback" not in errors
    assert call("GET", f"{server.url}/v1/streams/{stream}")["status"] == "running"
    rest = run(*again.split()[1:], folder=tmp_path)
    assert first + out + rest.stdout == lines_of(journal(server.url, stream))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize(
    ("stream", "place", "told"),
    [
        (UNKNOWN, "0", "(404): There is no such stream."),
        ("", "1000", "Event 1000 does not exist: the last event of this stream is "),
    ],
)
def test_a_final_refusal_is_one_sentence_and_exit_code_1(
    server: Served, tmp_path: Path, over: str, stream: str, place: str, told: str
) -> None:
    stream = stream or ask_for(server.url, "said/text")

    words = ("--url", server.url, "--after", place, "--over", over)
    done = run("tail", stream, *words, folder=tmp_path)

    assert done.returncode == 1
    assert done.stdout == b""
    assert told in last_line(done)
    assert last_line(done).startswith("midstream: ")


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    done = run("tail", UNKNOWN, "--url", url, folder=tmp_path)

    assert done.returncode == 1
    assert done.stderr.decode() == f"midstream: No connection to {url}: connection refused.\n"


def test_the_server_and_the_key_are_found_where_they_are_said_to_be(tmp_path: Path) -> None:
    config = '[store]\nurl = "memory://"\n' + scripted()
    config += f'[keys.app]\nsha256 = "{digest(SECRET).hex()}"\n'
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    with serving(tmp_path, config) as served:
        port = served.url.rpartition(":")[2]
        (tmp_path / "config.toml").write_text(f"[server]\nport = {port}\n")
        stream = ask_for(served.url, "said/text", headers={"x-api-key": SECRET})
        for over in OVER:
            for words, env in (
                ((), {"MIDSTREAM_KEY": SECRET}),
                (("--key", "env:OTHER"), {"OTHER": SECRET}),
                (("--key", "file:secret"), {}),
            ):
                done = run("tail", stream, "--over", over, *words, folder=tmp_path, env=env)
                assert (done.returncode, done.stdout) == (
                    0,
                    text_of_with_key(served.url, stream).encode(),
                )
        without = run("tail", stream, folder=tmp_path)
        unset = run("tail", stream, "--key", "env:NOTHING", folder=tmp_path)

    assert without.returncode == 1
    assert "(401): A key is needed" in without.stderr.decode()
    assert unset.returncode == 2
    assert unset.stderr.decode() == "midstream: --key: NOTHING is not set\n"


def text_of_with_key(url: str, stream: str) -> str:
    answer = call("GET", f"{url}/v1/streams/{stream}/response", headers={"x-api-key": SECRET})
    return str(answer["choices"][0]["message"]["content"])
