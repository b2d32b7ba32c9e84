"""What a provider over HTTP is sent, and what of its answer comes out."""

import asyncio
import gzip
import ssl
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import Secret
from proxy.errors import ProviderGarbled, ProviderRefused, ProviderUnreachable
from tests.upstream.asking import KEY, KINDS, read, remote, request, run
from tests.upstream.fake_provider import (
    FakeProvider,
    Finish,
    Received,
    Send,
    chunk,
    head,
    streamed,
    whole,
)

PEM = Path(__file__).parent / "loopback.pem"
ANSWER = 'data: {"text": "grüße 👋 漢字"}\r\n\r\ndata: [DONE]\n\n'.encode()

either = pytest.mark.parametrize("kind", KINDS)


async def _sent(kind: str, **given: object) -> Received:
    """The request that a provider gets."""
    async with FakeProvider.running() as far:
        far.always_plays(streamed([ANSWER]))
        provider = remote(kind, far.url, **given)
        assert await read(provider) == ANSWER
        await provider.close()
        return far.requests[0]


@either
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_bytes_come_out_as_they_went_in_however_they_are_cut(
    kind: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(ANSWER) - 1))))
    pieces = [ANSWER[a:b] for a, b in zip([0, *cuts], [*cuts, len(ANSWER)], strict=True)]
    pause_s = data.draw(st.sampled_from([0.0, 0.0001]))

    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(streamed(pieces, pause_s=pause_s))
            provider = remote(kind, far.url)
            assert await read(provider) == ANSWER
            await provider.close()

    run(main())


@either
@pytest.mark.parametrize(
    "script",
    [
        pytest.param([Send(head(framing=f"content-length: {len(ANSWER)}") + ANSWER)], id="length"),
        pytest.param([Send(head(framing="") + ANSWER), Finish()], id="to the end of connection"),
        pytest.param([Send(b"HTTP/1.1 100 Continue\r\n\r\n"), *streamed([ANSWER])], id="100 first"),
        pytest.param([Send(head(headers=())), *streamed([ANSWER])[1:]], id="no content-type"),
        pytest.param(
            [
                Send(head(headers=(("Content-Type", "Text/Event-Stream; charset=UTF-8"),))),
                *streamed([ANSWER])[1:],
            ],
            id="content-type with parameters",
        ),
        pytest.param(
            [
                Send(
                    head(
                        headers=(
                            ("content-type", "text/event-stream"),
                            ("content-security-policy", "x" * 20_000),
                        )
                    )
                ),
                *streamed([ANSWER])[1:],
            ],
            id="long header",
        ),
    ],
)
def test_every_good_way_to_send_an_answer_is_understood(kind: str, script: list[object]) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(script)  # type: ignore[arg-type]
            provider = remote(kind, far.url)
            assert await read(provider) == ANSWER
            await provider.close()

    run(main())


@either
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m"}',
        '{"model":\t"m",\r\n "n": 1.0e+2,  "s":"\\u00e9\u00e9 \\/ 👋"}'.encode(),
        b'{"model":"m","image":"' + b"QUJD" * 1_000_000 + b'"}',
    ],
    ids=["plain", "odd", "4 MB"],
)
def test_the_body_is_sent_byte_for_byte(kind: str, body: bytes) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(streamed([ANSWER]))
            provider = remote(kind, far.url)
            await read(provider, request(provider, body))
            await provider.close()
            received = far.requests[0]
            assert received.body == body
            assert received.header("content-length") == str(len(body))
            assert received.header("transfer-encoding") is None

    run(main())


@either
def test_a_request_says_who_asks_and_takes_only_plain_events(kind: str) -> None:
    received = run(_sent(kind))
    paths = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
    assert (received.method, received.path) == ("POST", paths[kind])
    assert received.header("authorization") == f"Bearer {KEY}"
    assert received.header("content-type") == "application/json"
    assert received.header("accept") == "text/event-stream"
    assert received.header("accept-encoding") == "identity"


@either
def test_without_a_key_none_is_sent_and_none_is_looked_for(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from the environment")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "from the environment")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from the environment")
    received = run(_sent(kind, api_key=None))
    assert received.header("authorization") is None
    assert received.header("x-api-key") is None
    assert "from the environment" not in str(received.headers)


def test_without_a_key_anthropics_profiles_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("ANTHROPIC_PROFILE", "nobody")
    assert run(_sent("anthropic", api_key=None)).header("authorization") is None


