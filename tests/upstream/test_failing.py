"""How a provider's failures come out: one error each, one request each, no secret in any."""

import asyncio
import json
import socket
import time
import traceback
from collections.abc import Sequence

import httpx2
import pytest

from proxy.config import Secret
from proxy.errors import (
    ProviderError,
    ProviderGarbled,
    ProviderRefused,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
)
from proxy.relay.estimate import did_nothing
from proxy.upstream import http
from proxy.upstream.retry_after import retry_after_s
from tests.upstream.asking import KEY, KINDS, read, remote, request, run
from tests.upstream.fake_provider import (
    LAST_CHUNK,
    Deaf,
    FakeProvider,
    Finish,
    Reset,
    Send,
    Stall,
    Step,
    chunk,
    head,
    whole,
)

either = pytest.mark.parametrize("kind", KINDS)

OPENAI_ERROR = (
    b'{ "error": {"message": "Slow \\u0064own.", "type": "requests", "param": null,'
    b' "code": "rate_limit_exceeded", "new": [1]} }'
)
ANTHROPIC_ERROR = (
    b'{ "type": "error", "error": {"type": "overloaded_error", "message": "Overloaded",'
    b' "details": {}}, "request_id": "req_1" }'
)
ERRORS = {"openai": OPENAI_ERROR, "anthropic": ANTHROPIC_ERROR}


async def _failure(kind: str, script: Sequence[Step], **given: object) -> ProviderError:
    """The error of a provider that plays `script`; it was asked exactly once."""
    async with FakeProvider.running() as far:
        far.plays(script)
        provider = remote(kind, far.url, **given)
        with pytest.raises(ProviderError) as caught:
            await read(provider)
        await asyncio.sleep(0)  # a retry would be on its way
        await provider.close()
        assert len(far.requests) <= 1
        assert far.connections == 1
        return caught.value


# --- refusals -------------------------------------------------------------------------------------


@either
@pytest.mark.parametrize("status", [400, 404, 408, 409, 413, 422, 429, 500, 503, 504, 529])
def test_a_refusal_keeps_its_status_and_the_bytes_of_its_body(kind: str, status: int) -> None:
    error = run(_failure(kind, whole(status, ERRORS[kind])))
    assert isinstance(error, ProviderRefused)
    assert error.problem().status == status
    assert error.problem().body == ERRORS[kind]


@either
@pytest.mark.parametrize("status", [401, 402, 403, 407])
def test_a_refusal_of_our_account_is_not_the_clients(kind: str, status: int) -> None:
    error = run(_failure(kind, whole(status, ERRORS[kind])))
    assert isinstance(error, ProviderRefused)
    assert error.upstream_status == status
    assert (error.problem().status, error.problem().body) == (502, None)


@pytest.mark.parametrize(
    ("kind", "body", "code", "message"),
    [
        ("openai", OPENAI_ERROR, "rate_limit_exceeded", "Slow down."),
        ("openai", b'{"error":{"message":"m","type":"t"}}', "t", "m"),
        ("openai", b'{"error":{"message":"m","type":"t","code":400}}', "t", "m"),
        ("openai", b'{"error":{"message":"m","code":"a\\nb"}}', None, "m"),
        ("anthropic", ANTHROPIC_ERROR, "overloaded_error", "Overloaded"),
        ("anthropic", b'{"type":"error","error":{"type":"t","message":"m"}}', "t", "m"),
    ],
)
def test_code_and_message_are_read_from_the_body(
    kind: str, body: bytes, code: str | None, message: str
) -> None:
    error = run(_failure(kind, whole(429, body)))
    assert isinstance(error, ProviderRefused)
    assert (error.upstream_code, error.upstream_message, error.body) == (code, message, body)


@either
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b'"error"',
        b"[]",
        b"{}",
        b'{"error": "in words"}',
        b'{"error": {"text": "another shape"}}',
        b'{"error": {"message": 1}}',
        b'{"error": {"message": "cut',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
