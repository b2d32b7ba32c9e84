"""The OpenAPI document, held against what the whole proxy answers."""

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence

import pytest
from litestar import Litestar

from proxy.policy.keys import digest
from tests.downstream.promise import DOCUMENT, Answered, Client, check, running
from tests.server import RECORDINGS

SECRET = "ms_a-secret-of-this-test"
ASKED = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
"""Fine for both dialects."""
PASSING = ASKED | {"model": "played/base64", "input": "Hello"}
"""Fine for everything that passes through whole, but for the model's name."""
UNKNOWN = "st_0123456789abcdefghijklmnop"
WEBSOCKETS = {"/v1/ws", "/v1/responses"}
FOR_OPERATORS = {
    "/v1/workers",
    "/v1/targets",
    "/v1/dashboard/events",
    "/metrics",
    "/dashboard/grafana.json",
}

CONFIG = f"""
[providers.played]
kind = "scripted"
recordings = "{RECORDINGS}"
[models."played/*"]
targets = ["played/*"]
[store]
url = "memory://"
[streams]
first_content_s = 5
[providers.quick]
kind = "scripted"
events_per_s = 100000
[providers.slow]
kind = "scripted"
start_s = 600
[providers.limited]
kind = "scripted"
fault = "status"
fault_status = 429
[providers.cut]
kind = "scripted"
fault = "cut"
fault_after = 3
[models.demo]
targets = ["quick/demo"]
[models.slow]
targets = ["slow/demo"]
[models.limited]
targets = ["limited/demo"]
[models.cut]
targets = ["cut/demo"]
[server]
body_bytes_max = 1024
"""
KEY = f'[keys.app]\nsha256 = "{digest(SECRET).hex()}"\n'


async def ended_stream(client: Client) -> str:
    answered = await client.ask("POST", "/v1/chat/completions", ASKED)
    assert answered.status == 200, answered.body
    return answered.headers["midstream-stream"]


# --- routes ---------------------------------------------------------------------------------------


def test_every_route_is_documented_and_every_documented_call_has_a_route() -> None:
    async def ask() -> Litestar:
        async with running(CONFIG) as client:
            return (await client.ask("GET", "/healthz")).app

    app = asyncio.run(ask())

    routes = {
        (method, re.sub(r":[a-z]+\}", "}", route.path))
        for route in app.routes
        for method in getattr(route, "methods", ["GET"])  # a WebSocket's handshake is one
    }
    documented = {
        (method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item
    }
    assert {route for route in routes if route[0] != "OPTIONS"} == documented


def test_a_method_that_is_not_documented_is_not_allowed_and_an_unknown_path_not_found() -> None:
    async def ask() -> None:
        async with running(CONFIG) as client:
            for path, item in DOCUMENT["paths"].items():
                for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {m.upper() for m in item}:
                    answered = await client.ask(method, re.sub(r"\{\w+\}", UNKNOWN, path))
                    assert answered.status == 405, (method, path)
                    assert b'"method_not_allowed"' in answered.body
            answered = await client.ask("GET", "/v1/nothing")
            assert answered.status == 404
            assert b'"route_not_found"' in answered.body

    asyncio.run(ask())


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/{stream}/events", "/v1/usage"])
def test_the_query_parameters_that_are_known_are_those_of_the_document(path: str) -> None:
    async def ask() -> Answered:
        async with running(CONFIG) as client:
            stream = await ended_stream(client)
            return await client.ask("GET", path.replace("{stream}", stream) + "?nonsense=1")

    answered = asyncio.run(ask())

    parameters = DOCUMENT["paths"][path]["get"]["parameters"]
    known = sorted(one["name"] for one in parameters if one["in"] == "query")
    assert answered.status == 400
    assert f"known are {', '.join(known)}." in json.loads(answered.body)["error"]["message"]


# --- what goes well -------------------------------------------------------------------------------


def test_what_the_operator_and_the_lists_of_models_get_is_as_documented() -> None:
    asked = [
        ("/healthz", "/healthz", {}),
        ("/readyz", "/readyz", {}),
        ("/schema", "/schema", {}),
        ("/dashboard", "/dashboard", {}),
        ("/v1/workers", "/v1/workers", {}),
        ("/v1/targets", "/v1/targets", {}),
        ("/metrics", "/metrics", {}),
        ("/dashboard/grafana.json", "/dashboard/grafana.json", {}),
        ("/v1/models", "/v1/models", {}),
        ("/v1/models", "/v1/models", {"anthropic-version": "2023-06-01"}),
        ("/v1/models/{model}", "/v1/models/demo", {}),
        ("/v1/models/{model}", "/v1/models/demo", {"anthropic-version": "2023-06-01"}),
    ]

    async def ask() -> None:
        async with running(CONFIG) as client:
            for template, target, headers in asked:
                answered = await client.ask("GET", target, headers=headers)
                assert answered.status == 200
                check("GET", template, answered)

    asyncio.run(ask())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_an_answer_is_as_documented_whole_event_by_event_and_at_once(path: str) -> None:
    async def ask() -> None:
        async with running(CONFIG) as client:
            body = ASKED
            whole = await client.ask("POST", path, body)
            streamed = await client.ask("POST", path, body | {"stream": True})
            at_once = await client.ask("POST", path, body, {"prefer": "respond-async"})
            for answered, status in ((whole, 200), (streamed, 200), (at_once, 202)):
                assert answered.status == status
                check("POST", path, answered)
            assert streamed.headers["content-type"].startswith("text/event-stream")

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("path", "model"),
    [("/v1/embeddings", "played/base64"), ("/v1/messages/count_tokens", "played/fourteen")],
)
def test_what_passes_through_is_as_documented_and_so_is_what_does_not(
    path: str, model: str
) -> None:
    quota = f'{KEY}quota = "small"\n[quotas.small]\nrequests_per_minute = 1\n'
    asked = PASSING | {"model": model}
    cases = [
        (asked, 200),
        (asked, 429),
        (asked | {"model": "demo"}, 404),
        (asked | {"model": "nobody"}, 404),
        (asked | {"model": 1}, 400),
        ({"model": model}, 400),
        (asked | {"user": "x" * 2000}, 413),
    ]

    async def ask() -> None:
        async with running(CONFIG + quota) as client:
            for body, status in cases:
                answered = await client.ask("POST", path, body, {"x-api-key": SECRET})
                assert answered.status == status, answered.body
                check("POST", path, answered)
                assert ("ratelimit" in answered.headers) == (status in {200, 429})

    asyncio.run(ask())


