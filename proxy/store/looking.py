"""What a store says of limits and of streams that run, without being served from.

It only reads, so it may look into a store that others serve from, the embedded one of a server
on this machine too. What surprises: it tries none of what `open_redis` tries, for that writes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from proxy import config
from proxy.errors import ConfigInvalid
from proxy.policy.quotas import Limit, Standing
from proxy.relay.ports import Clock
from proxy.store.redis_bells import Bells
from proxy.store.redis_journal import RedisJournal
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_node import load_scripts
from proxy.store.redis_topology import find_topology

_WHO = "check"
_LIMITS_AT_ONCE = 500
_STREAMS_AT_ONCE = 200
_STREAMS_MAX = 20_000
"""Looked at, the newest first. Chosen: one that runs is among the newest."""


class Seen(msgspec.Struct, frozen=True):
    """What was found."""

    standings: Sequence[Standing]
    running: Mapping[str, int]
    """How many streams run, by their owner."""


def own_url(store: config.Store) -> str:
    """Where the store of a config is for another process. Raises `ConfigInvalid` if nowhere."""
    match store.kind:
        case "redis":
            return store.url.reveal()
        case "memory":
            raise ConfigInvalid(("[store] url: a store in memory cannot be looked into",))
        case "embedded":
            socket = Path(store.path).absolute() / "valkey.sock"
            if not socket.exists():
                what = f"no server runs on it here: there is no {socket}"
                raise ConfigInvalid((f"[store] path: {what}",))
            return f"unix://{quote(str(socket))}"


async def look(url: str, store: config.Store, limits: Sequence[Limit], clock: Clock) -> Seen:
    """Look into the store at `url`, under the namespace of `store`. Raises `StoreUnavailable`."""
    topology = find_topology(url, worker=_WHO, timeout_s=store.timeout_s)
    scripts = load_scripts()
    calls = topology.carrier(scripts, is_for_appends=False)
    ledger = RedisLedger(
        calls=calls, scripts=scripts, namespace=store.namespace, lease_s=0, clock=clock
    )
    journal = RedisJournal(
        appends=calls,
        calls=calls,
        bells=Bells(topology, timeout_s=store.timeout_s),
        scripts=scripts,
        namespace=store.namespace,
        worker=_WHO,
        lease_s=0,
    )
    try:
        await topology.start()
        standings: list[Standing] = []
        for first in range(0, len(limits), _LIMITS_AT_ONCE):
            standings += await ledger.standings(limits[first : first + _LIMITS_AT_ONCE])
        return Seen(standings, await _running(ledger, journal))
    finally:
        calls.close()
        await topology.close()


async def _running(ledger: RedisLedger, journal: RedisJournal) -> Mapping[str, int]:
    running: Counter[str] = Counter()
    cursor: str | None = None
    for _ in range(_STREAMS_MAX // _STREAMS_AT_ONCE):
        page = await ledger.list(None, None, cursor, _STREAMS_AT_ONCE)
        states = await journal.states(page.streams) if page.streams else ()
        running.update(state.birth.owner for state in states if state and state.ending is None)
        cursor = page.next_cursor
        if cursor is None:
            break
    return running