@either
def test_nothing_but_the_config_says_what_is_sent_and_where(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OPENAI_ORG_ID": "org-ambient",
        "OPENAI_PROJECT_ID": "ambient",
        "OPENAI_CUSTOM_HEADERS": "x-ambient: 1\nauthorization: ambient",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/ambient",
        "ANTHROPIC_CUSTOM_HEADERS": "x-ambient: 1\nauthorization: ambient",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/ambient",
        "ANTHROPIC_AUTH_TOKEN": "ambient",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    received = run(_sent(kind))
    assert "ambient" not in f"{received.headers} {received.path}"


@either
def test_the_clients_headers_win_over_the_configs_and_those_over_the_sdks(kind: str) -> None:
    async def main() -> Received:
        async with FakeProvider.running() as far:
            far.plays(streamed([ANSWER]))
            own = {
                "Anthropic-Version": Secret("2024-01-01", ""),
                "X-Title": Secret("ours", ""),
                "User-Agent": Secret("midstream", ""),
            }
            provider = remote(kind, far.url, headers=own)
            passed_on = (
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "a-1"),
                ("Anthropic-Beta", "b-2"),
                ("openai-beta", "c=v1"),
                ("x-broken", "caf\u00e9\r\nx-injected: 1"),
            )
            await read(provider, request(provider, headers=passed_on))
            await provider.close()
            return far.requests[0]

    received = run(main())
    assert received.header("anthropic-version") == "2023-06-01"
    assert received.header("x-title") == "ours"
    assert received.header("user-agent") == "midstream"
    assert received.header("anthropic-beta") == "a-1, b-2"
    assert received.header("openai-beta") == "c=v1"
    assert received.header("x-broken") is None
    assert received.header("x-injected") is None


@either
def test_a_header_of_the_config_can_carry_the_credential(kind: str) -> None:
    received = run(_sent(kind, api_key=None, headers={"Authorization": Secret("Basic abc", "")}))
    assert received.header("authorization") == "Basic abc"


def test_anthropics_version_is_the_sdks_if_the_client_names_none() -> None:
    assert run(_sent("anthropic")).header("anthropic-version")


@either
def test_no_cookie_is_kept(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            cookies = (("content-type", "text/event-stream"), ("set-cookie", "a=1; Path=/"))
            far.plays(
                [Send(head(headers=cookies)), *streamed([ANSWER])[1:]],
                whole(429, b"{}", cookies),
                streamed([ANSWER]),
            )
            # by name, because cookies of bare addresses are ignored anyway
            provider = remote(kind, far.url.replace("127.0.0.1", "localhost"))
            await read(provider)
            with pytest.raises(ProviderRefused):
                await read(provider)
            await read(provider)
            await provider.close()
            assert [received.header("cookie") for received in far.requests] == [None] * 3

    run(main())


@either
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_refusal_and_is_not_followed(kind: str, status: int) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far, FakeProvider.running() as elsewhere:
            far.plays(whole(status, b"", (("location", f"{elsewhere.url}/v1/messages"),)))
            provider = remote(kind, far.url)
            with pytest.raises(ProviderRefused) as caught:
                await read(provider)
            await provider.close()
            assert caught.value.upstream_status == status
            assert caught.value.problem().status == 502
            assert (len(far.requests), elsewhere.connections) == (1, 0)

    run(main())


@either
@pytest.mark.parametrize("location", ["", ":x:", "http://[", "http://x:99999999/", "//", "\xff"])
def test_a_redirect_to_nowhere_is_a_refusal_too(kind: str, location: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(whole(302, b"", (("location", location),)))
            provider = remote(kind, far.url)
            with pytest.raises(ProviderRefused):
                await read(provider)
            await provider.close()

    run(main())


@either
@pytest.mark.parametrize(
    ("type_", "said"),
    [("text/html; charset=utf-8", "'text/html'"), ("application/json", "'application/json'")],
)
def test_a_success_that_is_no_event_stream_is_garbled(kind: str, type_: str, said: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(whole(200, b'{"error": {"message": "no"}}', (("content-type", type_),)))
            provider = remote(kind, far.url)
            with pytest.raises(ProviderGarbled, match=said):
                await read(provider)
            await provider.close()

    run(main())


@either
def test_a_compressed_answer_is_refused_and_not_unpacked(kind: str) -> None:
    async def main() -> None:
        packed = gzip.compress(ANSWER)
        types = (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
        async with FakeProvider.running() as far:
            far.plays(whole(200, packed, types), whole(500, packed, types))
            provider = remote(kind, far.url)
            with pytest.raises(ProviderGarbled, match="content-encoding 'gzip'"):
                await read(provider)
            with pytest.raises(ProviderRefused) as caught:
                await read(provider)
            await provider.close()
            assert caught.value.body is None

    run(main())


@either
def test_over_tls_a_certificate_must_be_trusted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(PEM)
        async with FakeProvider.running(tls) as far:
            far.always_plays(streamed([ANSWER]))
            trusting_nobody = remote(kind, far.url)
            with pytest.raises(ProviderUnreachable, match="its certificate is not trusted"):
                await read(trusting_nobody)
            monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
            trusting = remote(kind, far.url)
            assert await read(trusting) == ANSWER
            await trusting_nobody.close()
            await trusting.close()

    run(main())


@either
def test_large_answers_come_through_a_reader_that_pauses(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            piece = b"data: " + b"x" * 1_000_000 + b"\n\n"
            far.plays([Send(head()), *[Send(chunk(piece))] * 8, Send(b"0\r\n\r\n")])
            provider = remote(kind, far.url)
            raw = bytearray()
            async with provider.stream(request(provider)) as chunks:
                async for part in chunks:
                    raw += part
                    if len(raw) < len(part) * 4:
                        await asyncio.sleep(0.01)
            await provider.close()
            assert raw == piece * 8

    run(main())