def test_reading_a_stream_is_as_documented_from_its_state_to_its_last_event() -> None:
    async def ask() -> None:
        async with running(CONFIG) as client:
            ask, key = ASKED | {"stream": True}, {"idempotency-key": "mine"}
            made = await client.ask("POST", "/v1/chat/completions", ask, key)
            url = made.headers["location"]
            last_id = json.loads((await client.ask("GET", url)).body)["last_event_id"]
            sse = {"accept": "text/event-stream"}
            from_last = {"last-event-id": str(last_id)}
            asked: Sequence[tuple[str, str, Mapping[str, str], int]] = [
                ("", "", {}, 200),
                ("/events", "/events", {}, 200),
                ("/events", "/events?after=2&limit=1&wait=0", {}, 200),
                ("/events", "/events", sse, 200),
                ("/events", "/events", sse | from_last, 204),
                ("/events", f"/events?after={last_id}", {}, 200),
                ("/response", "/response", {}, 200),
            ]
            for template, target, headers, status in asked:
                answered = await client.ask("GET", url + target, headers=headers)
                assert answered.status == status, (target, answered.body)
                check("GET", "/v1/streams/{stream}" + template, answered)
            for body, status in ((ask, 204), (ASKED, 422)):
                again = await client.ask("POST", "/v1/chat/completions", body, key | from_last)
                assert again.status == status
                check("POST", "/v1/chat/completions", again)
            listed = await client.ask("GET", "/v1/streams?limit=1")
            assert len(json.loads(listed.body)["data"]) == 1
            check("GET", "/v1/streams", listed)

    asyncio.run(ask())


def test_coming_back_to_a_response_is_as_documented_in_the_background_too() -> None:
    async def ask() -> None:
        async with running(CONFIG) as client:
            asked = {"model": "demo", "input": "Hello"}
            begun = await client.ask("POST", "/v1/responses", asked | {"background": True})
            assert begun.status == 200
            check("POST", "/v1/responses", begun)
            path = "/v1/responses/{name}"
            name = json.loads(begun.body)["id"]
            calls = [
                ("GET", "", "", 200),
                ("GET", "", "?stream=true&starting_after=2", 200),
                ("GET", "", "?stream=true&starting_after=99999", 409),
                ("GET", "", "?stream=maybe", 400),
                ("POST", "/cancel", "", 200),
                ("DELETE", "", "", 200),
                ("GET", "", "", 404),
                ("POST", "/cancel", "", 404),
                ("DELETE", "", "", 404),
            ]
            for method, rest, query, status in calls:
                answered = await client.ask(method, f"/v1/responses/{name}{rest}{query}")
                assert answered.status == status, (method, rest, answered.body)
                check(method, path + rest, answered)
            gone_on = asked | {"previous_response_id": name}
            check("POST", "/v1/responses", await client.ask("POST", "/v1/responses", gone_on))

    asyncio.run(ask())


