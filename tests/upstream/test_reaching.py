"""What the config says of the way to a provider, on the wire."""

import json
import ssl
import subprocess
from pathlib import Path

import msgspec
import pytest

from proxy.config import Secret
from proxy.config.reaching import Certificates
from proxy.errors import ProviderRefused, ProviderUnreachable
from proxy.relay.ports import UpstreamRequest
from tests.upstream.asking import KEY, KINDS, read, remote, request, run
from tests.upstream.fake_provider import FakeProvider, Received, streamed, whole
from tests.upstream.proxying import Tunnels

PEM = Path(__file__).parent / "loopback.pem"
OWN = Certificates(str(PEM), PEM.read_text())
ANSWER = b"data: [DONE]\n\n"
PASSWORD = "pass+word-of-the-proxy"

either = pytest.mark.parametrize("kind", KINDS)


def serving() -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(PEM)
    return tls


async def _asked(kind: str, model: str = "m", path: str = "", **given: object) -> list[Received]:
    """An answer, a passage and the list of models, as the provider gets the requests."""
    async with FakeProvider.running() as far:
        far.plays(streamed([ANSWER]), whole(200, b"{}"), whole(200, b'{"data": []}'))
        provider = remote(kind, far.url + path, **given)
        asked = request(provider, json.dumps({"model": model}).encode(), model=model)
        await read(provider, asked)
        (passage,) = provider.passages
        async with provider.fetch(passage, asked) as chunks:
            assert [chunk async for chunk in chunks] == [b"{}"]
        await provider.models()
        await provider.close()
        return far.requests


@either
@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ("bearer", "authorization", f"Bearer {KEY}"),
        ("api-key", "api-key", KEY),
        ("x-api-key", "x-api-key", KEY),
    ],
)
def test_the_key_is_sent_in_one_header_and_in_no_other(
    kind: str, auth: str, header: str, value: str
) -> None:
    for received in run(_asked(kind, auth=auth)):
        assert received.header(header) == value
        assert str(received.headers).count(KEY) == 1
        assert "none" not in [value for _, value in received.headers]


@either
def test_each_request_carries_the_query(kind: str) -> None:
    paths = [
        each.path for each in run(_asked(kind, query={"api-version": "2024-10-21", "a": "ü&"}))
    ]
    query = "api-version=2024-10-21&a=%C3%BC%26"
    first, second, listed = {
        "openai": ("/v1/chat/completions?", "/v1/embeddings?", "/v1/models?"),
        "anthropic": ("/v1/messages?", "/v1/messages/count_tokens?", "/v1/models?limit=1000&"),
    }[kind]
    assert paths == [first + query, second + query, listed + query]


def test_the_model_can_be_part_of_the_address() -> None:
    settings = {"query": {"api-version": "1"}, "auth": "api-key"}
    answer, embedding = run(_asked("openai", "a/b c", "/deployments/{model}", **settings))
    assert answer.path == "/deployments/a%2Fb%20c/v1/chat/completions?api-version=1"
    assert embedding.path == "/deployments/a%2Fb%20c/v1/embeddings?api-version=1"
    assert answer.header("api-key") == KEY


@either
def test_fields_of_the_config_win_over_the_clients_in_an_answers_body_alone(kind: str) -> None:
    async def main() -> list[Received]:
        async with FakeProvider.running() as far:
            far.plays(streamed([ANSWER]), whole(200, b"{}"))
            own = {"store": msgspec.Raw(b"false"), "x": msgspec.Raw(b'{"a":[1.5,"z"]}')}
            provider = remote(kind, far.url, body=own)
            asked = request(provider, b'{"model":"m","store":true,"n":1.50}')
            await read(provider, asked)
            async with provider.fetch(min(provider.passages), asked) as chunks:
                assert [chunk async for chunk in chunks]
            await provider.close()
            return far.requests

    answer, passage = run(main())
    assert answer.body == b'{"model":"m","store":false,"n":1.50,"x":{"a":[1.5,"z"]}}'
    assert answer.header("content-length") == str(len(answer.body))
    assert passage.body == b'{"model":"m","store":true,"n":1.50}'


