"""A WebSocket whose client is slow, dead, loud or greedy, and one whose server leaves."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.reading import ask, read_poll, read_ws, session
from tests.server import Served, scripted, serving
from tests.stories.test_slow_and_gone_readers import (
    EVENTS,
    connections,
    rss_bytes,
    write_big_recording,
)
from tests.talking import refused, talking_openly

HEARTBEAT_S = 1.0
STALL_S = 2.0
HANDSHAKE = (
    "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("suffering")
    recordings = folder / "recordings"
    recordings.mkdir()
    write_big_recording(recordings / "big.chat.sse")
    config = f"""
[store]
url = "memory://"
[streams]
reader_stall_s = {STALL_S}
heartbeat_s = {HEARTBEAT_S}
[server]
headers_s = 0.5
body_s = 1.0
message_bytes_max = 100000
connections_max = 60
[providers.big]
kind = "scripted"
events_per_s = 100000
recordings = "{recordings}"
[models."big/*"]
targets = ["big/*"]
"""
    config += scripted() + scripted("slow", model="slow", events_per_s=20)
    with serving(folder, config) as served:
        yield served


def masked(payload: bytes, opcode: int = 1, *, is_last: bool = True) -> bytes:
    """A client's frame, with a mask of zeros."""
    assert len(payload) < 126
    head = bytes([(0x80 if is_last else 0) | opcode, 0x80 | len(payload)])
    return head + b"\0\0\0\0" + payload


