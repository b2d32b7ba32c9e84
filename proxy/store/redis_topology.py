"""How many servers the store is, and how each is found: one, one of several, or a cluster.

It owns what it takes to reach them and nothing of what is said to them. What surprises: behind
Sentinel there is one server too, only that it is another one from time to time.
"""

import asyncio
import contextlib
from binascii import crc_hqx
from collections.abc import Mapping
from typing import Final, Protocol

from proxy.config.addresses import ClusterAddress, SentinelAddress, several
from proxy.store.redis_cluster import Cluster
from proxy.store.redis_link import Endpoint, Link, Way
from proxy.store.redis_node import Carrier, Node, Script
from proxy.store.redis_routing import ClusterCarrier
from proxy.store.redis_sentinel import Sentinels

_APPEND_LINKS_MAX: Final = 2
"""One for the committer, one for streams being created beside it."""
_CALL_LINKS_MAX: Final = 8
"""Chosen: a call takes Redis some microseconds, so more would only wait there, not here."""


class Topology(Protocol):
    """See the module. `start` it, and `close` it."""

    mode: str
    """What each server says of itself in HELLO."""

    async def start(self) -> None:
        """Find the servers. Raises `StoreUnavailable`."""
        ...

    async def close(self) -> None:
        """Look for them no more."""
        ...

    async def connect(self) -> Link:
        """See `Way.connect`. For bells: whoever carries the messages of all."""
        ...

    def carrier(self, scripts: Mapping[str, Script], *, is_for_appends: bool) -> Carrier:
        """Connections of their own."""
        ...


class OneServer:
    """One at a time, wherever `way` leads."""

    mode = "standalone"

    def __init__(self, way: Way, *, timeout_s: float) -> None:
        self._way = way
        self._timeout_s = timeout_s

    async def start(self) -> None:
        """It is found when it is needed."""

    async def close(self) -> None:
        """Nothing looks for it."""

    async def connect(self) -> Link:
        """See `Topology.connect`."""
        return await self._way.connect()

    def carrier(self, scripts: Mapping[str, Script], *, is_for_appends: bool) -> Carrier:
        """See `Topology.carrier`."""
        links_max = _APPEND_LINKS_MAX if is_for_appends else _CALL_LINKS_MAX
        return Node(self._way, scripts, timeout_s=self._timeout_s, links_max=links_max)


class BehindSentinel(OneServer):
    """Whichever server Sentinels call the master."""

    def __init__(self, address: SentinelAddress, *, timeout_s: float) -> None:
        sentinels = [Endpoint(sentinel) for sentinel in address.sentinels]
        self._sentinels = Sentinels(sentinels, Endpoint(address.server), name=address.name)
        super().__init__(self._sentinels, timeout_s=timeout_s)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `Topology.start`."""
        self._task = asyncio.create_task(self._sentinels.keep_looking(self._timeout_s))

    async def close(self) -> None:
        """See `Topology.close`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


class ManyServers(Cluster):
    """A cluster."""

    mode = "cluster"

    def __init__(self, address: ClusterAddress, *, turn: int, timeout_s: float) -> None:
        super().__init__([Endpoint(node) for node in address.nodes], turn=turn)
        self._timeout_s = timeout_s

    def carrier(self, scripts: Mapping[str, Script], *, is_for_appends: bool) -> Carrier:
        """See `Topology.carrier`."""
        return ClusterCarrier(
            self,
            scripts,
            timeout_s=self._timeout_s,
            links_max=_APPEND_LINKS_MAX if is_for_appends else _CALL_LINKS_MAX,
            returns_moving=is_for_appends,
        )


def find_topology(url: str, *, worker: str, timeout_s: float) -> Topology:
    """The servers that an address names. Raises `ConfigInvalid`."""
    match several(url):
        case None:
            return OneServer(Endpoint(url), timeout_s=timeout_s)
        case SentinelAddress() as address:
            return BehindSentinel(address, timeout_s=timeout_s)
        case ClusterAddress() as address:
            turn = crc_hqx(worker.encode(), 0)
            return ManyServers(address, turn=turn, timeout_s=timeout_s)
