"""Which answers over HTTP are kept by their provider, and how the rest of one is asked for."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from proxy.errors import ProviderRefused, ProviderTruncated
from proxy.relay.lines import Line
from proxy.relay.ports import START, Kept, Place
from proxy.stream import Frame
from tests.upstream.asking import KEY, KINDS, remote, request, run
from tests.upstream.fake_provider import (
    FakeProvider,
    Finish,
    Received,
    Send,
    Step,
    chunk,
    head,
    streamed,
    whole,
)

ID = "st_" + "a1" * 13
BOTH = ("openai.chat", "openai.responses")
SSE = ("content-type", "text/event-stream")
NAMED = (SSE, ("midstream-stream", ID))
BACKGROUND = b'{"model":"m","background":true,"stream":true}'
CREATED = b'data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1"}}\n\n'


def numbered(*numbers: int) -> list[bytes]:
    return [b'id: %d\nevent: e\ndata: {"n":%d}\n\n' % (number, number) for number in numbers]


def cut(pieces: Sequence[bytes], headers: Sequence[tuple[str, str]]) -> list[Step]:
    """An answer whose connection closes before the body's end."""
    return [Send(head(200, headers)), *(Send(chunk(piece)) for piece in pieces), Finish()]


def heard(
    kind: str, scripts: Sequence[Sequence[Step]], count: int, **asked: object
) -> tuple[list[bytes], list[Received], str]:
    """So many frames, the requests that were made for them, and the name of the answer."""

    async def main() -> tuple[list[bytes], list[Received], str]:
        async with FakeProvider.running() as far:
            far.plays(*scripts)
            spoken = {"dialects": BOTH} if kind == "openai" else {}
            provider = remote(kind, far.url, **spoken)
            wanted = request(provider, **asked)  # type: ignore[arg-type]
            line = Line(provider, wanted, 10_000, now_ns=lambda: 0, draw=lambda: 0.0)
            frames: list[Frame] = []
            try:
                async with asyncio.timeout(5), line:
                    async for some in line:
                        frames += some
                        if len(frames) >= count:
                            break
            finally:
                await provider.close()
            return [frame.data for frame in frames], far.requests, line.name

    return run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_another_midstream_is_asked_for_the_events_after_the_last_one_that_came_whole(
    kind: str,
) -> None:
    ping = b"event: ping\ndata: {}\n\n"
    first = cut([*numbered(1, 2), ping, b"id: 3\ndata: {"], NAMED)
    frames, requests, name = heard(kind, [first, streamed(numbered(3, 4))], 5)
    assert frames == [b'{"n":1}', b'{"n":2}', b"{}", b'{"n":3}', b'{"n":4}']
    assert name == ID
    post, get = requests
    assert (post.method, get.method) == ("POST", "GET")
    assert get.path == f"/v1/streams/{ID}/events"
    assert get.header("last-event-id") == "2"
    assert get.header("accept") == "text/event-stream"
    assert KEY in (get.header("authorization") or get.header("x-api-key") or "")
    assert not get.body


def test_a_response_in_the_background_is_asked_for_after_its_last_number() -> None:
    first = cut([CREATED, b'data: {"type":"x","sequence_number":7}\n\n'], [SSE])
    rest = streamed([b'data: {"type":"y","sequence_number":8}\n\n'])
    frames, requests, name = heard(
        "openai", [first, rest], 3, body=BACKGROUND, dialect="openai.responses"
    )
    assert [json.loads(frame)["sequence_number"] for frame in frames] == [0, 7, 8]
    assert name == "resp_1"
    assert requests[1].method == "GET"
    assert requests[1].path == "/v1/responses/resp_1?stream=true&starting_after=7"


def test_a_response_that_is_told_from_its_beginning_again_is_not_heard_twice() -> None:
    first = [CREATED, b'data: {"type":"x","sequence_number":7}\n\n']
    rest = [*first, b'data: {"type":"y","sequence_number":8}\n\n', b'data: {"type":"z"}\n\n']
    frames, _, _ = heard(
        "openai",
        [cut(first, [SSE]), streamed(rest)],
        4,
        body=BACKGROUND,
        dialect="openai.responses",
    )
    assert [json.loads(frame).get("sequence_number") for frame in frames] == [0, 7, 8, None]


@pytest.mark.parametrize("headers", [[SSE], NAMED], ids=["response", "stream"])
def test_an_answer_without_numbers_is_not_heard_from_its_beginning_again(
    headers: Sequence[tuple[str, str]],
) -> None:
    pieces = [CREATED, b'data: {"type":"x"}\n\n']
    with pytest.raises(ProviderTruncated):
        heard(
            "openai",
            [cut(pieces, headers), streamed(pieces)],
            3,
            body=BACKGROUND,
            dialect="openai.responses",
        )


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","stream":true}',
        b'{"model":"m","background":false}',
        b'{"model":"m","background":true,"store":false}',
        b'{"model":"m","input":"\\"background\\": true"}',
    ],
)
def test_what_openai_makes_for_a_listener_alone_is_not_asked_for_again(body: bytes) -> None:
    with pytest.raises(ProviderTruncated):
        heard("openai", [cut([CREATED], [SSE])], 2, body=body, dialect="openai.responses")


@pytest.mark.parametrize("name", ["", "st_short", "../../v1/models", ID + "/x"])
def test_a_header_that_names_no_stream_is_not_followed(name: str) -> None:
    headers = [SSE, ("midstream-stream", name)]
    with pytest.raises(ProviderTruncated):
        heard("openai", [cut(numbered(1), headers)], 2)


@pytest.mark.parametrize("kind", KINDS)
def test_resumes_never_takes_each_cut_for_the_end(kind: str) -> None:
    async def main() -> bool:
        async with FakeProvider.running() as far:
            far.plays(cut(numbered(1), NAMED))
            provider = remote(kind, far.url, resumes="never")
            async with provider.stream(request(provider)) as chunks:
                is_kept = isinstance(chunks, Kept)
            await provider.close()
            return is_kept

    assert not run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_has_ended_at_the_place_has_no_rest(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays([Send(head(204, (), framing="content-length: 0"))])
            provider = remote(kind, far.url)
            with pytest.raises(ProviderTruncated):
                async with provider.resume(request(provider), ID, Place(9, "9")):
                    raise AssertionError("there is nothing to listen to")
            await provider.close()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_from_the_start_on_no_place_is_named(kind: str) -> None:
    async def main() -> list[Received]:
        async with FakeProvider.running() as far:
            far.plays(streamed(numbered(1)), streamed(numbered(1)))
            provider = remote(kind, far.url)
            for name in (ID, "resp_1"):
                async with provider.resume(request(provider), name, START):
                    pass
            await provider.close()
            return far.requests

    stream, response = run(main())
    assert stream.header("last-event-id") is None
    assert response.path == "/v1/responses/resp_1?stream=true"


@pytest.mark.parametrize(("name", "of"), [(ID, "streams"), ("resp_1", "responses")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cancel_is_a_post_beside_the_answer(kind: str, name: str, of: str) -> None:
    async def main() -> Received:
        async with FakeProvider.running() as far:
            far.plays(whole(200, b"{}"), whole(404, b"{}"))
            provider = remote(kind, far.url)
            await provider.cancel(request(provider), name)
            with pytest.raises(ProviderRefused):
                await provider.cancel(request(provider), name)
            await provider.close()
            return far.requests[0]

    asked = run(main())
    assert (asked.method, asked.path) == ("POST", f"/v1/{of}/{name}/cancel")
