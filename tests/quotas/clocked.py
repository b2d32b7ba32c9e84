"""A ledger in Redis whose clock a test sets: its scripts read the time from a key.

All else is as it is served: the same scripts, the same client. So what takes days, or the very
last millisecond of one, can be tried on a real server.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.relay.ports import Clock
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_node import Script, load_scripts
from proxy.store.redis_topology import find_topology
from tests.contracts.backends import ManualClock, RedisBackend

_TOLD = "local TIME = redis.call('TIME')\nlocal NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)\n"
_SET = "local NOW = tonumber(redis.call('HGET', '{}', 'now'))\n"

_workers = itertools.count(1)


class ClockedRedis:
    """One server's ledger in a namespace, at a moment that a test chooses."""

    def __init__(self, backend: RedisBackend, start_s: float) -> None:
        self.backend = backend
        self.now_s = start_s

    @property
    def _key(self) -> str:
        return f"{self.backend.namespace}:{{ledger}}:now"

    async def at(self, now_s: float) -> None:
        """The server's clock shows this from now on."""
        self.now_s = now_s
        await self.backend.say("HSET", self._key, "now", round(now_s * 1000))

    @asynccontextmanager
    async def worker(self, clock: Clock | None = None) -> AsyncIterator[RedisLedger]:
        """One worker's ledger; its own clock shows the start unless it is given another."""
        await self.at(self.now_s)
        own = ManualClock()
        own.time = self.now_s
        scripts = {name: Script(self._set(each.text)) for name, each in load_scripts().items()}
        topology = find_topology(self.backend.url, worker=f"c{next(_workers)}", timeout_s=5.0)
        await topology.start()
        calls = topology.carrier(scripts, is_for_appends=False)
        try:
            yield RedisLedger(
                calls=calls,
                scripts=scripts,
                namespace=self.backend.namespace,
                lease_s=5.0,
                clock=clock or own,
            )
        finally:
            calls.close()
            await topology.close()

    def _set(self, text: str) -> str:
        assert _TOLD in text or "NOW" not in text, "the clock is read where it is expected"
        return text.replace(_TOLD, _SET.format(self._key))
