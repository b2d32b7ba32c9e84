"""A Responses WebSocket with a client that is slow, loud, hostile or no longer welcome."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.policy.keys import digest
from tests.lanes import journal_of, lanes
from tests.reading import session
from tests.server import RECORDINGS, Served, scripted, serving
from tests.stories.test_websocket_that_suffers import masked, raw, to_the_end

ANN, BOB = "ms_ann-secret-000", "ms_bob-secret-000"
HEARTBEAT_S = 0.5
STALL_S = 2.0
MESSAGE_BYTES_MAX = 100_000
TEXT_EVENTS = (RECORDINGS / "text.responses.sse").read_text().count("\ndata: ")


def key(name: str, secret: str, more: str = "") -> str:
    return f'[keys.{name}]\nsha256 = "{digest(secret).hex()}"\n{more}\n'


BASE = f"""
[store]
url = "memory://"
[streams]
heartbeat_s = {HEARTBEAT_S}
reader_stall_s = {STALL_S}
[server]
message_bytes_max = {MESSAGE_BYTES_MAX}
[quotas.two]
requests_per_minute = 2
"""
BASE += scripted() + scripted("slow", model="slow", events_per_s=10)
BASE += scripted("held", model="held", fault="stall", fault_after=5)
CONFIG = BASE + key("ann", ANN) + key("bob", BOB, 'quota = "two"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("suffering"), CONFIG) as served:
        yield served


def of(secret: str, tag: str = "t") -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}", "Midstream-Tag": tag}


# --- who it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "ms_nobody"}], ids=["none", "unknown"])
def test_without_a_key_there_is_no_connection(server: Served, headers: dict[str, str]) -> None:
    async def scenario() -> None:
        async with session() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with lanes(http, server.url, headers=headers):
                    pass
            assert refused.value.status == 401

    asyncio.run(scenario())


def test_a_response_of_another_owner_is_as_one_that_never_was(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            async with lanes(http, server.url, headers=of(ANN, "mine")) as talk:
                await talk.create("said/text")
                name = json.loads((await talk.to_the_end())[0])["response"]["id"]
            stream = await journal_of(http, server.url, "mine", headers=of(ANN))
            async with lanes(http, server.url, headers=of(BOB)) as talk:
                for theirs, unknown in ((name, "resp_unknown"), (stream, "st_" + "0" * 26)):
                    await talk.say("response.resume", response_id=theirs)
                    known = await talk.error()
                    await talk.say("response.resume", response_id=unknown)
                    told = json.dumps(await talk.error()).replace(unknown, theirs)
                    assert json.loads(told) == known
                    assert known["status"] == 404

    asyncio.run(scenario())


def test_a_quota_that_is_used_up_is_an_error_that_says_for_how_long(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, lanes(http, server.url, headers=of(BOB)) as talk:
            for _ in range(2):
                await talk.create("said/text", "a")
                assert len(await talk.to_the_end("a")) == TEXT_EVENTS
            await talk.create("said/text", "a")
            error = await talk.error("a")
            assert (error["status"], error["error"]["code"]) == (429, "rate_limit_exceeded")
            headers = error["error"]["headers"]
            assert 0 < int(headers["retry-after"]) <= 60
            assert headers["x-ratelimit-remaining-requests"] == "0"

    asyncio.run(scenario())


def test_a_key_that_is_taken_away_falls_silent_within_five_seconds(tmp_path: Path) -> None:
    calmer = (f"heartbeat_s = {HEARTBEAT_S}", "heartbeat_s = 15")  # bob only listens in the end

    async def scenario(served: Served) -> None:
        async with (
            session() as http,
            lanes(http, served.url, headers=of(ANN)) as ann,
            lanes(http, served.url, headers=of(BOB)) as bob,
        ):
            await ann.create("slow/long")
            await ann.next()
            (tmp_path / "server.toml").write_text(BASE.replace(*calmer) + key("bob", BOB))
            served.process.send_signal(signal.SIGHUP)
            begun = time.monotonic()
            assert await ann.closed() == 4401
            assert time.monotonic() - begun < 6
            await bob.create("said/text")
            assert len(await bob.to_the_end()) == TEXT_EVENTS

    with serving(tmp_path, CONFIG.replace(*calmer)) as served:
        asyncio.run(scenario(served))


# --- what it sends --------------------------------------------------------------------------------


def test_what_is_too_large_or_not_text_or_too_much_closes(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            async with lanes(http, server.url, headers=of(ANN)) as talk:
                await talk.ws.send_str('{"type":"' + "x" * MESSAGE_BYTES_MAX)
                assert await talk.closed() == 1009
            async with lanes(http, server.url, headers=of(ANN)) as talk:
                await talk.ws.send_bytes(b"{}")
                assert await talk.closed() == 4400
            async with lanes(http, server.url, headers=of(ANN)) as talk:
                for _ in range(500):
                    await talk.ws.send_str("{}")
                assert await talk.closed() == 4429

    asyncio.run(scenario())


def test_a_flood_of_creates_waits_only_so_far_and_ends_with_its_client(server: Served) -> None:
    """129 are taken, one of them at once; the others are refused, each by an error."""

    async def scenario() -> None:
        async with session() as http:
            async with lanes(http, server.url, headers=of(ANN, "flood")) as talk:
                for _ in range(200):
                    await talk.create("held/text", "a")
                refused = 0
                while refused < 200 - 129:
                    said = await talk.next("a")
                    if said["type"] == "error":
                        assert said["status"] == 429
                        assert said["error"]["code"] == "websocket_queue_limit_reached"
                        refused += 1
            url = f"{server.url}/v1/streams?tag=flood&limit=100"
            await asyncio.sleep(0.5)
            async with http.get(url, headers=of(ANN)) as answer:
                assert len((await answer.json())["data"]) == 1, "nobody waits for the others"

    asyncio.run(scenario())


def test_messages_made_to_hurt_are_errors_and_nothing_more(server: Served) -> None:
    hostile = [
        '{"type":"response.create","model":"said/text","input":' + "[" * 50_000,
        '{"type":"response.create","stream_id":"' + "a" * 90_000 + '"}',
        '{"type":"response.create","stream_id":{"a":1}}',
        '{"type":"response.resume","response_id":"' + "a" * 90_000 + '"}',
        '{"type":"response.resume","response_id":"resp_1","starting_after":' + "9" * 9_000 + "}",
        '{"type":"response.resume","response_id":"../../etc/passwd"}',
        '{"type":"response.resume","response_id":"\\u0000"}',
        '{"type":"response.create","model":"said/text","idempotency_key":"\\n"}',
        '{"type":"response.create","model":"said/text","previous_response_id":"\\u0000"}',
        '{"type":"response.create","model":"said/text","input":{"a":1}}',
        '{"type":"response.create","model":"' + "m" * 90_000 + '"}',
        '{"type":"response.create","model":"said/text","generate":"no"}',
        "\x00",
    ]

    async def scenario() -> None:
        async with session() as http, lanes(http, server.url, headers=of(ANN)) as talk:
            for text in hostile:
                await talk.ws.send_str(text)
                error = await talk.error()
                assert 400 <= error["status"] < 500, error
                assert len(json.dumps(error)) < 2_000, "it is not thrown back"
            await talk.create("said/text")
            assert len(await talk.to_the_end()) == TEXT_EVENTS

    asyncio.run(scenario())


# --- what it takes --------------------------------------------------------------------------------


def test_who_takes_nothing_for_too_long_is_closed_so_that_the_sdk_comes_back(
    server: Served,
) -> None:
    key_header = f"x-api-key: {ANN}\r\n"
    client = raw(server, path="/v1/responses", receive_bytes=4096, more_headers=key_header)
    for n in range(128):
        said = {
            "type": "response.create",
            "model": "said/long",
            "input": "",
            "stream_id": f"{n % 16}",
        }
        client.sendall(masked(json.dumps(said, separators=(",", ":")).encode()))
    time.sleep(STALL_S * 1.7)  # closed by then, not yet dropped
    got = to_the_end(client)
    client.close()
    assert (1013).to_bytes(2, "big") in got[-125:]


def test_a_peer_that_answers_no_ping_is_dropped(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            ws = await http.ws_connect(
                f"{server.url}/v1/responses", headers=of(ANN), autoping=False
            )
            begun = time.monotonic()
            while (await ws.receive(timeout=20)).type is aiohttp.WSMsgType.PING:
                pass
            assert time.monotonic() - begun < 6 * HEARTBEAT_S
            await ws.close()

    asyncio.run(scenario())


def test_a_worker_that_stops_sends_its_clients_away(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        async with session() as http, lanes(http, served.url, headers=of(ANN)) as talk:
            await talk.create("slow/text")
            await talk.next()
            os.kill(served.process.pid, signal.SIGTERM)
            assert await talk.closed() == 1001

    with serving(tmp_path, CONFIG) as served:
        asyncio.run(scenario(served))
