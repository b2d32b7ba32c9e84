"""What a create has to pass, and the most that it can use: worked out before anything is asked.

Pure. What surprises: where no limit is on tokens or money, and no quota bounds an answer, nothing
is looked at, and the request goes on as the client wrote it.
"""

from typing import NamedTuple

from proxy.errors import ModelWithoutPrice
from proxy.policy import quotas
from proxy.policy.keys import Principal
from proxy.policy.pools import Pools
from proxy.policy.quotas import Kind, Limit
from proxy.policy.routes import Target
from proxy.wire.dialect import Ask, Dialect
from proxy.wire.passages import PassageAsk, tokens_at_most

_MICRODOLLARS_MAX = 9_000_000_000_000_000
"""Of one hold. The store counts exactly up to 2**53, and no limit is as high as this."""

_COUNT_CREATES = frozenset({Kind.REQUESTS_PER_MINUTE, Kind.CONCURRENT_STREAMS})
"""Limits for which it makes no difference what a create asks for."""


class Held(NamedTuple):
    """A request under limits. Its tokens are 0 where nobody has to know."""

    ask: Ask
    """As it is sent on, with the bound of its answer if it has to have one."""
    limits: tuple[Limit, ...]
    own: tuple[Limit, ...]
    """Those of them that are its provider's."""
    most: quotas.Ask
    input_tokens: int
    output_tokens: int
    answers: int


def hold(pools: Pools, principal: Principal, target: Target, dialect: Dialect, ask: Ask) -> Held:
    """Raises `MalformedRequest` for a bound that is none, and `ModelWithoutPrice`."""
    limits = pools.limits_for(principal, target.provider)
    own = pools.limits_behind(target.provider)
    at_most = pools.max_output_tokens_for(principal, target.provider)
    if at_most is None and all(limit.kind in _COUNT_CREATES for limit in limits):
        return Held(ask, limits, own, quotas.Ask(), 0, 0, 0)
    bounded = dialect.bounded(ask, at_most)
    most = _most(limits, target, ask.model, bounded.input_tokens, bounded.output_tokens)
    return Held(
        bounded.ask,
        limits,
        own,
        most,
        bounded.input_tokens,
        bounded.output_tokens,
        bounded.answers,
    )


class HeldPassage(NamedTuple):
    """What a passage has to pass, and the most that it can use."""

    limits: tuple[Limit, ...]
    most: quotas.Ask


def hold_passage(
    pools: Pools, principal: Principal, target: Target, ask: PassageAsk
) -> HeldPassage:
    """A passage is no stream, and a free one counts as a request alone. See `hold`."""
    limits = tuple(
        limit
        for limit in pools.limits_for(principal, target.provider)
        if limit.kind is Kind.REQUESTS_PER_MINUTE
        or (limit.kind is not Kind.CONCURRENT_STREAMS and not ask.passage.is_free)
    )
    if all(limit.kind in _COUNT_CREATES for limit in limits):
        return HeldPassage(limits, quotas.Ask())
    return HeldPassage(limits, _most(limits, target, ask.model, tokens_at_most(ask), 0))


def _most(
    limits: tuple[Limit, ...], target: Target, model: str, input_tokens: int, output_tokens: int
) -> quotas.Ask:
    microdollars = 0
    if any(limit.kind.is_money for limit in limits):
        if target.price is None:
            raise ModelWithoutPrice(model)
        most = quotas.cost_at_most(input_tokens, output_tokens, target.price)
        microdollars = min(most, _MICRODOLLARS_MAX)
    return quotas.Ask(input_tokens + output_tokens, microdollars)
