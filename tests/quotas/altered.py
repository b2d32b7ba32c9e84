"""Ledgers in Redis whose scripts are changed a little: to tell them the time, or to hear the order.

All else is as it is served: the same scripts otherwise, the same client. So what takes days, or
the very last millisecond of one, can be tried on a real server; and what a server did, in the
order in which it did it, can be judged afterwards.
"""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from proxy.relay.ports import Clock
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_node import Script, load_scripts
from proxy.store.redis_topology import find_topology
from tests.contracts.backends import ManualClock, RedisBackend

_TIME = "local TIME = redis.call('TIME')\nlocal NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)\n"
"""How a script reads the clock."""

_workers = itertools.count(1)


@asynccontextmanager
async def altered_ledger(
    url: str, namespace: str, clock: Clock, alter: Callable[[str, str], str]
) -> AsyncIterator[RedisLedger]:
    """One worker's ledger; `alter` is given each script's name and text."""
    scripts = {name: Script(alter(name, each.text)) for name, each in load_scripts().items()}
    topology = find_topology(url, worker=f"a{next(_workers)}", timeout_s=10.0)
    await topology.start()
    calls = topology.carrier(scripts, is_for_appends=False)
    try:
        yield RedisLedger(
            calls=calls, scripts=scripts, namespace=namespace, lease_s=5.0, clock=clock
        )
    finally:
        calls.close()
        await topology.close()


def logging(key: str) -> Callable[[str, str], str]:
    """Makes `admit` and `settle` add what they did to the list at `key`, which is in their slot.

    An entry is MessagePack: the script's name, the store's milliseconds, the outcome of `admit`
    (1 admitted, 0 refused, 2 a repeat), the stream, the fingerprint, tokens and micro-dollars.
    """

    places = {
        "admit": "ARGV[1], ARGV[5], ARGV[9], ARGV[10]",
        "settle": "ARGV[1], '', ARGV[2], ARGV[3]",
    }

    def alter(name: str, text: str) -> str:
        if name not in places:
            return text
        assert _TIME in text, "the clock is read where it is expected"
        return (
            text.replace(_TIME, f"{_TIME}local function step()\n")
            + "\nend\nlocal told = step()\n"
            + f"redis.call('RPUSH', '{key}', "
            + f"cmsgpack.pack({{'{name}', NOW, told and told[1] or 0, {places[name]}}}))\n"
            + "return told\n"
        )

    return alter


class ClockedRedis:
    """One server's ledger in a namespace, at a moment that a test chooses."""

    def __init__(self, backend: RedisBackend, start_s: float) -> None:
        self.backend = backend
        self.now_s = start_s
        self._key = f"{backend.namespace}:{{ledger}}:now"

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
        told = f"local NOW = tonumber(redis.call('HGET', '{self._key}', 'now'))\n"
        async with altered_ledger(
            self.backend.url,
            self.backend.namespace,
            clock or own,
            lambda _, text: text.replace(_TIME, told),
        ) as ledger:
            yield ledger
