"""``rediss`` in an address, on real servers with TLS."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from proxy.errors import StoreUnavailable
from proxy.store.redis_store import open_redis
from tests.contracts.backends import RedisBackend, create, make_birth, make_events, read_all, run
from tests.fleets import (
    ClusterFleet,
    SentinelFleet,
    a_cluster,
    behind_sentinel,
    binary_of,
    free_port,
)


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A server with a certificate for localhost, which signs itself, in ``cert.pem``."""
    redis, port = binary_of("redis"), free_port()
    make_certificate(tmp_path)
    options = (
        f"--port 0 --tls-port {port} --bind 127.0.0.1 --tls-auth-clients no "
        "--tls-cert-file cert.pem --tls-key-file key.pem --tls-ca-cert-file cert.pem"
    )
    command = [redis, *options.split(), "--save", ""]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        yield port
        server.terminate()


def make_certificate(folder: Path) -> None:
    """``cert.pem`` and ``key.pem`` for this machine's own names."""
    openssl = shutil.which("openssl")
    if openssl is None:
        assert "CI" not in os.environ, "CI has to have openssl"
        pytest.skip("there is no openssl on the PATH")
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(
        [openssl, *request.split(), *names, *files], cwd=folder, check=True, capture_output=True
    )


def test_a_server_with_tls_is_spoken_to_if_its_certificate_is_known(
    tls_port: int, tmp_path: Path
) -> None:
    async def test() -> None:
        known = f"rediss://localhost:{tls_port}?ssl_ca_certs={tmp_path}/cert.pem"
        async with asyncio.timeout(10):
            while True:
                try:
                    store = await open_redis(known, namespace="n", worker="w", lease_s=5)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
        await store.close()
        birth = make_birth()
        async with RedisBackend(known).process() as here:
            await create(here.journal, birth, 3)
            assert await read_all(here.journal, birth.id) == make_events(1, 3)
        with pytest.raises(StoreUnavailable) as caught:
            await open_redis(f"rediss://localhost:{tls_port}", namespace="n", worker="w", lease_s=5)
        assert "certificate" in caught.value.reason.lower()

    run(test)


@pytest.mark.parametrize("fleet_of", [a_cluster, behind_sentinel])
def test_every_server_of_a_fleet_is_reached_by_tls(
    fleet_of: Callable[..., AbstractContextManager[ClusterFleet | SentinelFleet]], tmp_path: Path
) -> None:
    make_certificate(tmp_path)
    with fleet_of(tmp_path / "store", "redis", certificate=tmp_path) as fleet:

        async def test() -> None:
            known = f"{fleet.url}?ssl_ca_certs={tmp_path}/cert.pem"
            async with RedisBackend(known).process() as here:
                for _ in range(20):  # some on each server
                    birth = make_birth()
                    await create(here.journal, birth, 3)
                    assert await read_all(here.journal, birth.id) == make_events(1, 3)
            with pytest.raises(StoreUnavailable) as caught:
                await open_redis(fleet.url, namespace="n", worker="w", lease_s=5)
            assert "certificate" in caught.value.reason.lower()

        assert fleet.url.startswith("rediss+")
        run(test)
