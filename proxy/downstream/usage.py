"""``GET /v1/usage``: what is used of each limit, what is left, and when it is whole again.

A key sees what is its own, alone or in a team; an operator's sees all keys, and what is above them.
A team is told once, whoever is in it. One round trip to the store, however many keys there are.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate
from proxy.downstream.describe import rfc3339
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import json_answer, read_headers, read_query
from proxy.downstream.wishes import refuse_unknown
from proxy.errors import MalformedRequest, NotPermitted
from proxy.policy.keys import Principal
from proxy.policy.pools import key_pool
from proxy.policy.quotas import Limit, Standing


class LimitView(msgspec.Struct, frozen=True):
    """One limit. Money is in millionths of a dollar."""

    pool: str
    kind: str
    amount: int
    used: int
    """More than the amount where there is a debt."""
    remaining: int
    reset_at: str


class PoolView(msgspec.Struct, frozen=True):
    """Who shares limits: a key by itself, a team, everybody, all that goes to a provider."""

    pool: str
    keys: list[str]
    limits: list[LimitView]


class UsageView(msgspec.Struct, frozen=True):
    """Every pool that the caller may see."""

    data: list[PoolView]


def usage_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """All routes of this module."""

    @get("/v1/usage")
    async def get_usage(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        principal = authenticate(desk, read_headers(request.scope))
        query = read_query(request.scope)
        refuse_unknown(query, frozenset({"key"}))
        pools = _pools(desk, principal, query.get("key"))
        limits = [limit for members in pools.values() for limit in members.limits]
        standings = await desk.switchboard.standings(limits)
        return json_answer(200, _view(pools, standings, desk.switchboard.clock.now()))

    return [get_usage]


class _Pool(msgspec.Struct):
    limits: Sequence[Limit] = ()
    keys: list[str] = []


def _pools(desk: Desk, principal: Principal, key: str | None) -> Mapping[str, _Pool]:
    """By name: those of the keys that are asked about, then those above all keys."""
    seen: Iterable[Principal] = [principal]
    if principal.is_operator:
        seen = desk.keyring.principals
    if key is not None:
        if not principal.is_operator and key != principal.key_name:
            raise NotPermitted("Only an operator's key may ask for another key's usage.")
        seen = [one for one in seen if one.key_name == key]
        if not seen:
            raise MalformedRequest(f"There is no key {key[:100]!r}.", param="key")
    found: dict[str, _Pool] = {}
    for one in seen:
        name = one.limits[0].pool if one.limits else key_pool(one.key_name)
        found.setdefault(name, _Pool(one.limits)).keys.append(one.key_name)
    if principal.is_operator and key is None:
        for allowance in (desk.pools.everything, *desk.pools.providers.values()):
            if allowance.limits:
                found[allowance.limits[0].pool] = _Pool(allowance.limits)
    return found


def _view(pools: Mapping[str, _Pool], standings: Iterable[Standing], now: float) -> UsageView:
    by_pool: dict[str, list[LimitView]] = {}
    for standing in standings:
        limit = standing.limit
        view = LimitView(
            pool=limit.pool,
            kind=limit.kind,
            amount=limit.amount,
            used=standing.used,
            remaining=standing.remaining,
            reset_at=rfc3339(now + standing.reset_s),
        )
        by_pool.setdefault(limit.pool, []).append(view)
    return UsageView(
        [PoolView(name, pool.keys, by_pool.get(name, [])) for name, pool in pools.items()]
    )