def test_a_body_of_another_shape_is_not_passed_on(kind: str, body: bytes) -> None:
    error = run(_failure(kind, whole(500, body)))
    assert isinstance(error, ProviderRefused)
    assert (error.upstream_status, error.upstream_code, error.body) == (500, None, None)


@either
def test_a_body_in_the_other_dialect_is_not_passed_on(kind: str) -> None:
    other = OPENAI_ERROR if kind == "anthropic" else b'{"type":"error","message":"m"}'
    error = run(_failure(kind, whole(500, other)))
    assert isinstance(error, ProviderRefused)
    assert error.body is None


@either
def test_an_endless_error_body_is_read_to_a_bound_and_closed(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays([Send(head(500)), *[Send(chunk(b" " * 10_000))] * 7, Stall()])
            provider = remote(kind, far.url)
            with pytest.raises(ProviderRefused) as caught:
                await read(provider)
            await far.until(lambda: far.open == 0, within_s=1)
            await provider.close()
            assert caught.value.body is None

    run(main())


@either
def test_an_error_body_of_the_largest_size_is_passed_on(kind: str) -> None:
    filler = b" " * (http.ERROR_BYTES_MAX - len(ERRORS[kind]))
    body = ERRORS[kind] + filler
    error = run(_failure(kind, whole(500, body)))
    assert isinstance(error, ProviderRefused)
    assert error.body == body


@either
@pytest.mark.parametrize("end", [Stall(), Finish(), Reset()], ids=["stalls", "ends", "breaks"])
def test_a_refusal_whose_body_never_ends_is_a_refusal(
    kind: str, end: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_ERROR_S", 0.2)
    error = run(_failure(kind, [Send(head(503)), Send(chunk(b'{"err')), end]))
    assert isinstance(error, ProviderRefused)
    assert (error.upstream_status, error.body) == (503, None)


@either
def test_a_refusal_in_the_middle_of_a_large_body_is_heard(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays([Deaf(), *whole(413, ERRORS[kind]), Stall()])
            provider = remote(kind, far.url)
            with pytest.raises(ProviderRefused) as caught:
                await read(provider, request(provider, b" " * 20_000_000))
            await provider.close()
            assert caught.value.upstream_status == 413

    run(main())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, 86_400.0),
        ({"retry-after": "1e308"}, 86_400.0),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": ""}, None),
        (
            {
                "date": "Fri, 02 Jan 2026 03:04:05 GMT",
                "retry-after": "Fri, 02 Jan 2026 03:04:35 GMT",
            },
            30.0,
        ),
        (
            {
                "date": "Fri, 02 Jan 2026 03:04:05 GMT",
                "retry-after": "Fri, 02 Jan 2026 03:00:00 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:35 GMT"}, None),
        ({"date": "?", "retry-after": "Fri, 99 Jan 9999999 03:04:35 GMT"}, None),
    ],
)
def test_when_to_come_back_is_read_in_all_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(httpx2.Headers(headers)) == seconds


@either
def test_a_refusal_says_when_to_come_back(kind: str) -> None:
    headers = (("content-type", "application/json"), ("retry-after", "12"))
    error = run(_failure(kind, whole(429, ERRORS[kind], headers)))
    assert error.problem().retry_after_s == 12.0


# --- no answer ------------------------------------------------------------------------------------


@either
@pytest.mark.parametrize(
    ("script", "expected", "says"),
    [
        ([Finish()], ProviderUnreachable, "'far' failed: it broke before the answer"),
        ([Reset()], ProviderUnreachable, "'far' failed: it broke before the answer"),
        ([Send(b"HTTP/1.1 200"), Finish()], ProviderUnreachable, "it broke before the answer"),
        ([Send(b"HTTP/1.1 200 OK\r\nx: "), Reset()], ProviderUnreachable, "broke before"),
        ([Send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), Stall()], ProviderGarbled, "is not HTTP"),
        ([Send(b"HTTP/1.1 two OK\r\n\r\n"), Stall()], ProviderGarbled, "is not HTTP"),
        (
            [Send(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 40_000 + b"\r\n\r\n"), Stall()],
            ProviderGarbled,
            "is not HTTP",
        ),
    ],
    ids=["hangs up", "resets", "half a line", "half a header", "ssh", "no status", "huge header"],
)
def test_an_answer_that_does_not_begin(
    kind: str, script: Sequence[Step], expected: type[ProviderError], says: str
) -> None:
    error = run(_failure(kind, script))
    assert type(error) is expected
    assert says in str(error)
    assert not did_nothing(error)


