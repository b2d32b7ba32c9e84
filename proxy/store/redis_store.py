"""A journal and a ledger in one Redis or Valkey server, ready to use.

It owns the connections of one process to one server. A server behind Sentinel, or a cluster,
would be another class like `RedisStore`, with other nodes and another way to find them.
"""

import re
from collections.abc import Mapping
from typing import Final

from proxy.errors import ConfigInvalid, StoreUnavailable
from proxy.store.redis_bells import Bells
from proxy.store.redis_journal import RedisJournal
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_link import Endpoint, pack
from proxy.store.redis_node import Node, load_scripts

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Of these characters none means anything to Redis, in keys, hash tags or patterns."""

_VERSION_MIN: Final = (7, 0)
"""From here on a script can say whether it may run while Redis is out of memory."""

_APPEND_LINKS_MAX: Final = 2
"""One for the committer, one for streams being created beside it."""
_CALL_LINKS_MAX: Final = 8
"""Chosen: a call takes Redis some microseconds, so more would only wait there, not here."""


class RedisStore:
    """Made by `open_redis`."""

    def __init__(
        self, endpoint: Endpoint, *, namespace: str, worker: str, lease_s: float, timeout_s: float
    ) -> None:
        scripts = load_scripts()
        self._appends = Node(endpoint, scripts, timeout_s=timeout_s, links_max=_APPEND_LINKS_MAX)
        self._calls = Node(endpoint, scripts, timeout_s=timeout_s, links_max=_CALL_LINKS_MAX)
        self._bells = Bells(endpoint, timeout_s=timeout_s)
        self.warnings: tuple[str, ...] = ()
        """What an operator should know about this server."""
        self.journal = RedisJournal(
            appends=self._appends,
            calls=self._calls,
            bells=self._bells,
            scripts=scripts,
            namespace=namespace,
            worker=worker,
            lease_s=lease_s,
        )
        self.ledger = RedisLedger(
            calls=self._calls, scripts=scripts, namespace=namespace, lease_s=lease_s
        )

    async def start(self) -> None:
        """Look at the server and begin to listen.

        Raises `ConfigInvalid` if it is too old, `StoreUnavailable` if it cannot serve.
        """
        info = _read_info(await self._calls.call(pack("INFO")))
        version = tuple(int(part) for part in info.get("redis_version", "0").split(".")[:2])
        if version < _VERSION_MIN:
            found = info.get("redis_version")
            needs = "Midstream needs 7.0 or later, or Valkey"
            raise ConfigInvalid((f"[store] url leads to Redis {found}; {needs}.",))
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            danger = "when its memory is full it may throw away streams that are being written"
            self.warnings = (f"the store's maxmemory-policy is {policy}: {danger}; use noeviction",)
        self._bells.start()
        await self.journal.start()

    async def ping(self) -> None:
        """Return if the store answers. Raises `StoreUnavailable`."""
        await self._calls.call(pack("PING"))

    async def close(self) -> None:
        """Close every connection."""
        await self._bells.close()
        self._appends.close()
        self._calls.close()


async def open_redis(
    url: str, *, namespace: str, worker: str, lease_s: float, timeout_s: float = 5.0
) -> RedisStore:
    """The store at `url`: ``redis://``, ``rediss://`` or ``unix://``.

    `worker` names this process among all that share the namespace. No call of the store takes
    longer than `timeout_s`. Raises `ConfigInvalid`, `StoreUnavailable`.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigInvalid(
            (f"[store] namespace {namespace!r} must be 1 to 64 letters, digits, or _ . -",)
        )
    store = RedisStore(
        Endpoint(url), namespace=namespace, worker=worker, lease_s=lease_s, timeout_s=timeout_s
    )
    try:
        await store.start()
    except BaseException:
        await store.close()
        raise
    return store


def _read_info(reply: object) -> Mapping[str, str]:
    """The fields of an INFO reply."""
    if not isinstance(reply, bytes):
        raise StoreUnavailable("it does not answer as Redis does")
    lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
