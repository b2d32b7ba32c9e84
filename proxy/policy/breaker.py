"""When a target that fails is left alone, and when it is tried again: the circuit breaker. Pure.

Owns the states of a target, and what a failure is. The store keeps a `Condition` for each target
that has failed lately, and changes it by this table, in Redis by the same in Lua:

    a target      fails                             answers     is to be asked
    is well       counts; `rest_after` in a row:    stays well  asked
                  RESTS for `rest_s`
    RESTS         (an answer from before) rests on  is well     passed over
    is DUE        (an answer from before) is DUE    is well     one asks: it is PROBED
    is PROBED     RESTS for twice as long           is well     passed over, for as long as it
                                                                rested; then it is DUE again

No rest is longer than `rest_max_s`, and none shorter than the provider wishes, within that bound.
What surprises: a probe of which nothing is heard, because its client or its worker is gone, does
not have to be noticed by anybody: it is one interval until the next. And a clock that goes back
begins a rest anew, so that it is neither endless nor shorter than it should be.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.errors import (
    MidstreamError,
    ProviderGarbled,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
)

FORGET_MS: Final = 3_600_000
"""After that, a target of which nothing was heard is as good as any other. Chosen: who is seldom
asked should not rest because of yesterday."""
NAMES_MAX: Final = 500
"""Targets of which a condition is kept. Chosen: five times what a config has, and 100 KiB."""
NAME_CHARS_MAX: Final = 300
"""Of a provider and a model that may come from a client. What is longer never rests."""

_REFUSALS: Final = frozenset({401, 402, 403, 407, 408, 429})
"""Statuses below 500 that are about the target. All others are about the request."""
_USED_UP: Final = "insufficient_quota"


class Rule(msgspec.Struct, frozen=True):
    """A provider's own, for each of its targets."""

    rest_after: int = 5
    """Failures in a row; 0: never."""
    rest_s: float = 10.0
    rest_max_s: float = 120.0

    @property
    def rest_ms(self) -> int:
        """The first rest."""
        return _ms(self.rest_s)

    @property
    def longest_ms(self) -> int:
        """The longest."""
        return _ms(self.rest_max_s)

    def asked_ms(self, retry_after_s: float | None) -> int:
        """A provider's wish, within the bound."""
        return min(_ms(retry_after_s or 0.0), self.longest_ms)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


class Condition(msgspec.Struct, frozen=True):
    """How a target does, as the store keeps it. Moments are the store's."""

    failures: int = 0
    """In a row, until it rested."""
    rest_ms: int = 0
    """How long its rest is; 0 if it does not rest."""
    until_ms: int = 0
    """When that is over: from then on one may ask."""
    is_probed: bool = False
    """Whether one has asked, and nothing was heard of that yet."""
    since_ms: int = 0
    """When it stopped being asked."""
    failed_ms: int = 0
    """When it has last failed."""
    reason: str = ""
    """Of the last failure: its code, and the provider's status if there was one."""

    @property
    def rests(self) -> bool:
        """Whether it is not to be asked by all."""
        return self.rest_ms > 0


WELL: Final = Condition()


def failed(
    before: Condition, rule: Rule, reason: str, retry_after_s: float | None, now_ms: int
) -> Condition:
    """After a failure. The same object if that changes nothing."""
    if rule.rest_after == 0:
        return before
    asked_ms = rule.asked_ms(retry_after_s)
    failures, since_ms = before.failures, before.since_ms
    if not before.rests:
        failures, since_ms = failures + 1, now_ms
        least_ms = rule.rest_ms
        if failures < rule.rest_after:
            return Condition(failures, failed_ms=now_ms, reason=reason)
    elif before.is_probed:
        least_ms = 2 * before.rest_ms
    elif asked_ms > max(before.until_ms - now_ms, 0):
        least_ms = asked_ms
    else:
        return before
    rest_ms = min(max(least_ms, asked_ms), rule.longest_ms)
    return Condition(
        failures, rest_ms, now_ms + rest_ms, since_ms=since_ms, failed_ms=now_ms, reason=reason
    )


def spared(conditions: Mapping[str, Condition]) -> str:
    """Whose condition goes when there are too many: of one that does not rest, the oldest."""
    return min(
        conditions, key=lambda name: (conditions[name].rests, conditions[name].failed_ms, name)
    )


def probed(before: Condition, now_ms: int) -> Condition | None:
    """After one was let through, or None if none is to be now."""
    if not before.rests or before.until_ms > now_ms:
        return None
    return msgspec.structs.replace(before, is_probed=True, until_ms=now_ms + before.rest_ms)


def seen(before: Condition, now_ms: int) -> Condition | None:
    """As it is now, on a clock that may have gone back; None if it is to be forgotten."""
    if max(before.failed_ms, before.until_ms) + FORGET_MS < now_ms:
        return None
    if before.until_ms - now_ms > before.rest_ms:
        return msgspec.structs.replace(before, until_ms=now_ms + before.rest_ms)
    return before


# --- what a failure is --------------------------------------------------------------------------


def is_failure(error: MidstreamError) -> bool:
    """Whether the target is to blame: not the client's request, and not this proxy."""
    match error:
        case ProviderRefused() | ProviderReported():
            status = error.upstream_status
            is_of_the_target = status in _REFUSALS or status < 400 or status >= 500
            return is_of_the_target or error.upstream_code == _USED_UP
        case ProviderUnreachable() | ProviderStalled() | ProviderTruncated() | ProviderGarbled():
            return True
        case _:
            return False


def reason_of(error: MidstreamError) -> str:
    """In a word or two, none of them the provider's own."""
    if isinstance(error, ProviderRefused | ProviderReported):
        return f"{type(error).code} {error.upstream_status}"
    return error.code
