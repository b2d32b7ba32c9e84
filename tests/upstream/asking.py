"""Asking a provider under test, in a loop of the kind that the product runs on."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from proxy import config
from proxy.config import Secret
from proxy.relay.ports import Provider, UpstreamRequest
from proxy.upstream.anthropic import AnthropicProvider
from proxy.upstream.openai import OpenAIProvider

T = TypeVar("T")

KEY = "sk-test/4f1d+9b2c77e0a6"
"""With the characters of base64 that JSON writers may escape."""

KINDS = ("openai", "anthropic")


def run(main: Coroutine[Any, Any, T]) -> T:
    """`main`, on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def remote(kind: str, url: str, **settings: Any) -> OpenAIProvider | AnthropicProvider:
    """A provider named ``far`` at `url`, with `KEY`."""
    settings = {"api_key": Secret(KEY, "env:KEY"), **settings}
    if kind == "openai":
        return OpenAIProvider("far", config.OpenAIProvider(base_url=f"{url}/v1", **settings))
    return AnthropicProvider("far", config.AnthropicProvider(base_url=url, **settings))


def request(
    provider: Provider,
    body: bytes = b'{"model": "m"}',
    headers: tuple[tuple[str, str], ...] = (),
    model: str = "m",
    dialect: str = "",
) -> UpstreamRequest:
    """A request in the first dialect of `provider`."""
    return UpstreamRequest(dialect or min(provider.dialects), model, body, headers)


async def read(
    provider: Provider, asked: UpstreamRequest | None = None, into: bytearray | None = None
) -> bytes:
    """The whole answer; what came of it is in `into` even if it fails."""
    raw = bytearray() if into is None else into
    async with provider.stream(asked or request(provider)) as chunks:
        async for chunk in chunks:
            assert chunk, "an empty chunk means nothing"
            raw += chunk
    return bytes(raw)