def test_stopping_and_erasing_a_stream_is_as_documented() -> None:
    async def ask() -> None:
        async with running(CONFIG) as client:
            at_once = {"prefer": "respond-async"}
            slow = ASKED | {"model": "slow"}
            made = await client.ask("POST", "/v1/chat/completions", slow, at_once)
            url = made.headers["location"]
            running_state = await client.ask("GET", url)
            check("GET", "/v1/streams/{stream}", running_state)
            asked = [
                ("POST", "/cancel", 200),
                ("GET", "", 200),
                ("GET", "/events", 200),
                ("GET", "/response", 200),
                ("DELETE", "", 204),
                ("DELETE", "", 204),
                ("GET", "", 410),
                ("GET", "/events", 410),
                ("GET", "/response", 410),
                ("POST", "/cancel", 410),
            ]
            for method, rest, status in asked:
                answered = await client.ask(method, url + rest)
                assert answered.status == status, (method, rest, answered.body)
                check(method, "/v1/streams/{stream}" + rest, answered)

    asyncio.run(ask())


def test_a_list_says_whose_each_stream_is_and_who_reads_it_and_workers_say_what_they_do() -> None:
    async def ask() -> None:
        async with running(CONFIG) as client:
            await ended_stream(client)
            at_once = {"prefer": "respond-async"}
            slow = ASKED | {"model": "slow"}
            made = await client.ask("POST", "/v1/chat/completions", slow, at_once)
            url = made.headers["location"]
            polling = asyncio.create_task(client.ask("GET", f"{url}/events?wait=8"))
            async with asyncio.timeout(8):
                listed: list[dict[str, object]] = []
                while not listed or listed[0]["readers"] != 1:
                    answered = await client.ask("GET", "/v1/streams")
                    check("GET", "/v1/streams", answered)
                    listed = json.loads(answered.body)["data"]
                    await asyncio.sleep(0.1)
            assert [(one["owner"], one["readers"]) for one in listed] == [
                ("local", 1),
                ("local", None),
            ]
            (worker,) = json.loads((await client.ask("GET", "/v1/workers")).body)["data"]
            assert (worker["streams"], worker["readers"]) == (1, 1)
            assert worker["pid"] == os.getpid()
            assert not worker["draining"]
            await client.ask("POST", f"{url}/cancel")
            await polling

    asyncio.run(ask())


def test_what_is_left_is_told_as_documented_with_every_answer_and_by_itself() -> None:
    quota = f'{KEY}quota = "small"\n[quotas.small]\nrequests_per_minute = 3\n'
    quota += "tokens_per_minute = 100000\nconcurrent_streams = 9\nusd_per_month = 5\n"
    priced = CONFIG.replace("[models.slow]", "price = {input = 1.0, output = 2.0}\n[models.slow]")
    key = {"x-api-key": SECRET}

    async def ask() -> None:
        for path in ("/v1/chat/completions", "/v1/messages"):
            async with running(priced + quota) as client:
                for also, body, status in (
                    ({}, ASKED, 200),
                    ({"prefer": "respond-async"}, ASKED, 202),
                    ({}, ASKED | {"stream": True}, 200),
                    ({}, ASKED, 429),
                    ({}, ASKED | {"max_tokens": 1_000_000}, 429),
                    ({}, ASKED | {"model": "slow"}, 400),
                ):
                    answered = await client.ask("POST", path, body, key | also)
                    assert answered.status == status, answered.body
                    assert ("ratelimit" in answered.headers) == (status != 400)
                    check("POST", path, answered)
                answered = await client.ask("GET", "/v1/usage", headers=key)
                assert len(json.loads(answered.body)["data"][0]["limits"]) == 4
                check("GET", "/v1/usage", answered)

    asyncio.run(ask())


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/v1/chat/completions", {}, {}, 400),
        ("/v1/chat/completions", {}, ["no object"], 400),
        ("/v1/chat/completions", {"midstream-detach": "later"}, ASKED, 400),
        ("/v1/chat/completions", {"last-event-id": "3"}, ASKED, 400),
        ("/v1/chat/completions", {"last-event-id": "3", "idempotency-key": "k"}, ASKED, 410),
        ("/v1/chat/completions", {}, ASKED | {"model": "nothing"}, 404),
        ("/v1/chat/completions", {}, ASKED | {"user": "x" * 2000}, 413),
        ("/v1/chat/completions", {"content-type": "text/plain"}, ASKED, 415),
        ("/v1/chat/completions", {"origin": "https://example.com"}, ASKED, 403),
        ("/v1/chat/completions", {}, ASKED | {"model": "limited"}, 429),
        ("/v1/chat/completions", {}, ASKED | {"model": "cut"}, 502),
        ("/v1/messages", {}, {}, 400),
        ("/v1/messages", {}, ASKED | {"model": "nothing"}, 404),
        ("/v1/messages", {}, ASKED | {"model": "limited"}, 429),
        ("/v1/messages", {}, ASKED | {"model": "cut"}, 502),
    ],
)
def test_a_refused_or_failed_request_for_an_answer_is_as_documented(
    path: str, headers: Mapping[str, str], body: object, status: int
) -> None:
    async def ask() -> Answered:
        async with running(CONFIG) as client:
            return await client.ask("POST", path, body, headers)

    answered = asyncio.run(ask())

    assert answered.status == status, answered.body
    check("POST", path, answered)


