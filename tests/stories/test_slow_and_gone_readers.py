"""A reader that takes nothing is dropped and hurts nobody; one that has gone leaves nothing behind."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reading import ask, read_poll, read_sse, session
from tests.server import Served, serving

EVENTS = 20_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("slow")
    recordings = folder / "recordings"
    recordings.mkdir()
    write_big_recording(recordings / "big.chat.sse")
    config = f"""
[store]
url = "memory://"
[streams]
reader_stall_s = 1.0
heartbeat_s = 0.2
[server]
headers_s = 0.5
[providers.said]
kind = "scripted"
events_per_s = 100000
recordings = "{recordings}"
[models."said/*"]
targets = ["said/*"]
"""
    with serving(folder, config) as served:
        yield served


def write_big_recording(file: Path, events: int = EVENTS) -> None:
    """Some 20 MB unless told: more than kernel and connection hold."""
    chunk = (
        'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        '[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
    )
    with file.open("w") as out:
        out.writelines(chunk % ("x" * 900) for _ in range(events))
        out.write(
            'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
            '[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        )


def connect(served: Served, stream: str, *, after: int = 0) -> socket.socket:
    """An SSE connection of which nobody reads a byte."""
    host, port = served.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.sendall(
        f"GET /v1/streams/{stream}/events?after={after} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Accept: text/event-stream\r\n\r\n".encode()
    )
    return client


def connections(served: Served) -> int:
    """How many sockets the server holds open."""
    count = 0
    for each in Path(f"/proc/{served.process.pid}/fd").iterdir():
        try:
            count += each.readlink().name.startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def rss_bytes(served: Served) -> int:
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    line = next(line for line in status.split("\n") if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_stalled_readers_are_dropped_while_others_read_on(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, server.url, "said/big")
            journal = await read_poll(http, server.url, stream, 0, None)
            before, rss = connections(server), rss_bytes(server)
            stalled = [connect(server, stream) for _ in range(50)]
            try:
                whole = await read_sse(http, server.url, stream, 0, None)
                assert whole == journal
                assert rss_bytes(server) - rss < 64 * 1024 * 1024
                until = time.monotonic() + 10
                while connections(server) > before + 1 and time.monotonic() < until:
                    await asyncio.sleep(0.1)
                assert connections(server) <= before + 1
            finally:
                for client in stalled:
                    client.close()

    asyncio.run(scenario())


def test_a_slow_reader_that_goes_on_reading_gets_everything(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, server.url, "said/big")
            url = f"{server.url}/v1/streams/{stream}/events"
            size = 0
            async with http.get(url, headers={"Accept": "text/event-stream"}) as answer:
                async for chunk in answer.content.iter_chunked(1024 * 1024):
                    size += len(chunk)
                    await asyncio.sleep(0.15)
            assert size > EVENTS * 900

    asyncio.run(scenario())


def test_a_reader_far_behind_a_full_kernel_buffer_is_not_taken_for_a_stalled_one(
    server: Served,
) -> None:
    async def scenario() -> str:
        async with session() as http:
            return await ask(http, server.url, "said/big")

    with connect(server, asyncio.run(scenario())) as client:
        client.settimeout(2)
        size = 0
        for _ in range(24):  # 8 KB a second: the kernel has more than that for several stalls
            time.sleep(0.25)
            size += len(client.recv(2000))
        while size < 4_000_000:  # it was not dropped: there is more than any kernel had
            piece = client.recv(1024 * 1024)
            assert piece, f"dropped after {size} bytes"
            size += len(piece)


def test_readers_that_come_and_go_leave_no_connection(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, server.url, "said/big")
            await read_poll(http, server.url, stream, 0, 1)
            before = connections(server)
            for _ in range(100):
                connect(server, stream, after=3).close()
            until = time.monotonic() + 15
            while connections(server) > before and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert connections(server) <= before

    asyncio.run(scenario())


def test_a_request_that_drips_is_cut_off(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(5)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Drip: ")
        begun = time.monotonic()
        try:
            answer = client.recv(100)
        except ConnectionResetError:
            answer = b""
        assert answer == b""
        assert time.monotonic() - begun < 3


def test_a_flood_of_headers_is_431_and_costs_no_memory(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    before = rss_bytes(server)
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(5)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(OSError):
            for n in range(600):
                client.sendall(b"X-%d: " % n + b"y" * 65_000 + b"\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100).startswith(b"HTTP/1.1 431")
    assert rss_bytes(server) - before < 8 * 1024 * 1024
