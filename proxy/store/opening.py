"""Which store the config names, opened for one process and put away after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from proxy import config
from proxy.relay.ports import Clock, Journal, Ledger, Rests
from proxy.store.embedded import EmbeddedServer
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.store.memory_rests import MemoryRests
from proxy.store.redis_store import RedisStore, open_redis


class OpenStore(msgspec.Struct, frozen=True):
    """A store, ready to use."""

    journal: Journal
    ledger: Ledger
    rests: Rests
    ping: Callable[[], Awaitable[None]]
    """Reaches the store, or raises `StoreUnavailable`."""
    warnings: tuple[str, ...] = ()
    """What an operator should know about it."""


@asynccontextmanager
async def open_store(
    table: config.Store,
    *,
    lease_s: float,
    clock: Clock,
    worker: str,
    on_trouble: Callable[[str], None],
    embedded_url: str | None = None,
) -> AsyncIterator[OpenStore]:
    """The store of the process named `worker`, while inside.

    `embedded_url` is where the embedded server is, if another process owns it. Raises
    `StoreUnavailable`, `DataInUse`, `ConfigInvalid`.
    """
    match table.kind:
        case "memory":
            yield _in_memory(clock, lease_s)
        case "redis":
            async with _redis(table.url.reveal(), table, worker, lease_s, clock) as store:
                yield store
        case "embedded" if embedded_url is not None:
            async with _redis(embedded_url, table, worker, lease_s, clock) as store:
                yield store
        case "embedded":
            async with (
                embedded_store(Path(table.path), on_trouble) as url,
                _redis(url, table, worker, lease_s, clock) as store,
            ):
                yield store


def _in_memory(clock: Clock, lease_s: float) -> OpenStore:
    store = MemoryStore(clock)

    async def ping() -> None:
        """Memory is always there."""

    journal, ledger = MemoryJournal(store, lease_s), MemoryLedger(store, lease_s)
    return OpenStore(journal, ledger, MemoryRests(store), ping)


@asynccontextmanager
async def _redis(
    url: str, table: config.Store, worker: str, lease_s: float, clock: Clock
) -> AsyncIterator[OpenStore]:
    store: RedisStore = await open_redis(
        url,
        namespace=table.namespace,
        worker=worker,
        lease_s=lease_s,
        clock=clock,
        timeout_s=table.timeout_s,
    )
    try:
        yield OpenStore(store.journal, store.ledger, store.rests, store.ping, store.warnings)
    finally:
        await store.close()


@asynccontextmanager
async def embedded_store(path: Path, on_trouble: Callable[[str], None]) -> AsyncIterator[str]:
    """The address of a server of our own, kept running. Raises as `EmbeddedServer.start` does."""
    server = EmbeddedServer(path, on_trouble=on_trouble)
    await server.start()
    watching = asyncio.create_task(server.watch())
    try:
        yield server.url
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await server.stop()