@pytest.mark.parametrize(
    ("rest", "headers", "status"),
    [
        ("/events?after=x", {}, 400),
        ("/events?limit=0", {}, 400),
        ("/events?after=1&after=2", {}, 400),
        ("/events?after=100000", {}, 409),
        ("/events", {"accept": "text/html"}, 406),
        ("/events", {"last-event-id": "-1", "anthropic-version": "2023-06-01"}, 400),
        ("", {"host": "midstream.example"}, 403),
    ],
)
def test_a_refused_reader_gets_what_is_documented(
    rest: str, headers: Mapping[str, str], status: int
) -> None:
    async def ask() -> Answered:
        async with running(CONFIG) as client:
            stream = await ended_stream(client)
            return await client.ask("GET", f"/v1/streams/{stream}{rest}", headers=headers)

    answered = asyncio.run(ask())

    assert answered.status == status, answered.body
    check("GET", "/v1/streams/{stream}" + rest.partition("?")[0], answered)


def test_whoever_has_no_key_or_asks_for_what_is_not_there_gets_what_is_documented() -> None:
    calls = [
        (method.upper(), path, call)
        for path, item in DOCUMENT["paths"].items()
        for method, call in item.items()
        if call.get("security") != []
    ]

    async def ask() -> None:
        async with running(CONFIG + KEY) as client:
            for method, path, call in calls:
                target = re.sub(r"\{\w+\}", UNKNOWN, path)
                body = PASSING | {"model": "none"} if "requestBody" in call else None
                answered = await client.ask(method, target, body)
                assert answered.status == 401
                check(method, path, answered)
                answered = await client.ask(method, target, body, {"x-api-key": SECRET})
                found = 426 if path in WEBSOCKETS else 403 if path in FOR_OPERATORS else 200
                assert answered.status == (404 if "{" in path or body else found)
                check(method, path, answered)

    asyncio.run(ask())


def test_the_ends_of_every_documented_range_are_accepted_and_nothing_beyond() -> None:
    calls = [
        (path, parameter)
        for path in ("/v1/streams", "/v1/streams/{stream}/events")
        for parameter in DOCUMENT["paths"][path]["get"]["parameters"]
        if parameter["schema"]["type"] in {"integer", "number"}
    ]
    assert len(calls) == 5

    async def ask() -> None:
        async with running(CONFIG) as client:
            stream = await ended_stream(client)
            for path, parameter in calls:
                low, high = parameter["schema"]["minimum"], parameter["schema"]["maximum"]
                for value, is_fine in (
                    (low - 1, False),
                    (low, True),
                    (high, True),
                    (high + 1, False),
                ):
                    is_query = parameter["in"] == "query"
                    query = f"?{parameter['name']}={value}" if is_query else ""
                    headers = {} if is_query else {parameter["name"].lower(): str(value)}
                    target = path.replace("{stream}", stream) + query
                    answered = await client.ask("GET", target, headers=headers)
                    assert (answered.status != 400) == is_fine, (target, headers)

    asyncio.run(ask())


def test_every_documented_choice_of_a_status_can_be_listed_by() -> None:
    parameters = DOCUMENT["paths"]["/v1/streams"]["get"]["parameters"]
    (status,) = (one for one in parameters if one["name"] == "status")

    async def ask() -> None:
        async with running(CONFIG) as client:
            for value in [*status["schema"]["enum"], "nonsense"]:
                answered = await client.ask("GET", f"/v1/streams?status={value}")
                assert answered.status == (400 if value == "nonsense" else 200)
                check("GET", "/v1/streams", answered)

    asyncio.run(ask())
