"""A journal, a ledger and the rests of targets in Redis or Valkey, ready to use.

It owns the connections of one process, and what has to be true of the servers before they are
relied on: their kind, their version, and that the user may do everything that is needed, which
is tried. What surprises: INFO may be forbidden, for most of it is none of our business; what it
would have told is then told as unknown.
"""

import re
from typing import Final

from proxy.errors import ConfigInvalid, StoreUnavailable
from proxy.relay.ports import Clock
from proxy.store.redis_bells import Bells
from proxy.store.redis_journal import RedisJournal
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_link import pack
from proxy.store.redis_node import load_scripts
from proxy.store.redis_rests import RedisRests
from proxy.store.redis_sentinel import read_hello
from proxy.store.redis_topology import Topology, find_topology
from proxy.store.redis_trial import missing_right, try_journal, try_ledger, try_rests, try_servers

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Of these characters none means anything to Redis, in keys, hash tags or patterns."""

_VERSION_MIN: Final = (7, 0)
"""From here on a script can say whether it may run while Redis is out of memory."""

_KINDS: Final = {
    "standalone": "a server that is no cluster: use redis:// or redis+sentinel://",
    "cluster": "a node of a cluster: use redis+cluster://",
    "sentinel": "a Sentinel: use redis+sentinel://",
}
"""By the mode that HELLO tells, and what an address that leads there should have been."""

_NEVER: Final = ("CROSSSLOT", "cluster support disabled", "unknown command")
"""What no later try can change."""


class RedisStore:
    """Made by `open_redis`."""

    def __init__(
        self,
        topology: Topology,
        *,
        namespace: str,
        worker: str,
        lease_s: float,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self._topology = topology
        self._namespace = namespace
        self._worker = worker
        self._clock = clock
        self._scripts = load_scripts()
        self._appends = topology.carrier(self._scripts, is_for_appends=True)
        self._calls = topology.carrier(self._scripts, is_for_appends=False)
        self._bells = Bells(topology, timeout_s=timeout_s)
        self.warnings: tuple[str, ...] = ()
        """What an operator should know about the servers."""
        self.journal = self._journal(namespace, lease_s)
        self.ledger = self._ledger(namespace, lease_s)
        self.rests = self._rests(namespace)

    def _journal(self, namespace: str, lease_s: float) -> RedisJournal:
        return RedisJournal(
            appends=self._appends,
            calls=self._calls,
            bells=self._bells,
            scripts=self._scripts,
            namespace=namespace,
            worker=self._worker,
            lease_s=lease_s,
        )

    def _ledger(self, namespace: str, lease_s: float) -> RedisLedger:
        return RedisLedger(
            calls=self._calls,
            scripts=self._scripts,
            namespace=namespace,
            lease_s=lease_s,
            clock=self._clock,
        )

    def _rests(self, namespace: str) -> RedisRests:
        return RedisRests(calls=self._calls, scripts=self._scripts, namespace=namespace)

    async def start(self) -> None:
        """Look at the servers, try them and begin to listen.

        Raises `ConfigInvalid` if they can never serve, `StoreUnavailable` if they cannot now.
        """
        try:
            await self._topology.start()
            servers = await self._check_servers()
            self.warnings = await self._warnings()
            self._bells.start()
            await self.journal.start()
            corner = f"{self._namespace}:try"
            await try_servers(self._calls, is_cluster=self._topology.mode == "cluster")
            await try_journal(self._journal(corner, 0), self._worker, servers)
            await try_ledger(self._ledger(corner, 0), self._worker)
            await try_rests(self._rests(corner), self._worker)
        except StoreUnavailable as error:
            self._explain(error.reason)
            raise

    def _explain(self, reason: str) -> None:
        """Raise `ConfigInvalid` for what only an operator can change."""
        if what := missing_right(reason, self._scripts):
            where = "the rights that it needs stand beside [store] url in config.toml"
            raise ConfigInvalid((f"[store] url: its user {what}; {where}.",))
        if any(word in reason for word in _NEVER):
            raise ConfigInvalid((f"[store] url leads to servers that cannot serve: {reason}.",))

    async def _check_servers(self) -> int:
        """How many there are. Raises `ConfigInvalid` if one is of the wrong kind, or too old."""
        told = await self._calls.call_each(pack("HELLO"))
        for reply in told.values():
            hello = read_hello(reply)
            mode, found = hello.get("mode", ""), hello.get("version", "0")
            if mode != self._topology.mode:
                raise ConfigInvalid(
                    (f"[store] url leads to {_KINDS.get(mode, 'what is no Redis')}.",)
                )
            version = tuple(int(part) for part in found.split(".")[:2])
            if version < _VERSION_MIN:
                needs = "Midstream needs 7.0 or later, or Valkey"
                raise ConfigInvalid((f"[store] url leads to Redis {found}; {needs}.",))
        return len(told)

    async def _warnings(self) -> tuple[str, ...]:
        try:
            told = await self._calls.call_each(pack("INFO", "memory"))
        except StoreUnavailable as error:
            if missing_right(error.reason, self._scripts) is None:
                raise
            unseen = "the store's user may not run INFO, so its maxmemory-policy could not be seen"
            return (f"{unseen}: make sure that it is noeviction",)
        danger = "when its memory is full it may throw away streams that are being written"
        policies = ((server, _policy(reply)) for server, reply in told.items())
        return tuple(
            f"the store's maxmemory-policy{f' on {server}' if server else ''} is {policy}: "
            f"{danger}; use noeviction"
            for server, policy in policies
            if policy != "noeviction"
        )

    async def ping(self) -> None:
        """Return if new streams can be made. Raises `StoreUnavailable`."""
        await self.ledger.ping()

    async def close(self) -> None:
        """Close every connection."""
        await self._bells.close()
        self._appends.close()
        self._calls.close()
        await self._topology.close()


async def open_redis(
    url: str,
    *,
    namespace: str,
    worker: str,
    lease_s: float,
    clock: Clock,
    timeout_s: float = 5.0,
) -> RedisStore:
    """The store at `url`, which is as ``[store] url`` in ``config.toml`` may be.

    `worker` names this process among all that share the namespace. No call of the store takes
    longer than `timeout_s`. By `clock` it is known which days are near.
    Raises `ConfigInvalid`, `StoreUnavailable`.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigInvalid(
            (f"[store] namespace {namespace!r} must be 1 to 64 letters, digits, or _ . -",)
        )
    topology = find_topology(url, worker=worker, timeout_s=timeout_s)
    store = RedisStore(
        topology,
        namespace=namespace,
        worker=worker,
        lease_s=lease_s,
        timeout_s=timeout_s,
        clock=clock,
    )
    try:
        await store.start()
    except BaseException:
        await store.close()
        raise
    return store


def _policy(reply: object) -> str:
    """The eviction policy in an INFO reply."""
    found = re.search(rb"maxmemory_policy:(\S+)", reply) if isinstance(reply, bytes) else None
    return found[1].decode() if found else "noeviction"
