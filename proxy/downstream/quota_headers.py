"""What is left, in the headers of an answer: as OpenAI says it, as Anthropic does, and as the IETF.

Pure, and done once for an answer. Of several limits of one kind the tightest is told. What
surprises: ``-tokens`` is of the minute, the day or the month, whichever leaves the least; and money
above all keys is the operator's own matter, so no header tells it.
"""

from collections.abc import Iterable, Sequence

from proxy.downstream.describe import rfc3339
from proxy.policy.pools import is_own
from proxy.policy.quotas import Kind, Standing

Header = tuple[str, str]

_REQUESTS = frozenset({Kind.REQUESTS_PER_MINUTE})
_TOKENS = frozenset({Kind.TOKENS_PER_MINUTE, Kind.TOKENS_PER_DAY, Kind.TOKENS_PER_MONTH})

_POLICIES = {
    Kind.REQUESTS_PER_MINUTE: ";w=60",
    Kind.TOKENS_PER_MINUTE: ';qu="tokens";w=60',
    Kind.CONCURRENT_STREAMS: ';qu="concurrent-requests"',
    Kind.TOKENS_PER_DAY: ';qu="tokens";w=86400',
    Kind.TOKENS_PER_MONTH: ';qu="tokens"',
    Kind.USD_PER_DAY: ';qu="microdollars";w=86400',
    Kind.USD_PER_MONTH: ';qu="microdollars"',
}
"""Unit (requests, if none is said) and window of each kind. A month has no one length."""

_INTEGER_MAX = 999_999_999_999_999
"""Of a structured field (RFC 9651 3.3.1)."""


def quota_headers(dialect: str, standings: Sequence[Standing], now: float) -> list[Header]:
    """For a caller in `dialect`, at `now` (Unix seconds); none if there are no limits."""
    told = [one for one in standings if is_own(one.limit.pool) or not one.limit.kind.is_money]
    headers: list[Header] = []
    for unit, kinds in (("requests", _REQUESTS), ("tokens", _TOKENS)):
        standing = _tightest(one for one in told if one.limit.kind in kinds)
        if standing is not None and dialect == "anthropic.messages":
            headers += _anthropic(unit, standing, now)
        elif standing is not None:
            headers += _openai(unit, standing)
    return headers + _ietf(told)


def _tightest(standings: Iterable[Standing]) -> Standing | None:
    """The least that is left; of equals, what stays so for longest."""
    return min(standings, key=lambda one: (one.remaining, -one.reset_s), default=None)


def _openai(unit: str, standing: Standing) -> list[Header]:
    return [
        (f"x-ratelimit-limit-{unit}", str(standing.limit.amount)),
        (f"x-ratelimit-remaining-{unit}", str(standing.remaining)),
        (f"x-ratelimit-reset-{unit}", go_duration(standing.reset_s)),
    ]


def _anthropic(unit: str, standing: Standing, now: float) -> list[Header]:
    """Of input and output tokens there is nothing to say: limits are on both together."""
    return [
        (f"anthropic-ratelimit-{unit}-limit", str(standing.limit.amount)),
        (f"anthropic-ratelimit-{unit}-remaining", str(standing.remaining)),
        (f"anthropic-ratelimit-{unit}-reset", rfc3339(now + standing.reset_s)),
    ]


def _ietf(standings: Sequence[Standing]) -> list[Header]:
    """Of every kind of limit (draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4)."""
    found = [_tightest(one for one in standings if one.limit.kind is kind) for kind in Kind]
    tightest = [standing for standing in found if standing is not None]
    if not tightest:
        return []
    policies = [
        f'"{one.limit.kind}";q={min(one.limit.amount, _INTEGER_MAX)}{_POLICIES[one.limit.kind]}'
        for one in tightest
    ]
    left = [
        f'"{one.limit.kind}";r={min(one.remaining, _INTEGER_MAX)};t={-int(-one.reset_s // 1)}'
        for one in tightest
    ]
    return [("ratelimit-policy", ", ".join(policies)), ("ratelimit", ", ".join(left))]


def go_duration(seconds: float) -> str:
    """As Go writes one, in whole milliseconds, rounded up: ``12ms``, ``1.5s``, ``6m0s``."""
    whole_ms = max(0, -int(-seconds * 1000 // 1))
    if 0 < whole_ms < 1000:
        return f"{whole_ms}ms"
    minutes, rest_ms = divmod(whole_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    told = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{told}"
    return f"{minutes}m{told}" if minutes else told