@either
def test_an_answer_in_another_protocol_is_a_refusal(kind: str) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    error = run(_failure(kind, [Send(switch), Finish()]))
    assert isinstance(error, ProviderRefused)
    assert error.problem().status == 502


@either
def test_a_refused_connection_is_unreachable(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]

    async def main() -> None:
        provider = remote(kind, f"http://127.0.0.1:{port}")
        with pytest.raises(ProviderUnreachable, match="'far' failed: it is refused") as caught:
            await read(provider)
        await provider.close()
        assert "127.0.0.1" not in str(caught.value)
        assert did_nothing(caught.value)

    run(main())


@either
def test_a_connection_that_is_not_accepted_in_time_is_stalled(kind: str) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
            place = deaf.getsockname()
            waiting = [socket.socket() for _ in range(4)]
            for plug in waiting:  # fill the queue; the kernel then drops what knocks
                plug.setblocking(False)
                plug.connect_ex(place)
            provider = remote(kind, f"http://127.0.0.1:{place[1]}", connect_s=0.3)
            begun = time.monotonic()
            with pytest.raises(ProviderStalled, match="did not accept a connection"):
                await read(provider)
            assert time.monotonic() - begun < 5
            await provider.close()
            for plug in waiting:
                plug.close()

    run(main())


@either
def test_over_tls_a_server_that_speaks_plainly_is_unreachable(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            provider = remote(kind, far.url.replace("http:", "https:"))
            task = asyncio.create_task(read(provider))
            await far.until(lambda: far.bytes_heard > 0)
            far.cut_all()
            with pytest.raises(ProviderUnreachable):
                await task
            await provider.close()

    run(main())


# --- half an answer -------------------------------------------------------------------------------

EVENT = b"data: {}\n\n"


@either
@pytest.mark.parametrize(
    "rest",
    [
        [Finish()],
        [Reset()],
        [Send(chunk(EVENT)), Finish()],
        [Send(chunk(EVENT)), Reset()],
        [Send(chunk(EVENT)[:-5]), Finish()],
        [Send(chunk(EVENT)[:-5]), Reset()],
        [Send(chunk(EVENT)), Send(b"5"), Finish()],
        [Send(chunk(EVENT)), Send(LAST_CHUNK[:-2]), Finish()],
    ],
    ids=[
        "ends at once",
        "resets at once",
        "ends",
        "resets",
        "ends in a chunk",
        "resets in a chunk",
        "ends in a chunk's size",
        "ends in the last chunk",
    ],
)
def test_an_answer_that_breaks_off_is_truncated(kind: str, rest: Sequence[Step]) -> None:
    error = run(_failure(kind, [Send(head()), *rest]))
    assert type(error) is ProviderTruncated


@either
def test_an_answer_shorter_than_it_said_is_truncated(kind: str) -> None:
    script: list[Step] = [Send(head(framing="content-length: 100")), Send(EVENT), Finish()]
    assert type(run(_failure(kind, script))) is ProviderTruncated


@either
def test_what_came_before_the_break_is_not_lost(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays([Send(head()), Send(chunk(EVENT)), Send(chunk(EVENT)[:-5]), Finish()])
            provider = remote(kind, far.url)
            heard = bytearray()
            with pytest.raises(ProviderTruncated):
                await read(provider, into=heard)
            await provider.close()
            assert heard.startswith(EVENT)

    run(main())


@either
def test_an_answer_without_framing_ends_with_its_connection(kind: str) -> None:
    """Whether it was whole is then for the dialect's terminator to say."""

    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays([Send(head(framing="")), Send(EVENT), Finish()])
            provider = remote(kind, far.url)
            assert await read(provider) == EVENT
            await provider.close()

    run(main())


# --- secrets --------------------------------------------------------------------------------------


@either
@pytest.mark.parametrize("status", [400, 401, 429, 500])
@pytest.mark.parametrize("form", ["plain", "escaped", "in a header's words"])
def test_a_provider_that_repeats_a_credential_is_not_quoted(
    kind: str, status: int, form: str
) -> None:
    secret = "another-secret-word" if form == "in a header's words" else KEY
    said = json.dumps(f"You sent {secret}!")
    said = said.replace("/", "\\/") if form == "escaped" else said
    body = b'{"type":"error","error":{"type":"t","message":%b}}' % said.encode()
    own = {"x-own": Secret("Basic another-secret-word", "env:OWN")}
    error = run(_failure(kind, whole(status, body), headers=own))
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert secret not in shown.replace("\\/", "/").replace("\\\\", "\\")
    assert error.problem().body is None


@either
def test_a_word_that_is_no_secret_may_be_quoted(kind: str) -> None:
    own = {"x-title": Secret("Overloaded down.", "")}
    error = run(_failure(kind, whole(500, ERRORS[kind]), headers=own))
    assert error.problem().body == ERRORS[kind]


@either
def test_a_provider_does_not_show_its_credential(kind: str) -> None:
    provider = remote(kind, "http://127.0.0.1:9", headers={"x-own": Secret("hidden-word", "")})
    assert repr(provider).endswith("('far')")
    assert KEY not in f"{provider} {provider!r}"
    run(provider.close())


# --- lists of models ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        (
            "openai",
            "/v1/models",
            b"""{"object":"list","data":[{"id":"b","created":1767225600,"owned_by":"acme"},
            {"id":"a","created":null,"active":true}]}""",
        ),
        (
            "anthropic",
            "/v1/models?limit=1000",
            b"""{"data":[{"type":"model","id":"b","created_at":"2026-01-01T00:00:00Z"},
            {"id":"a","display_name":"A"}],"has_more":false}""",
        ),
    ],
)
def test_models_are_listed_as_the_provider_says(kind: str, path: str, body: bytes) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(whole(200, body))
            provider = remote(kind, far.url)
            first, second = await provider.models()
            await provider.close()
            owner = "acme" if kind == "openai" else ""
            assert (first.id, first.created, first.owned_by) == ("b", 1_767_225_600, owner)
            assert (second.id, second.created, second.owned_by) == ("a", 0, "")
            received = far.requests[0]
            assert (received.method, received.path) == ("GET", path)
            assert received.header("authorization") == f"Bearer {KEY}"
            assert received.header("accept") == "application/json"

    run(main())


