"""What every provider does with what passes through whole. See `proxy.relay.ports.Provider`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from proxy import config
from proxy.errors import ProviderError, ProviderGarbled, ProviderRefused, ProviderTruncated
from proxy.relay.ports import Provider, UpstreamRequest
from proxy.upstream.scripted import ScriptedProvider
from proxy.wire.passages import COUNT_TOKENS, EMBEDDINGS, PASSAGES
from tests.server import RECORDINGS
from tests.upstream.asking import KEY, remote, run
from tests.upstream.fake_provider import FakeProvider, Finish, Reset, Send, Stall, Step, head, whole

JSON = (("content-type", "application/json"),)
KINDS = {"openai": EMBEDDINGS, "anthropic": COUNT_TOKENS}
"""What each kind of provider over HTTP has, and no other."""
PATHS = {"openai": "/v1/embeddings", "anthropic": "/v1/messages/count_tokens"}
RECORDED = {"embeddings": "base64", "count_tokens": "fourteen"}
ANSWERS = {
    name: (RECORDINGS / f"{model}.{name}.json").read_bytes() for name, model in RECORDED.items()
}

each_kind = pytest.mark.parametrize("kind", KINDS)


def asked(passage: str) -> UpstreamRequest:
    return UpstreamRequest("any", RECORDED[passage], b'{"model":"m","input":"x"}', (("a", "b"),))


async def fetch(provider: Provider, passage: str) -> bytes:
    async with provider.fetch(passage, asked(passage)) as chunks:
        return b"".join([chunk async for chunk in chunks])


@asynccontextmanager
async def scripted(passage: str) -> AsyncIterator[Provider]:
    del passage
    yield ScriptedProvider("played", config.ScriptedProvider(recordings=str(RECORDINGS)))


@asynccontextmanager
async def over_http(passage: str) -> AsyncIterator[Provider]:
    (kind,) = (kind for kind, has in KINDS.items() if has.name == passage)
    async with FakeProvider.running() as far:
        far.always_plays(whole(200, ANSWERS[passage]))
        provider = remote(kind, far.url)
        yield provider
        await provider.close()


@pytest.mark.parametrize("opened", [scripted, over_http])
@pytest.mark.parametrize("passage", [passage.name for passage in PASSAGES])
def test_an_answer_comes_out_byte_for_byte(
    opened: Callable[[str], AbstractAsyncContextManager[Provider]], passage: str
) -> None:
    async def main() -> None:
        async with opened(passage) as provider:
            assert passage in provider.passages
            assert await fetch(provider, passage) == ANSWERS[passage]

    run(main())


def test_recordings_that_are_not_there_are_not_offered() -> None:
    demo = ScriptedProvider("demo", config.ScriptedProvider())
    assert not demo.passages


@each_kind
def test_it_is_asked_where_its_api_has_it_with_the_body_and_headers_as_given(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays(whole(200, b"{}"))
            provider = remote(kind, far.url)
            assert list(provider.passages) == [KINDS[kind].name]
            await fetch(provider, KINDS[kind].name)
            await provider.close()
            (got,) = far.requests
            assert (got.method, got.path) == ("POST", PATHS[kind])
            assert got.body == asked(KINDS[kind].name).body
            assert got.header("authorization") == f"Bearer {KEY}"
            assert (got.header("accept"), got.header("a")) == ("application/json", "b")

    run(main())


def refused(status: int) -> list[Step]:
    return whole(status, b'{"type":"error","error":{"type":"x_error","message":"No."}}')


FAILS: dict[str, tuple[list[Step], type[ProviderError]]] = {
    "a refusal": (refused(400), ProviderRefused),
    "a redirect": (whole(302, b"", (("location", "http://127.0.0.1:1/"),)), ProviderRefused),
    "a page": (whole(200, b"<html>", (("content-type", "text/html"),)), ProviderGarbled),
    "compressed": (whole(200, b"?", (*JSON, ("content-encoding", "gzip"))), ProviderGarbled),
    "cut": (
        [Send(head(200, JSON, framing="content-length: 9") + b"{"), Finish()],
        ProviderTruncated,
    ),
    "reset": ([Send(head(200, JSON) + b"1\r\n{\r\n"), Reset()], ProviderTruncated),
}


@each_kind
@pytest.mark.parametrize("name", FAILS)
def test_what_is_no_answer_is_the_typed_error(kind: str, name: str) -> None:
    script, error = FAILS[name]

    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(script)
            provider = remote(kind, far.url)
            with pytest.raises(error):
                await fetch(provider, KINDS[kind].name)
            await provider.close()
            assert len(far.requests) == 1

    run(main())


@each_kind
def test_who_leaves_in_the_middle_leaves_no_connection(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays([Send(head(200, JSON) + b"1\r\n{\r\n"), Stall()])
            provider = remote(kind, far.url)
            task = asyncio.create_task(fetch(provider, KINDS[kind].name))
            await far.until(lambda: far.steps_played == 1)
            task.cancel()
            await far.until(lambda: far.open == 0, within_s=1)
            await provider.close()

    run(main())
