"""Every way to say who one is on a WebSocket, and what becomes of it while the line is open."""

import asyncio
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from proxy.policy.keys import digest
from tests.reading import ask, session
from tests.server import Served, scripted, serving
from tests.talking import V1, refused, talking, talking_openly

ANN, ANN_TOO, BOB = "ms_ann-secret-000", "ms_ann-again-0000", "ms_bob-secret-000"
BRIEF = "ms_brief-secret-00"
LIVES_S = 5


def key(name: str, secret: str, more: str = "") -> str:
    return f'[keys.{name}]\nsha256 = "{digest(secret).hex()}"\n{more}\n'


KEYS = key("ann", ANN) + key("ann-too", ANN_TOO, 'owner = "ann"') + key("bob", BOB)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[store]\nurl = "memory://"\n' + scripted() + KEYS
    with serving(tmp_path_factory.mktemp("who"), config) as served:
        yield served


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[store]\nurl = "memory://"\n' + scripted()
    with serving(tmp_path_factory.mktemp("open"), config) as served:
        yield served


# --- the beginning --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {ANN}"}, {"x-api-key": ANN}], ids=["bearer", "x-api-key"]
)
def test_a_key_in_the_handshake_is_ready_at_once(server: Served, headers: dict[str, str]) -> None:
    async def scenario() -> None:
        async with session() as http, talking(http, server.url, headers=headers) as talk:
            assert await talk.hear() == {"type": "ready", "heartbeat_s": 15.0}
            assert talk.ws.protocol == V1

    asyncio.run(scenario())


def test_a_browser_says_its_key_as_a_subprotocol_which_is_not_repeated(server: Served) -> None:
    async def scenario() -> None:
        offered = (V1, f"midstream.auth.{ANN}")
        async with session() as http, talking(http, server.url, protocols=offered) as talk:
            assert (await talk.hear())["type"] == "ready"
            assert talk.ws.protocol == V1

    asyncio.run(scenario())


@pytest.mark.parametrize("protocols", [(V1,), ()], ids=["offered", "none"])
def test_a_key_in_the_first_message_is_as_good(server: Served, protocols: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with session() as http, talking(http, server.url, protocols=protocols) as talk:
            assert (await talk.ask("auth", token=ANN))["type"] == "ready"
            assert talk.ws.protocol == (V1 if protocols else None)

    asyncio.run(scenario())


def test_a_bad_key_in_a_header_is_401_and_a_bad_subprotocol_400(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            for headers in ({"x-api-key": "ms_nobody"}, {"Authorization": "Bearer ms_nobody"}):
                assert await refused(http, server.url, headers=headers) == 401
            for protocols in (("graphql-ws",), (f"midstream.auth.{ANN}",)):
                assert await refused(http, server.url, protocols=protocols) == 400
            # The refusal is the same problem as over HTTP.
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "x-api-key": "ms_nobody",
            }
            async with http.get(f"{server.url}/v1/ws", headers=upgrade) as answer:
                assert answer.status == 401
                assert (await answer.json())["error"]["code"] == "invalid_api_key"
                assert "x-request-id" in answer.headers

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"auth","token":"ms_nobody"}',
        '{"type":"auth","token":""}',
        '{"type":"auth"}',
        '{"type":"ping"}',
        "not JSON",
        '{"type":"auth","token":"' + "x" * 10_000 + '"}',
    ],
    ids=range(6),
)
def test_anything_but_a_good_key_first_is_4401(server: Served, message: str) -> None:
    async def scenario() -> None:
        async with session() as http, talking(http, server.url) as talk:
            await talk.ws.send_str(message)
            assert await talk.closed() == 4401
        bad = (V1, "midstream.auth.ms_nobody")
        async with session() as http, talking(http, server.url, protocols=bad) as talk:
            assert await talk.closed() == 4401

    asyncio.run(scenario())


