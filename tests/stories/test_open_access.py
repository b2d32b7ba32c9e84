"""Without keys only programs on this machine are served: nothing that comes from the web."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.reading import session
from tests.server import Served, scripted, serving

BODY = {"model": "said/text", "stream": True, "messages": []}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[store]\nurl = "memory://"\n' + scripted("said", model="said")
    with serving(tmp_path_factory.mktemp("open"), config) as served:
        yield served


async def post(served: Served, headers: dict[str, str], *, body: bytes | None = None) -> int:
    data = json.dumps(BODY).encode() if body is None else body
    sent = {"Content-Type": "application/json", **headers}
    async with session() as http:
        url = f"{served.url}/v1/chat/completions"
        async with http.post(url, data=data, headers=sent) as answer:
            await answer.read()
            return answer.status


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": "[::1"},
        {"Host": "10.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[x"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_the_web_is_refused(server: Served, headers: dict[str, str]) -> None:
    assert asyncio.run(post(server, headers)) == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"Host": "localhost"}, {"Host": "[::1]:8080"}, {"Sec-Fetch-Site": "none"}],
    ids=str,
)
def test_a_program_on_this_machine_is_served(server: Served, headers: dict[str, str]) -> None:
    assert asyncio.run(post(server, headers)) == 200


def test_a_page_of_the_proxy_itself_is_served(server: Served) -> None:
    headers = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert asyncio.run(post(server, headers)) == 200


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_what_a_form_can_send_is_no_body(server: Served, media_type: str) -> None:
    assert asyncio.run(post(server, {"Content-Type": media_type})) == 415


def test_an_encoded_body_is_refused(server: Served) -> None:
    assert asyncio.run(post(server, {"Content-Encoding": "gzip"})) == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model":""}',
        b'{"model":"said/text"}',
        b'{"model":"said/text","messages":{}}',
        b'{"model":7,"messages":[]}',
        b'{"model":"said/text","messages":[],"stream":"yes"}',
        b'{"model":"said/text","messages":[],"stream_options":1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"said/text","messages":["\xff"]}',
    ],
)
def test_a_body_that_is_no_request_is_400(server: Served, body: bytes) -> None:
    assert asyncio.run(post(server, {}, body=body)) == 400


def test_a_body_over_the_limit_is_413_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = '[store]\nurl = "memory://"\n[server]\nbody_bytes_max = 2000\n' + scripted(
        "said", model="said"
    )
    with serving(tmp_path_factory.mktemp("large"), config) as served:
        large = json.dumps({**BODY, "padding": "x" * 3000}).encode()
        assert asyncio.run(post(served, {}, body=large)) == 413


def test_an_unknown_model_is_404(
    server: Served,
) -> None:
    body = json.dumps({**BODY, "model": "nobody"}).encode()
    assert asyncio.run(post(server, {}, body=body)) == 404
