"""How targets do, in memory: the executable specification of the port `Rests`."""

from proxy.policy.breaker import NAMES_MAX, WELL, Condition, Rule, failed, probed, seen, spared
from proxy.relay.ports import Conditions, Told
from proxy.store.memory import MemoryStore


class MemoryRests:
    """One process's way to what a `MemoryStore` knows of targets."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def conditions(self) -> Conditions:
        """See `Rests.conditions`."""
        now_ms = self._now_ms()
        found = {name: seen(each, now_ms) for name, each in self._store.rests.items()}
        self._store.rests = {name: each for name, each in found.items() if each is not None}
        return Conditions(now_ms, dict(self._store.rests))

    async def fail(self, name: str, rule: Rule, reason: str, retry_after_s: float | None) -> Told:
        """See `Rests.fail`."""
        now_ms = self._now_ms()
        before = self._seen(name, now_ms)
        after = failed(before, rule, reason, retry_after_s, now_ms)
        if after is not before:
            self._keep(name, after)
        return Told(now_ms, after, after.rests and not before.rests)

    async def succeed(self, name: str) -> bool:
        """See `Rests.succeed`."""
        before = self._seen(name, self._now_ms())
        self._store.rests.pop(name, None)
        return before.rests

    async def probe(self, name: str) -> Told:
        """See `Rests.probe`."""
        now_ms = self._now_ms()
        before = self._seen(name, now_ms)
        after = probed(before, now_ms)
        if before.rests:
            self._keep(name, after or before)
        return Told(now_ms, after or before, after is not None)

    def _seen(self, name: str, now_ms: int) -> Condition:
        return seen(self._store.rests.get(name, WELL), now_ms) or WELL

    def _keep(self, name: str, condition: Condition) -> None:
        kept = self._store.rests
        if name not in kept and len(kept) >= NAMES_MAX:
            del kept[spared(kept)]
        kept[name] = condition

    def _now_ms(self) -> int:
        return int(self._store.clock.now() * 1000)
