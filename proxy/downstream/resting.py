"""Which targets are left alone, as the operator sees it: ``GET /v1/targets``, and the dashboard.

Costs no round trip: whichever worker is asked knows what the store keeps, at most a second late.
"""

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from proxy.downstream.auth import must_be_operator
from proxy.downstream.describe import rfc3339
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import json_answer, read_headers, read_query
from proxy.downstream.wishes import refuse_unknown
from proxy.relay.ports import Conditions


class RestingTarget(msgspec.Struct, frozen=True):
    """A provider's model that has failed too often, and is not asked for now."""

    provider: str
    model: str
    """By the provider's own name."""
    reason: str
    """Our code for its last failure, and the status where the provider sent one."""
    since: str
    failed_at: str
    """When it has last failed."""
    probe_at: str
    """From then on one request may try it. In the past where nobody has asked since."""
    probing: bool
    """Whether one does just now, or nothing was heard of it."""


class TargetList(msgspec.Struct, frozen=True):
    """Every target of the namespace that rests, the longest first."""

    data: list[RestingTarget]


def resting_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The route of this module."""

    @get("/v1/targets")
    async def list_targets(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        must_be_operator(desk, read_headers(request.scope))
        refuse_unknown(read_query(request.scope), frozenset())
        found = resting_targets(desk.switchboard.resting.seen(), desk.switchboard.clock.now())
        return json_answer(200, TargetList(found))

    return [list_targets]


def resting_targets(conditions: Conditions, now: float) -> list[RestingTarget]:
    """Those that rest, the longest first. `now` is that moment by the server's own clock."""

    def moment(store_ms: int) -> str:
        return rfc3339(now + (store_ms - conditions.now_ms) / 1000)

    resting = [(name, each) for name, each in conditions.by_name.items() if each.rests]
    return [
        RestingTarget(
            provider=name.partition("/")[0],
            model=name.partition("/")[2],
            reason=each.reason,
            since=moment(each.since_ms),
            failed_at=moment(each.failed_ms),
            probe_at=moment(each.until_ms),
            probing=each.is_probed,
        )
        for name, each in sorted(resting, key=lambda one: (one[1].since_ms, one[0]))
    ]
