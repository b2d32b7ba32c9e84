"""Which limits hold for a create: those of the key, those above all keys, those of the provider.

Owns who shares a limit with whom. It meters nothing: that is `quotas`, and the ledger.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from proxy.policy.keys import Principal
from proxy.policy.quotas import Limit

EVERYTHING = "all"
"""The pool of the limits above all keys."""


def key_pool(key: str) -> str:
    """The pool that one key has for itself."""
    return f"key:{key}"


def team_pool(quota: str) -> str:
    """The pool of all keys of a quota that is shared."""
    return f"team:{quota}"


def provider_pool(provider: str) -> str:
    """The pool of everything that goes to a provider."""
    return f"provider:{provider}"


class Allowance(msgspec.Struct, frozen=True):
    """What one quota allows one pool."""

    limits: tuple[Limit, ...] = ()
    max_output_tokens: int | None = None
    """Of one answer; None if only the limits bound it."""


class Pools(msgspec.Struct, frozen=True):
    """The limits that are not a key's own."""

    everything: Allowance = Allowance()
    providers: Mapping[str, Allowance] = {}
    """Those that have any, by name."""

    def limits_for(self, principal: Principal, provider: str) -> tuple[Limit, ...]:
        """All that must let a create through: the key's first, then those it shares."""
        return (*principal.limits, *self.everything.limits, *self.limits_behind(provider))

    def limits_behind(self, provider: str) -> tuple[Limit, ...]:
        """Those of what a provider answers, whoever asks."""
        return self.providers.get(provider, Allowance()).limits

    def all_limits(self, of_keys: Iterable[Limit]) -> tuple[Limit, ...]:
        """Every limit that there is, once, with those of the keys."""
        behind = (limit for one in self.providers.values() for limit in one.limits)
        return tuple(dict.fromkeys((*of_keys, *self.everything.limits, *behind)))

    def max_output_tokens_for(self, principal: Principal, provider: str) -> int | None:
        """The lowest that any of them says of one answer; None if none says anything."""
        behind = self.providers.get(provider, Allowance())
        said = (
            principal.max_output_tokens,
            self.everything.max_output_tokens,
            behind.max_output_tokens,
        )
        return min((tokens for tokens in said if tokens is not None), default=None)


def most_shared(limits: Iterable[Limit], pools_max: int) -> Sequence[Limit]:
    """Those of so many pools: what many share comes before what one key has for itself."""
    by_pool: dict[str, list[Limit]] = {}
    for limit in limits:
        by_pool.setdefault(limit.pool, []).append(limit)
    pools = sorted(by_pool, key=lambda pool: pool.startswith(key_pool("")))
    return [limit for pool in pools[:pools_max] for limit in by_pool[pool]]


def is_own(pool: str) -> bool:
    """Whether it is of a key or a team, and so no secret to those who share it."""
    return pool.startswith(("key:", "team:"))
