"""How targets do, in Redis.

One hash beside the ledger's keys, ``rests``: a field for each target that has failed lately, whose
value is its condition in one line. What surprises: names may hold what clients made up, so they
are values of a field and never part of a key.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from proxy.policy.breaker import NAMES_MAX, WELL, Condition, Rule
from proxy.relay.ports import Conditions, Told
from proxy.store.redis_node import Carrier, Script

_LINE: Final = re.compile(rb"(\d+) (\d+) (\d+) (\d) (\d+) (\d+) (.*)", re.DOTALL)


class RedisRests:
    """See the module, and `proxy.relay.ports.Rests` for every method."""

    def __init__(self, *, calls: Carrier, scripts: Mapping[str, Script], namespace: str) -> None:
        self._calls = calls
        self._scripts = scripts
        self._key = f"{namespace}:{{ledger}}:rests"

    async def conditions(self) -> Conditions:
        """See `Rests.conditions`."""
        reply = await self._calls.call(self._scripts["conditions"].call([self._key]))
        now_ms, *told = cast("list[int]", reply)
        words = cast("Sequence[bytes]", told)
        pairs = zip(words[::2], words[1::2], strict=True)
        return Conditions(now_ms, {name.decode(): _read(line) for name, line in pairs})

    async def fail(self, name: str, rule: Rule, reason: str, retry_after_s: float | None) -> Told:
        """See `Rests.fail`."""
        reply = await self._calls.call(
            self._scripts["conditions_fail"].call(
                [self._key],
                name,
                rule.rest_after,
                rule.rest_ms,
                rule.longest_ms,
                rule.asked_ms(retry_after_s),
                reason,
                NAMES_MAX,
            )
        )
        return _told(reply)

    async def succeed(self, name: str) -> bool:
        """See `Rests.succeed`."""
        call = self._scripts["conditions_succeed"].call([self._key], name)
        return await self._calls.call(call) == 1

    async def probe(self, name: str) -> Told:
        """See `Rests.probe`."""
        call = self._scripts["conditions_probe"].call([self._key], name)
        return _told(await self._calls.call(call))


def _told(reply: object) -> Told:
    now_ms, line, is_news = cast("tuple[int, bytes, int]", reply)
    return Told(now_ms, _read(line) if line else WELL, is_news == 1)


def _read(line: bytes) -> Condition:
    found = _LINE.fullmatch(line)
    assert found is not None, "the scripts write nothing else"
    failures, rest_ms, until_ms, is_probed, since_ms, failed_ms = map(int, found.groups()[:6])
    return Condition(
        failures, rest_ms, until_ms, is_probed == 1, since_ms, failed_ms, found[7].decode()
    )
