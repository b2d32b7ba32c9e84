"""An embedded server of its own for each test that hurts it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from proxy.store.embedded import EmbeddedServer

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
