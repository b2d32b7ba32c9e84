"""Each of these was once wrong, and is told by what its user saw."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reading import ask, read_poll, session
from tests.server import Served, scripted, serving
from tests.stories.test_when_the_store_is_away import store_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = (
        '[store]\nurl = "memory://"\n[server]\nheaders_s = 0.5\n[streams]\nlease_s = 1\n'
        + scripted("said", model="said")
        + scripted("slow", model="slow", events_per_s=50)
    )
    with serving(tmp_path_factory.mktemp("small"), config) as served:
        yield served


def test_reading_the_answer_so_far_is_no_reader_that_leaves(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(
                http, server.url, "slow/text", headers={"Midstream-Detach": "cancel"}
            )
            async with http.get(f"{server.url}/v1/streams/{stream}/response") as answer:
                assert answer.status == 200
            journal = await read_poll(http, server.url, stream, 0, None)
            assert journal[-1].data == "[DONE]"

    asyncio.run(scenario())


def test_a_key_is_free_again_when_its_stream_is_kept_no_longer(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            body = {"model": "said/text", "stream": True, "messages": []}
            headers = {"Idempotency-Key": "short", "Midstream-Retention": "0"}
            streams = set()
            for _ in range(2):
                url = f"{server.url}/v1/chat/completions"
                async with http.post(url, json=body, headers=headers) as answer:
                    assert answer.status == 200
                    streams.add(answer.headers["Midstream-Stream"])
                    assert (await answer.read()).endswith(b"data: [DONE]\n\n")
            assert len(streams) == 2

    asyncio.run(scenario())


def test_a_line_end_after_the_body_does_not_cut_the_answer(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = b'{"model":"slow/long","stream":true,"messages":[]}'
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(5)
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        client.recv(10)
        client.sendall(b"\r\n")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert client.recv(65536)


def test_a_client_that_closes_and_takes_nothing_is_let_go(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    chunk = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":"%b"},"finish_reason":%b}]}\n\n'
    )
    (recordings / "big.chat.sse").write_bytes(
        chunk % (b"x" * 7_000_000, b"null") + chunk % (b"", b'"stop"') + b"data: [DONE]\n\n"
    )
    config = f"""
[store]
url = "memory://"
[streams]
reader_stall_s = 1.0
[providers.said]
kind = "scripted"
recordings = "{recordings}"
[models."said/*"]
targets = ["said/*"]
"""
    with serving(tmp_path, config) as served:

        async def made() -> str:
            async with session() as http:
                stream = await ask(http, served.url, "said/big")
                await read_poll(http, served.url, stream, 0, None)
                return stream

        stream = asyncio.run(made())
        host, port = served.url.removeprefix("http://").split(":")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host, int(port)))
            client.sendall(
                f"GET /v1/streams/{stream}/response HTTP/1.1\r\nHost: localhost\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            local = client.getsockname()[1]
            until = time.monotonic() + 10
            while f":{local:04X} " in _established(int(port)) and time.monotonic() < until:
                time.sleep(0.1)
            assert f":{local:04X} " not in _established(int(port))


def _established(port: int) -> str:
    """The server's connections: remote ports, in the kernel's own form."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return "".join(
        f"{row[2]} " for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"
    )


def test_readers_see_the_end_when_the_store_was_away_for_too_long(tmp_path: Path) -> None:
    config = (
        '[store]\nurl = "embedded"\npath = "data"\ntimeout_s = 0.5\ngrace_s = 1\n'
        "[streams]\nheartbeat_s = 1\nlease_s = 1\n"
        + scripted("slow", model="slow", events_per_s=20)
    )
    with serving(tmp_path, config) as served:

        async def scenario() -> None:
            async with session() as http:
                stream = await ask(http, served.url, "slow/long")
                url = f"{served.url}/v1/streams/{stream}/events"
                async with http.get(url, headers={"Accept": "text/event-stream"}) as answer:
                    await answer.content.readany()
                    store = store_of(served)
                    os.kill(store, signal.SIGSTOP)
                    await asyncio.sleep(4)
                    os.kill(store, signal.SIGCONT)
                    async with asyncio.timeout(15):
                        rest = await answer.read()
                assert b"stream_interrupted" in rest

        asyncio.run(scenario())