@either
def test_no_more_than_a_thousand_models_are_taken(kind: str) -> None:
    async def main() -> None:
        many = json.dumps({"data": [{"id": f"m{n}"} for n in range(1500)]}).encode()
        async with FakeProvider.running() as far:
            far.plays(whole(200, many), whole(200, b'{"object":"list","data":null}'))
            provider = remote(kind, far.url)
            assert len(await provider.models()) == 1000
            assert await provider.models() == []
            await provider.close()

    run(main())


@either
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (whole(200, b"<html>"), ProviderGarbled),
        (whole(200, b'["a"]'), ProviderGarbled),
        (whole(200, b'{"data":[{"name":"a"}]}'), ProviderGarbled),
        ([Send(head()), *[Send(chunk(b" " * 1_000_000))] * 5, Stall()], ProviderGarbled),
        (whole(404, b"{}"), ProviderRefused),
        ([Send(head()), Send(chunk(b'{"da')), Finish()], ProviderTruncated),
        ([Reset()], ProviderUnreachable),
    ],
    ids=["html", "list", "no ids", "huge", "refused", "cut", "reset"],
)
def test_a_list_that_cannot_be_had_is_an_error(
    kind: str, script: Sequence[Step], expected: type[ProviderError]
) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays(script)  # aiohttp repeats a GET that broke, once
            provider = remote(kind, far.url)
            with pytest.raises(expected):
                await provider.models()
            await provider.close()

    run(main())
