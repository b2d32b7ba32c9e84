"""What each call answers, status by status, against a real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.reading import Seen, ask, lower, parse_sse, read_poll, read_sse, session
from tests.server import Served, scripted, serving

KEY, OTHER_KEY, OPERATOR_KEY = "k-alice-0123456789", "k-bob-0123456789abc", "k-op-0123456789abcd"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = (
        '[store]\nurl = "memory://"\nretention_s = 60\n'
        + "[streams]\nheartbeat_s = 0.3\n"
        + scripted("said", model="said")
        + scripted("slow", model="slow", events_per_s=40)
        + scripted("held", model="held", fault="stall", fault_after=5)
        + '[keys.alice]\nsecret = "env:ALICE"\n[keys.alice2]\nsecret = "env:ALICE2"\nowner = "alice"\n'
        + '[keys.bob]\nsecret = "env:BOB"\n[keys.op]\nsecret = "env:OP"\nrole = "operator"\n'
    )
    env = {"ALICE": KEY, "ALICE2": KEY + "-2", "BOB": OTHER_KEY, "OP": OPERATOR_KEY}
    with serving(tmp_path_factory.mktemp("contract"), config, env=env) as served:
        yield served


@asynccontextmanager
async def client(key: str = KEY) -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as http:
        http.headers["Authorization"] = f"Bearer {key}"
        yield http


async def status_of(
    http: aiohttp.ClientSession, method: str, url: str, **headers: str
) -> tuple[int, dict[str, str], str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.request(method, url, headers=sent) as answer:
        return answer.status, lower(answer.headers), await answer.text()


async def running_stream(http: aiohttp.ClientSession, url: str) -> str:
    """One that has five events and says no more."""
    stream = await ask(http, url, "held/long")
    assert len(await read_poll(http, url, stream, 0, 5)) == 5
    return stream


async def ended_stream(http: aiohttp.ClientSession, url: str) -> tuple[str, list[Seen]]:
    stream = await ask(http, url, "said/text")
    return stream, await read_poll(http, url, stream, 0, None)


# --- who may what ---------------------------------------------------------------------------------


def test_without_a_key_nothing_is_told(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            status, headers, body = await status_of(http, "GET", f"{server.url}/v1/models")
            assert status == 401
            assert headers["x-should-retry"] == "false"
            assert json.loads(body)["error"]["code"] == "invalid_api_key"
            for path in ("/healthz", "/readyz", "/schema"):
                assert (await status_of(http, "GET", server.url + path))[0] == 200

    asyncio.run(scenario())


def test_a_key_in_the_url_is_no_key(server: Served) -> None:
    async def scenario() -> None:
        async with session() as http:
            url = f"{server.url}/v1/streams?api_key={KEY}&access_token={KEY}"
            assert (await status_of(http, "GET", url))[0] == 401

    asyncio.run(scenario())
    assert KEY not in server.log.read_text()


def test_another_owners_stream_and_an_unknown_one_answer_alike(server: Served) -> None:
    async def scenario() -> None:
        async with client() as alice, client(OTHER_KEY) as bob:
            stream = await running_stream(alice, server.url)
            unknown = "st_" + "0" * 26
            for method, path in [
                ("GET", ""),
                ("GET", "/events"),
                ("GET", "/response"),
                ("POST", "/cancel"),
                ("DELETE", ""),
            ]:
                answers = [
                    await status_of(bob, method, f"{server.url}/v1/streams/{name}{path}")
                    for name in (stream, unknown, "nonsense")
                ]
                assert {answer[0] for answer in answers} == {404}
                assert len({answer[2] for answer in answers}) == 1
            assert (await status_of(alice, "GET", f"{server.url}/v1/streams/{stream}"))[0] == 200

    asyncio.run(scenario())


def test_keys_of_one_owner_share_streams_and_an_operator_sees_all(server: Served) -> None:
    async def scenario() -> None:
        async with client() as alice, client(KEY + "-2") as other, client(OPERATOR_KEY) as op:
            stream = await running_stream(alice, server.url)
            for http in (other, op):
                url = f"{server.url}/v1/streams/{stream}"
                assert (await status_of(http, "GET", url))[0] == 200
            listed = json.loads((await status_of(op, "GET", f"{server.url}/v1/streams"))[2])
            assert stream in [each["id"] for each in listed["data"]]
            url = f"{server.url}/v1/streams/{stream}/cancel"
            assert json.loads((await status_of(op, "POST", url))[2])["ending"] == "cancelled"

    asyncio.run(scenario())


# --- cursors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cursor", ["x", "-1", "1.0", "1e3", " 1", "+1", "0x1", "9" * 17, "\u0661"])
def test_a_malformed_event_id_is_400(server: Served, cursor: str) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream, _ = await ended_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/events"
            async with http.get(url, params={"after": cursor}) as answer:
                assert answer.status == 400
                assert answer.headers["x-should-retry"] == "false"
                assert (await answer.json())["error"]["code"] == "invalid_event_id"

    asyncio.run(scenario())


def test_a_cursor_beyond_the_end_is_409_and_says_where_the_end_is(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream = await running_stream(http, server.url)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            url = f"{server.url}/v1/streams/{stream}/events?after=99"
            status, headers, body = await status_of(http, "GET", url, Accept="text/event-stream")
            assert (status, headers["x-should-retry"]) == (409, "false")
            assert "is 5" in json.loads(body)["error"]["message"]
            assert 1.5 < loop.time() - begun < 5

    asyncio.run(scenario())


def test_after_the_last_event_sse_is_204_and_a_poll_says_ended(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream, journal = await ended_stream(http, server.url)
            last = str(journal[-1].id)
            url = f"{server.url}/v1/streams/{stream}/events"
            sse = {"Accept": "text/event-stream", "Last-Event-ID": last}
            async with http.get(url, headers=sse) as answer:
                assert (answer.status, await answer.read()) == (204, b"")
            async with http.get(url, params={"after": last}) as answer:
                page = await answer.json()
                assert page == {
                    "events": [],
                    "last_id": journal[-1].id,
                    "ended": True,
                    "ending": "completed",
                }

    asyncio.run(scenario())


def test_the_header_wins_over_the_query(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream, journal = await ended_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/events?after=1"
            async with http.get(url, headers={"Last-Event-ID": "3"}) as answer:
                first = (await answer.json())["events"][0]["id"]
            assert first == 4
            assert len(journal) > 4

    asyncio.run(scenario())


def test_a_poll_waits_for_the_next_event_and_links_to_it(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream = await running_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/events?after=5&wait=0.2"
            async with http.get(url) as answer:
                page = await answer.json()
                assert page == {"events": [], "last_id": 5, "ended": False, "ending": None}
                assert f"/v1/streams/{stream}/events?after=5" in answer.headers["Link"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "query", ["wait=31", "wait=x", "limit=0", "limit=1001", "after=1&after=2", "colour=red"]
)
def test_a_query_that_cannot_be_obeyed_is_refused(server: Served, query: str) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream, _ = await ended_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/events?{query}"
            assert (await status_of(http, "GET", url))[0] == 400

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/event-stream, application/json;q=0.5", "text/event-stream; charset=utf-8"),
        ("text/event-stream;q=0.5, application/json", "application/json"),
        ("text/html", None),
    ],
)
def test_the_accept_header_chooses_the_transport(
    server: Served, accept: str, expected: str | None
) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream, _ = await ended_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/events"
            status, headers, _ = await status_of(http, "GET", url, Accept=accept)
            if expected is None:
                assert status == 406
            else:
                assert (status, headers["content-type"]) == (200, expected)

    asyncio.run(scenario())


def test_sse_names_each_event_asks_for_retry_once_and_beats_between(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream = await running_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/events"
            raw = b""
            async with http.get(url, headers={"Accept": "text/event-stream"}) as answer:
                assert answer.headers["Cache-Control"] == "no-store, no-transform"
                assert answer.headers["X-Accel-Buffering"] == "no"
                async for chunk in answer.content.iter_any():
                    raw += chunk
                    if raw.count(b": ping\n") == 2:
                        break
            assert raw.startswith(b"retry: 1000\nid: 1\ndata: {")
            assert raw.count(b"retry:") == 1
            assert [seen.id for seen in parse_sse(raw)] == [1, 2, 3, 4, 5]
            assert raw.endswith(b"\n\n: ping\n: ping\n")

    asyncio.run(scenario())


# --- state, cancel, delete, lists -------------------------------------------------------------------


def test_the_state_of_a_stream_tells_its_whole_story(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            body = {"model": "said/text", "stream": True, "messages": []}
            headers = {"Midstream-Tag": "chat 7 \u00e9"}
            url = f"{server.url}/v1/chat/completions"
            async with http.post(url, json=body, headers=headers) as answer:
                stream = answer.headers["Midstream-Stream"]
                assert answer.headers["Location"] == f"/v1/streams/{stream}"
                assert answer.headers["Midstream-Expires"].endswith("Z")
                await answer.read()
            status, _, text = await status_of(http, "GET", f"{server.url}/v1/streams/{stream}")
            state = json.loads(text)
            assert status == 200
            assert state["status"] == "ended"
            assert state["ending"] == "completed"
            assert state["dialect"] == "openai.chat"
            assert (state["model"], state["provider"]) == ("said/text", "said")
            assert state["tag"] == "chat 7 é"
            assert state["last_event_id"] > 1
            assert state["created_at"] <= state["ended_at"] < state["expires_at"]

    asyncio.run(scenario())


def test_a_cancel_stops_once_and_its_receipt_stays_the_same(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream = await running_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/cancel"
            first = await status_of(http, "POST", url)
            second = await status_of(http, "POST", url)
            assert first[0] == second[0] == 200
            assert json.loads(first[2]) == json.loads(second[2])
            receipt = json.loads(first[2])
            assert (receipt["ending"], receipt["last_event_id"]) == ("cancelled", 6)
            last = (await read_sse(http, server.url, stream, 5, None))[-1]
            assert json.loads(last.data)["error"]["code"] == "stream_cancelled"

    asyncio.run(scenario())


def test_a_deleted_stream_is_gone_for_its_owner(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream = await running_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}"
            assert (await status_of(http, "DELETE", url))[0] == 204
            assert (await status_of(http, "DELETE", url))[0] == 204
            for path in ("", "/events", "/response"):
                assert (await status_of(http, "GET", url + path))[0] == 410
            listed = json.loads((await status_of(http, "GET", f"{server.url}/v1/streams"))[2])
            assert stream not in [each["id"] for each in listed["data"]]

    asyncio.run(scenario())


def test_a_stream_of_no_retention_is_gone_at_its_end(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            body = {"model": "said/text", "stream": True, "messages": []}
            url = f"{server.url}/v1/chat/completions"
            async with http.post(url, json=body, headers={"Midstream-Retention": "0"}) as answer:
                stream = answer.headers["Midstream-Stream"]
                assert (await answer.read()).endswith(b"data: [DONE]\n\n")
            assert (await status_of(http, "GET", f"{server.url}/v1/streams/{stream}"))[0] == 410

    asyncio.run(scenario())


def test_streams_are_listed_by_tag_and_status_newest_first_in_pages(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            tagged = {"Midstream-Tag": "list-me"}
            ended = [await ask(http, server.url, "said/text", headers=tagged) for _ in range(3)]
            for stream in ended:
                await read_poll(http, server.url, stream, 0, None)
            held = await ask(http, server.url, "held/long", headers=tagged)

            async def listed(query: str) -> dict[str, list[dict[str, str]]]:
                url = f"{server.url}/v1/streams?tag=list-me&{query}"
                found: dict[str, list[dict[str, str]]] = json.loads(
                    (await status_of(http, "GET", url))[2]
                )
                return found

            everything = [each["id"] for each in (await listed("limit=10"))["data"]]
            assert everything == [held, *reversed(ended)]
            running = await listed("status=running")
            assert [each["id"] for each in running["data"]] == [held]
            first = await listed("limit=2&status=completed")
            assert [each["id"] for each in first["data"]] == [ended[2], ended[1]]
            rest = await listed(f"limit=2&status=completed&cursor={first['next']}")
            assert [each["id"] for each in rest["data"]] == [ended[0]]

    asyncio.run(scenario())


def test_the_answer_so_far_and_what_follows_it_are_the_whole(server: Served) -> None:
    async def scenario() -> None:
        async with client() as http:
            stream = await running_stream(http, server.url)
            url = f"{server.url}/v1/streams/{stream}/response"
            status, headers, text = await status_of(http, "GET", url)
            assert (status, headers["midstream-last-event-id"]) == (200, "5")
            assert json.loads(text)["object"] == "chat.completion"

    asyncio.run(scenario())
