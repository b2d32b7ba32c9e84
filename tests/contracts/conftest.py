"""The stores for the contract suites: memory, an embedded Valkey, Debian's Redis, and fleets."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.errors import StoreUnavailable
from proxy.store.embedded import EmbeddedServer
from proxy.store.redis_store import open_redis
from tests.contracts.backends import Backend, MemoryBackend, RedisBackend
from tests.fleets import a_cluster, behind_sentinel

_REDIS_SERVERS = ["valkey", "redis"]


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), on_trouble=pytest.fail)
        asyncio.run(server.start())
        yield server.url
        asyncio.run(server.stop())


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    binary = shutil.which("redis-server")
    if binary is None:
        assert "CI" not in os.environ, "CI has to have redis-server"
        pytest.skip("there is no redis-server on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/redis.sock"
        options = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""]
        with subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL) as server:
            asyncio.run(_wait_until_open(f"unix://{socket}"))
            yield f"unix://{socket}"
            server.terminate()


async def _wait_until_open(url: str) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                store = await open_redis(url, namespace="wait", worker="w", lease_s=1)
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                await store.close()
                return


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, a_cluster(Path(folder), "valkey") as fleet:
        yield fleet.url


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, behind_sentinel(Path(folder), "redis") as fleet:
        yield fleet.url


@pytest.fixture(params=["memory", *_REDIS_SERVERS, "cluster", "sentinel"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each store in turn."""
    if request.param == "memory":
        return MemoryBackend()
    return RedisBackend(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=_REDIS_SERVERS)
def redis_backend(request: pytest.FixtureRequest) -> RedisBackend:
    """Each store behind Redis's protocol in turn."""
    return RedisBackend(request.getfixturevalue(f"{request.param}_url"))