def test_who_is_not_known_yet_may_send_no_large_message(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, talking(http, server.url) as talk:
            await talk.say("auth", token="x" * 100_000)
            assert await talk.closed() == 1009

    asyncio.run(scenario())


def test_who_says_nothing_is_closed_after_ten_seconds(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, talking(http, server.url) as talk:
            begun = time.monotonic()
            assert await talk.closed() == 4401
            assert 9 < time.monotonic() - begun < 12

    asyncio.run(scenario())


def test_a_connection_that_begins_with_a_request_for_http_can_still_be_used(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            async with http.get(f"{server.url}/v1/ws") as answer:
                assert answer.status == 401
            async with http.get(f"{server.url}/v1/ws", headers={"x-api-key": ANN}) as answer:
                assert answer.status == 426
                assert answer.headers["upgrade"] == "websocket"
                assert (await answer.json())["error"]["code"] == "upgrade_required"
            wrong = {"Connection": "Upgrade", "Upgrade": "h2c", "x-api-key": ANN}
            async with http.get(f"{server.url}/v1/streams", headers=wrong) as answer:
                assert answer.status == 200
            for path, status in (("/v1/streams", 401), ("/nothing", 404)):
                with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                    await http.ws_connect(server.url + path)
                assert error.value.status == status

    asyncio.run(scenario())


# --- open access ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "midstream.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=["host", "origin", "null origin", "site"],
)
def test_open_access_is_not_for_pages_of_the_web(
    open_server: Served, headers: dict[str, str]
) -> None:
    async def scenario() -> None:
        async with session() as http:
            assert await refused(http, open_server.url, headers=headers) == 403

    asyncio.run(scenario())


def test_open_access_asks_for_no_key_and_minds_none(open_server: Served) -> None:
    async def scenario() -> None:
        async with session() as http, talking_openly(http, open_server.url) as talk:
            assert (await talk.ask("auth", token="any"))["type"] == "ready"
        origin = {"Origin": open_server.url}
        async with session() as http, talking(http, open_server.url, headers=origin) as talk:
            assert (await talk.hear())["type"] == "ready"

    asyncio.run(scenario())


# --- later ----------------------------------------------------------------------------------------


def test_streams_of_another_owner_are_as_unknown_ones(server: Served) -> None:
    async def scenario() -> None:
        ann = {"x-api-key": ANN}
        async with session() as http, talking(http, server.url) as talk:
            stream = await ask(http, server.url, "said/long", headers=ann)
            await talk.ask("auth", token=BOB)
            for kind in ("subscribe", "cancel"):
                error = await talk.ask(kind, stream=stream)
                assert error["code"] == "stream_not_found"
                unknown = await talk.ask(kind, stream="st_" + "0" * 26)
                assert error["message"] == unknown["message"]

    asyncio.run(scenario())


def test_auth_may_come_again_from_the_same_owner_and_no_other(server: Served) -> None:
    async def scenario() -> None:
        ann = {"x-api-key": ANN}
        async with session() as http, talking(http, server.url, headers=ann) as talk:
            await talk.hear()
            ready = await talk.ask("auth", token=ANN_TOO, ref="again")
            assert ready == {"type": "ready", "heartbeat_s": 15.0, "ref": "again"}
            await talk.say("auth", token=BOB)
            assert await talk.closed() == 4403
        async with session() as http, talking(http, server.url, headers=ann) as talk:
            await talk.hear()
            await talk.say("auth", token="ms_nobody")
            assert await talk.closed() == 4401

    asyncio.run(scenario())


def test_a_key_that_runs_out_is_announced_and_then_closes_unless_it_is_renewed(
    tmp_path: Path,
) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=LIVES_S)
    brief = key("brief", BRIEF, f'owner = "ann"\nexpires = {expires:%Y-%m-%dT%H:%M:%SZ}')
    config = '[store]\nurl = "memory://"\n' + scripted() + KEYS + brief

    async def scenario(url: str) -> None:
        headers = {"x-api-key": BRIEF}
        async with (
            session() as http,
            talking(http, url, headers=headers) as left,
            talking(http, url, headers=headers) as renewed,
        ):
            for talk in (left, renewed):
                first, second = await talk.hear(), await talk.hear()
                assert {first["type"], second["type"]} == {"ready", "reauthenticate"}
                notice = first if first["type"] == "reauthenticate" else second
                assert 0 < notice["deadline_s"] <= LIVES_S
            assert (await renewed.ask("auth", token=ANN))["type"] == "ready"
            assert await left.closed() == 4401
            assert datetime.now(UTC) - expires < timedelta(seconds=2)
            assert (await renewed.ask("ping"))["type"] == "pong"
            assert await refused(http, url, headers=headers) == 401

    with serving(tmp_path, config) as served:
        asyncio.run(scenario(served.url))


def test_a_key_that_a_reload_takes_away_falls_silent_within_five_seconds(tmp_path: Path) -> None:
    config = '[store]\nurl = "memory://"\n' + scripted()

    async def scenario(served: Served) -> None:
        async with (
            session() as http,
            talking(http, served.url, headers={"x-api-key": ANN}) as ann,
            talking(http, served.url, headers={"x-api-key": BOB}) as bob,
        ):
            assert (await ann.hear())["type"] == (await bob.hear())["type"] == "ready"
            (tmp_path / "server.toml").write_text(config + key("bob", BOB))
            served.process.send_signal(signal.SIGHUP)
            begun = time.monotonic()
            assert await ann.closed() == 4401
            assert time.monotonic() - begun < 6
            assert (await bob.ask("ping"))["type"] == "pong"

    with serving(tmp_path, config + KEYS) as served:
        asyncio.run(scenario(served))
