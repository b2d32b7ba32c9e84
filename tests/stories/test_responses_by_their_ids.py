"""Coming back to a response in OpenAI's own way: from another worker, by its owner alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.reading import Seen, parse_sse, session
from tests.server import RECORDINGS, Served, scripted, serving

ALICE, BOB, OPERATOR = "k-alice-0123456789", "k-bob-0123456789abc", "k-op-0123456789abcd"
HELD = 9
"""Events after which the held provider says no more."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """Two processes on one store: the first one produces."""
    folder = tmp_path_factory.mktemp("responses")
    config = (
        scripted("said", model="said")
        + scripted("held", model="held", fault="stall", fault_after=HELD)
        + scripted("late", model="late", start_s=60)
        + scripted("failing", model="failing").replace(str(RECORDINGS), str(RECORDINGS / "failing"))
        + scripted("refusing", model="refusing", fault="status", fault_status=429, retries=0)
        + '[keys.alice]\nsecret = "env:ALICE"\n[keys.bob]\nsecret = "env:BOB"\n'
        + '[keys.op]\nsecret = "env:OP"\nrole = "operator"\n'
    )
    env = {"ALICE": ALICE, "BOB": BOB, "OP": OPERATOR}
    store = '[store]\nurl = "embedded"\npath = "data"\n'
    with serving(folder, store + config, env=env, name="a") as a:
        socket = next((folder / "data").glob("*.sock"))
        other = f'[store]\nurl = "unix://{socket}"\n'
        with serving(folder, other + config, env=env, name="b") as b:
            yield a, b


@asynccontextmanager
async def client(key: str = ALICE) -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as http:
        http.headers["Authorization"] = f"Bearer {key}"
        yield http


async def made(
    http: aiohttp.ClientSession, served: Served, model: str, **fields: Any
) -> tuple[int, Any]:
    body = {"model": model, "input": "x", **fields}
    async with http.post(f"{served.url}/v1/responses", json=body) as answer:
        return answer.status, await answer.json()


async def called(
    http: aiohttp.ClientSession, method: str, served: Served, rest: str
) -> tuple[int, Any]:
    async with http.request(method, f"{served.url}/v1/responses/{rest}") as answer:
        return answer.status, await answer.json()


async def events(http: aiohttp.ClientSession, served: Served, rest: str) -> list[Seen]:
    """To the end of the stream."""
    async with http.get(f"{served.url}/v1/responses/{rest}") as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        return parse_sse(await answer.read())


async def until(
    http: aiohttp.ClientSession, served: Served, name: str, *statuses: str
) -> dict[str, Any]:
    for _ in range(100):
        status, response = await called(http, "GET", served, name)
        assert status == 200
        if response["status"] in statuses:
            return dict(response)
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is still {response['status']}")


def recorded(name: str) -> list[str]:
    raw = (RECORDINGS / f"{name}.responses.sse").read_text()
    return [line[6:] for line in raw.split("\n") if line.startswith("data: ")]


def test_in_the_background_it_begins_at_once_and_is_polled_and_stopped_elsewhere(
    servers: tuple[Served, Served],
) -> None:
    here, there = servers

    async def story() -> None:
        async with client() as http:
            status, begun = await made(http, here, "held/long", background=True)
            assert (status, begun["status"], begun["output"]) == (200, "in_progress", [])
            name = begun["id"]
            for served in (here, there):
                status, response = await called(http, "GET", served, name)
                assert (status, response["id"]) == (200, name)
                assert response["status"] == "in_progress"
            status, stopped = await called(http, "POST", there, f"{name}/cancel")
            assert (status, stopped["id"], stopped["status"]) == (200, name, "cancelled")
            assert stopped["output"][0]["content"][0]["text"].startswith("word0 ")
            assert await called(http, "POST", here, f"{name}/cancel") == (200, stopped)
            (*_, last) = await events(http, there, f"{name}?stream=true")
            assert last.name == "response.incomplete"
            assert json.loads(last.data)["sequence_number"] == last.id - 1

    asyncio.run(story())


def test_what_says_nothing_is_queued_under_a_name_that_leads_to_it(
    servers: tuple[Served, Served],
) -> None:
    here, there = servers

    async def story() -> None:
        async with client() as http:
            status, queued = await made(http, here, "late/text", background=True)
            assert (status, queued["status"], queued["model"]) == (200, "queued", "late/text")
            name = queued["id"]
            assert await called(http, "GET", there, name) == (200, queued)
            status, stopped = await called(http, "POST", there, f"{name}/cancel")
            assert (status, stopped["id"], stopped["status"]) == (200, name, "cancelled")

    asyncio.run(story())


def test_a_background_response_is_whole_later_and_a_refused_one_an_error_at_once(
    servers: tuple[Served, Served],
) -> None:
    here, there = servers

    async def story() -> None:
        async with client() as http:
            _, begun = await made(http, here, "said/reasoning", background=True)
            whole = await until(http, there, begun["id"], "completed")
            twin = (RECORDINGS / "reasoning.responses.json").read_bytes()
            assert whole == json.loads(twin)
            status, refused = await made(http, here, "refusing/text", background=True)
            assert status == 429
            assert refused["error"]["message"].endswith("As scripted.")
            _, failing = await made(http, here, "failing/failed", background=True)
            failed = await until(http, there, failing["id"], "failed")
            assert failed["error"]["code"] == "server_error"

    asyncio.run(story())


@pytest.mark.parametrize("name", ["two_tools", "nameless_crlf", "unicode"])
def test_after_any_event_the_rest_is_the_rest_byte_for_byte(
    servers: tuple[Served, Served], name: str
) -> None:
    here, there = servers

    async def story() -> None:
        async with client() as http:
            _, whole = await made(http, here, f"said/{name}")
            data = recorded(name) if "crlf" not in name else None
            everything = await events(http, there, f"{whole['id']}?stream=true")
            assert data is None or [seen.data for seen in everything] == data
            assert [seen.id for seen in everything] == list(range(1, len(everything) + 1))
            for number in range(len(everything)):
                query = f"{whole['id']}?stream=true&starting_after={number}"
                assert await events(http, there, query) == everything[number + 1 :]

    asyncio.run(story())


def test_nobody_else_learns_of_a_response(servers: tuple[Served, Served]) -> None:
    here, there = servers

    async def story() -> None:
        async with client() as alice, client(BOB) as bob, client(OPERATOR) as operator:
            _, whole = await made(alice, here, "said/refusal")
            name = whole["id"]
            for method, rest in (
                ("GET", name),
                ("GET", f"{name}?stream=true"),
                ("POST", f"{name}/cancel"),
                ("DELETE", name),
            ):
                status, theirs = await called(bob, method, there, rest)
                unknown = await called(bob, method, there, rest.replace(name, "resp_none"))
                assert status == 404
                told = json.dumps(theirs).replace(name, "resp_none")
                assert (404, json.loads(told)) == unknown
                assert theirs["error"]["type"] == "invalid_request_error"
            assert (await called(alice, "GET", there, name))[0] == 200
            async with alice.get(f"{here.url}/v1/streams?limit=1") as listed:
                stream = (await listed.json())["data"][0]["id"]
            named = stream.replace("st_", "resp_")
            assert await called(operator, "GET", there, named) == (200, whole)
            assert (await called(bob, "GET", there, named))[0] == 404

    asyncio.run(story())


def test_a_response_that_is_deleted_is_gone(servers: tuple[Served, Served]) -> None:
    here, there = servers

    async def story() -> None:
        async with client() as http:
            _, whole = await made(http, here, "said/other_tools")
            name = whole["id"]
            deleted = {"id": name, "object": "response", "deleted": True}
            assert await called(http, "DELETE", there, name) == (200, deleted)
            for method, rest in (("GET", name), ("DELETE", name), ("POST", f"{name}/cancel")):
                assert (await called(http, method, here, rest))[0] == 404

    asyncio.run(story())


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("stream=yes", 400, "invalid_request"),
        ("stream=true&starting_after=-1", 400, "invalid_request"),
        ("stream=true&starting_after=x", 400, "invalid_request"),
        ("starting_after=1", 400, "invalid_request"),
        ("nonsense=1", 400, "invalid_request"),
        ("stream=true&stream=true", 400, "invalid_request"),
        ("stream=true&starting_after=99", 409, "ahead_of_stream"),
        ("include%5B%5D=a&include%5B%5D=b&include_obfuscation=false", 200, None),
        ("include=a&include%5B0%5D=b", 200, None),
    ],
)
def test_what_is_asked_for_wrongly_is_named(
    servers: tuple[Served, Served], query: str, status: int, code: str | None
) -> None:
    async def story() -> None:
        async with client() as http:
            _, whole = await made(http, servers[0], "said/text")
            got, answer = await called(http, "GET", servers[0], f"{whole['id']}?{query}")
            assert got == status
            assert (answer.get("error") or {}).get("code") == code

    asyncio.run(story())


def test_one_goes_on_from_a_response_at_the_provider_that_made_it(
    servers: tuple[Served, Served],
) -> None:
    here, there = servers

    async def story() -> None:
        async with client() as alice, client(BOB) as bob:
            _, whole = await made(alice, here, "said/web_search")
            name = whole["id"]
            status, _ = await made(alice, there, "said/text", previous_response_id=name)
            assert status == 200
            for http, model, previous, code in (
                (bob, "said/text", name, "previous_response_not_found"),
                (alice, "said/text", "resp_none", "previous_response_not_found"),
                (alice, "held/text", name, "invalid_request"),
            ):
                status, refused = await made(http, there, model, previous_response_id=previous)
                assert (status, refused["error"]["code"]) == (400, code)
                assert refused["error"]["param"] == "previous_response_id"

    asyncio.run(story())