def raw(
    served: Served, *, path: str = "/v1/ws", receive_bytes: int = 0, more_headers: str = ""
) -> socket.socket:
    """A connection after its handshake, on which nobody answers pings."""
    host, port = served.url.removeprefix("http://").split(":")
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(10)
    client.connect((host, int(port)))
    client.sendall((HANDSHAKE.replace("/v1/ws", path) + more_headers + "\r\n").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    return client


def to_the_end(client: socket.socket) -> bytes:
    """All that still comes; a reset is an end."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            got += piece
    return got


async def until_closed(served: Served, count: int, within_s: float) -> None:
    until = time.monotonic() + within_s
    while connections(served) > count and time.monotonic() < until:
        await asyncio.sleep(0.05)
    assert connections(served) <= count


# --- slow -----------------------------------------------------------------------------------------


def test_a_long_replay_does_not_hold_up_a_live_stream_beside_it(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, talking_openly(http, server.url) as talk:
            big = await ask(http, server.url, "big/big")
            await read_poll(http, server.url, big, 0, 1)
            live = await ask(http, server.url, "slow/text")
            await talk.say("subscribe", stream=live)
            await talk.say("subscribe", stream=big)
            ids: dict[str, list[int]] = {live: [], big: []}
            big_before_live: list[int] = []
            ended: set[str] = set()
            while len(ended) < 2:
                said = await talk.hear()
                if said["type"] == "end":
                    ended.add(said["stream"])
                    continue
                ids[said["stream"]].append(said["id"])
                if said["stream"] == live:
                    big_before_live.append(len(ids[big]))
                if len(ids[big]) % 500 == 0:
                    await asyncio.sleep(0.02)  # a client that takes its time
            assert ids[big] == list(range(1, EVENTS + 3))
            assert ids[live] == list(range(1, len(ids[live]) + 1))
            in_between = [count for count in big_before_live if 0 < count < EVENTS]
            assert len(in_between) >= 3, big_before_live

    asyncio.run(scenario())


def test_a_client_that_never_reads_is_dropped_and_others_do_not_notice(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, server.url, "big/big")
            journal = await read_poll(http, server.url, stream, 0, None)
            before, rss = connections(server), rss_bytes(server)
            subscribe = json.dumps({"type": "subscribe", "stream": stream}).encode()
            stalled = [raw(server, receive_bytes=4096) for _ in range(20)]
            try:
                for client in stalled:
                    client.sendall(masked(subscribe))
                assert await read_ws(http, server.url, stream, 0, None) == journal
                assert rss_bytes(server) - rss < 32 * 1024 * 1024
                await until_closed(server, before + 1, 15)
            finally:
                for client in stalled:
                    client.close()

    asyncio.run(scenario())


def test_a_client_that_stalls_and_wakes_in_time_hears_4408_behind_what_it_was_sent(
    server: Served,
) -> None:
    async def scenario() -> None:
        async with session() as http:
            stream = await ask(http, server.url, "big/big")
            await read_poll(http, server.url, stream, 0, None)
        client = raw(server, receive_bytes=4096)
        client.sendall(masked(json.dumps({"type": "subscribe", "stream": stream}).encode()))
        await asyncio.sleep(STALL_S * 1.5)  # closed by then, not yet dropped
        got = await asyncio.to_thread(to_the_end, client)
        client.close()
        assert (4408).to_bytes(2, "big") in got[-125:]

    asyncio.run(scenario())


# --- dead -----------------------------------------------------------------------------------------


def test_a_client_that_answers_no_ping_is_gone_within_two_heartbeats(server: Served) -> None:
    client = raw(server)
    begun = time.monotonic()
    got = to_the_end(client)
    client.close()
    assert HEARTBEAT_S < time.monotonic() - begun < 2 * HEARTBEAT_S + 1
    assert (1011).to_bytes(2, "big") in got


def test_a_client_whose_process_stands_still_is_gone_too(server: Served) -> None:
    program = (
        "import asyncio, aiohttp, sys\n"
        "async def main():\n"
        "    async with aiohttp.ClientSession() as http:\n"
        f"        async with http.ws_connect('{server.url}/v1/ws') as ws:\n"
        "            print(await ws.receive_str(), flush=True)\n"
        "            await ws.receive()\n"
        "asyncio.run(main())\n"
    )

    before = connections(server)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        time.sleep(3 * HEARTBEAT_S)
        assert connections(server) == before + 1  # it answers pings
        os.kill(process.pid, signal.SIGSTOP)
        asyncio.run(until_closed(server, before, 2 * HEARTBEAT_S + 1))
    finally:
        process.kill()
        process.communicate()


def test_a_client_that_is_silent_but_answers_pings_stays(tmp_path: Path) -> None:
    """Through every deadline of a request, of which none holds any more."""

    async def scenario(url: str) -> None:
        async with session() as http, talking_openly(http, url) as talk:
            waiting = asyncio.create_task(talk.hear())
            await asyncio.sleep(33)
            assert not waiting.done()
            await talk.say("ping")
            assert (await waiting)["type"] == "pong"

    config = '[store]\nurl = "memory://"\n[streams]\nheartbeat_s = 5\nreader_stall_s = 2\n'
    config += "[server]\nheaders_s = 1\nbody_s = 2\n"
    with serving(tmp_path, config) as served:
        asyncio.run(scenario(served.url))


def test_a_message_that_comes_slower_than_pings_is_still_heard(server: Served) -> None:
    client = raw(server)
    message = masked(b'{"type":"ping","ref":"slow"}')
    for at in range(0, len(message), 4):
        client.sendall(message[at : at + 4])
        time.sleep(0.3)
    got = b""
    while b'"ref":"slow"' not in got:
        got += client.recv(1000)
    client.close()


# --- loud -----------------------------------------------------------------------------------------


def test_a_binary_message_is_4400_and_too_large_a_one_1009(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            async with talking_openly(http, server.url) as talk:
                await talk.ws.send_bytes(b'{"type":"ping"}')
                assert await talk.closed() == 4400
            async with talking_openly(http, server.url) as talk:
                await talk.ws.send_str(" " * 99_985 + '{"type":"ping"}')
                assert (await talk.hear())["type"] == "pong"
                await talk.ws.send_str(" " * 99_986 + '{"type":"ping"}')
                assert await talk.closed() == 1009

    asyncio.run(scenario())


def test_a_flood_of_messages_is_4429(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, talking_openly(http, server.url) as talk:
            for _ in range(1000):
                await talk.say("ping")
            assert await talk.closed() == 4429

    with contextlib.suppress(aiohttp.ClientConnectionResetError):  # it closed while we spoke
        asyncio.run(scenario())


def test_a_client_that_creates_and_never_reads_has_no_more_streams_than_one_that_does(
    server: Served,
) -> None:
    async def begin() -> str:
        async with session() as http:
            return await ask(http, server.url, "big/big")

    big = asyncio.run(begin())
    create = b'{"type":"create","path":"/v1/chat/completions","body":%b}'
    body = b'{"model":"slow/text","messages":[]}'
    before = server.log.read_text().count("model=slow/text")
    with raw(server, receive_bytes=2048) as client:
        client.sendall(masked(b'{"type":"subscribe","stream":"%b"}' % big.encode()))
        for _ in range(3):
            time.sleep(0.4)
            client.sendall(masked(create % body) * 60)
        time.sleep(0.4)
    assert server.log.read_text().count("model=slow/text") - before < 100


def test_a_flood_of_pings_and_of_empty_parts_costs_no_memory(server: Served) -> None:
    before = rss_bytes(server)
    for piece in (masked(b"p" * 100, 9), masked(b"", 0, is_last=False)):
        client = raw(server, receive_bytes=4096)
        client.sendall(masked(b"{", 1, is_last=False))
        client.settimeout(1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(40):
                client.sendall(piece * 5000)  # and nothing is read
        client.close()
    assert rss_bytes(server) - before < 24 * 1024 * 1024


def test_a_subscription_that_is_taken_back_in_the_same_breath_leaves_no_trace(
    server: Served,
) -> None:
    stream = json.dumps("st_" + "0" * 26).encode()
    both = [masked(b'{"type":"%bsubscribe","stream":%b}' % (un, stream)) for un in (b"", b"un")]
    client = raw(server)
    client.sendall(b"".join(both))
    got = b""
    while b'"unsubscribed"' not in got:
        got += client.recv(1000)
    client.close()
    assert b'"error"' not in got
    assert "never awaited" not in server.log.read_text()


# --- greedy ---------------------------------------------------------------------------------------


def test_a_handshake_has_the_limits_of_any_request(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for more in ("x-a: " + "y" * 40_000, "\r\n".join(f"x-{n}: y" for n in range(120))):
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(5)
            client.sendall((HANDSHAKE + more + "\r\n\r\n").encode())
            assert client.recv(100).startswith(b"HTTP/1.1 431")
    raw(server, more_headers="cookie: " + "z" * 20_000 + "\r\n").close()  # within them


def test_a_handshake_with_a_bad_key_is_400_and_one_of_another_version_426(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for old, new, status in (
        ("AAAAAAAAAAAAAAAAAAAAAA==", "AAAA", 400),
        ("Version: 13", "Version: 8", 426),
        ("Connection: Upgrade", "Connection: keep-alive", 426),
        ("GET ", "POST ", 405),
    ):
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(5)
            client.sendall((HANDSHAKE.replace(old, new) + "\r\n").encode())
            assert client.recv(100).startswith(b"HTTP/1.1 %d" % status), new


def test_who_speaks_before_the_handshake_is_answered_is_not_heard(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(5)
        client.sendall((HANDSHAKE + "\r\n").encode() + masked(b'{"type":"ping"}'))
        assert b'"pong"' not in to_the_end(client)


def test_more_connections_than_configured_are_503(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, contextlib.AsyncExitStack() as stack:
            status = 0
            for _ in range(61):
                try:
                    await stack.enter_async_context(talking_openly(http, server.url))
                except aiohttp.WSServerHandshakeError as error:
                    status = error.status
                    break
            assert status == 503

    asyncio.run(scenario())


# --- when the server leaves -----------------------------------------------------------------------


def test_when_a_worker_stops_its_clients_are_sent_elsewhere_with_1001(tmp_path: Path) -> None:
    config = '[store]\nurl = "memory://"\n[server]\ndrain_s = 2\n'
    config += scripted("held", model="held", fault="stall", fault_after=3)

    async def scenario(served: Served) -> None:
        async with session() as http:
            async with (
                talking_openly(http, served.url) as idle,
                talking_openly(http, served.url) as reading,
            ):
                stream = await ask(http, served.url, "held/long")
                await reading.say("subscribe", stream=stream)
                assert [(await reading.hear())["id"] for _ in range(3)] == [1, 2, 3]
                served.process.send_signal(signal.SIGTERM)
                assert await idle.closed() == 1001
                assert await reading.closed() == 1001
            async with talking_openly(http, served.url) as back:  # there is nowhere else
                body = {"model": "held/long", "messages": []}
                refusal = await back.ask("create", path="/v1/chat/completions", body=body)
                assert refusal["code"] == "draining"
                await back.say("subscribe", stream=stream, after=3)
                assert (await back.hear())["id"] == 4  # how it was interrupted
                assert (await back.hear())["ending"] == "interrupted"
                assert await back.closed() == 1001

    with serving(tmp_path, config) as served:
        asyncio.run(scenario(served))
        assert served.process.wait(10) == 0


def test_a_refused_handshake_leaves_no_connection_and_no_error_in_the_log(server: Served) -> None:
    async def scenario() -> None:
        before = connections(server)
        async with session() as http:
            for _ in range(20):
                assert await refused(http, server.url, protocols=("other",)) == 400
            await until_closed(server, before, 5)

    asyncio.run(scenario())
    assert " error " not in server.log.read_text()
