"""An embedded server of its own for each test that hurts it, and stores on others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from proxy.store.embedded import EmbeddedServer
from proxy.store.redis_store import RedisStore, open_redis

OpenServer = Callable[[], AbstractAsyncContextManager[EmbeddedServer]]


@pytest.fixture
def open_server(tmp_path: Path) -> OpenServer:
    """A running server that is watched; each call uses the same data."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[EmbeddedServer]:
        server = EmbeddedServer(tmp_path / "data", on_trouble=lambda _: None)
        await server.start()
        watching = asyncio.create_task(server.watch())
        try:
            yield server
        finally:
            await server.stop()
            await watching

    return opened


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStore]:
    """A store that is quick to give a call up."""
    store = await open_redis(url, namespace="n", worker="w", lease_s=1000, timeout_s=1.0)
    try:
        yield store
    finally:
        await store.close()