@either
def test_an_authority_of_ones_own_is_trusted_in_place_of_the_systems(
    kind: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with FakeProvider.running(serving()) as far:
            far.always_plays(streamed([ANSWER]))
            trusting = remote(kind, far.url, ca_file=OWN)
            assert await read(trusting) == ANSWER
            await trusting.close()
            other = remote(kind, far.url, ca_file=Certificates("x", _authority(tmp_path)))
            with pytest.raises(ProviderUnreachable, match="its certificate is not trusted"):
                await read(other)
            await other.close()

    run(main())


def _authority(folder: Path) -> str:
    made = folder / "other.pem"
    making = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=other -keyout key -out"
    subprocess.run([*making.split(), str(made)], check=True, capture_output=True, cwd=folder)
    return made.read_text()


@either
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_an_https_provider_is_reached_in_a_tunnel_through_the_proxy(
    kind: str, is_tls: bool
) -> None:
    async def main() -> None:
        async with (
            Tunnels.running(serving() if is_tls else None) as tunnels,
            FakeProvider.running(serving()) as far,
        ):
            far.always_plays(streamed([ANSWER]))
            url = tunnels.url.replace("://", "://user:pass%2Bword-of-the-proxy@")
            provider = remote(kind, far.url, ca_file=OWN, proxy=Secret(url, "env:PROXY"))
            assert await read(provider) == await read(provider) == ANSWER
            await provider.close()
            (head,) = tunnels.heads
            assert head.startswith(f"CONNECT {far.url.removeprefix('https://')} HTTP/1.1\r\n")
            assert "Proxy-Authorization: Basic dXNlcjpwYXNzK3dvcmQtb2YtdGhlLXByb3h5" in head
            assert KEY not in head
            assert [each.header("proxy-authorization") for each in far.requests] == [None, None]

    run(main())


@either
def test_an_http_provider_is_asked_through_the_proxy_by_its_whole_address(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as proxy:
            proxy.always_plays(streamed([ANSWER]))
            provider = remote(kind, "http://far.example:81", proxy=Secret(proxy.url, ""))
            assert await read(provider) == ANSWER
            await provider.close()
            (received,) = proxy.requests
            assert received.path.startswith("http://far.example:81/v1/")
            assert received.header("host") == "far.example:81"

    run(main())


@either
def test_a_proxy_that_refuses_or_is_not_there_is_told_from_the_provider(kind: str) -> None:
    async def main() -> None:
        async with Tunnels.running(status=407) as tunnels:
            url = tunnels.url.replace("://", f"://user:{PASSWORD}@")
            provider = remote(kind, "https://far.example", proxy=Secret(url, "env:PROXY"))
            with pytest.raises(
                ProviderUnreachable, match="its proxy answers with status 407"
            ) as no:
                await read(provider)
            assert not no.value.was_asked
            assert PASSWORD not in str(no.value)
            await provider.close()
        provider = remote(kind, "https://far.example", proxy=Secret(url, "env:PROXY"))
        with pytest.raises(ProviderUnreachable, match="no connection to its proxy can be made"):
            await read(provider)
        await provider.close()

    run(main())


@either
def test_an_error_that_repeats_the_proxys_password_is_not_passed_on(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as proxy:
            body = json.dumps({"type": "error", "error": {"type": "x", "message": PASSWORD}})
            proxy.always_plays(whole(502, body.encode()))
            url = proxy.url.replace("://", "://user:pass%2Bword-of-the-proxy@")
            provider = remote(kind, "http://far.example", proxy=Secret(url, "env:PROXY"))
            with pytest.raises(ProviderRefused) as refused:
                await read(provider)
            assert refused.value.body is None
            assert PASSWORD not in str(refused.value)
            await provider.close()

    run(main())


@either
def test_what_is_asked_for_in_one_piece_must_be_json(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(whole(200, b'{\n "a": 1 }'))
            provider = remote(kind, far.url)
            asked = UpstreamRequest(min(provider.dialects), "m", b"{}", is_whole=True)
            assert await read(provider, asked) == b'{\n "a": 1 }'
            await provider.close()
            assert far.requests[0].header("accept") == "application/json"

    run(main())


@pytest.mark.parametrize("model", [".", "..", "..."])
def test_a_model_of_dots_does_not_lead_to_another_address(model: str) -> None:
    async def main() -> list[Received]:
        async with FakeProvider.running() as far:
            provider = remote("openai", far.url + "/deployments/{model}")
            asked = request(provider, model=model)
            with pytest.raises(ProviderRefused) as refused:
                await read(provider, asked)
            assert refused.value.upstream_status == 404
            await provider.close()
            return far.requests

    assert run(main()) == []
