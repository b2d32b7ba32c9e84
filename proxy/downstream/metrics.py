"""``GET /metrics``: the numbers of every worker of this `midstream serve`, for Prometheus.

Whichever worker is asked tells the sum (see `observe.board`), so a scrape needs no address of
each. What surprises: how much is used of each limit is nobody's count but the store's, which is
asked for it with each scrape, once and not for long; if it does not answer, that is left out.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from proxy.downstream.auth import must_be_operator
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, read_headers
from proxy.errors import StoreUnavailable
from proxy.observe.exposition import MEDIA_TYPE, Sample
from proxy.observe.metrics import MICRO
from proxy.policy.pools import most_shared
from proxy.policy.quotas import Limit

_POOLS_MAX: Final = 100
"""That are told. Chosen: with 7 limits each they are 1,400 series, and 1 ms of the store's time."""
_STORE_S: Final = 1.0
"""How long the store may take. Chosen: a scrape is given up after 10 s by default."""
_DASHBOARD = Path(__file__).parents[1] / "web" / "grafana.json"


def metrics_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    dashboard = _DASHBOARD.read_bytes()

    @get("/metrics")
    async def metrics(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        must_be_operator(desk, read_headers(request.scope))
        told = desk.observer.counts.exposition({**await _quotas(desk), **_resting(desk)})
        return Answer(200, told, media_type=MEDIA_TYPE)

    @get("/dashboard/grafana.json")
    async def grafana(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        must_be_operator(desk, read_headers(request.scope))
        return Answer(200, dashboard)

    return [metrics, grafana]


async def _quotas(desk: Desk) -> Mapping[str, Sequence[Sample]]:
    """The metrics of quotas. One round trip, or none without limits."""
    limits = desk.pools.all_limits(desk.keyring.limits)
    told = most_shared(limits, _POOLS_MAX)
    untold = len({limit.pool for limit in limits}) - len({limit.pool for limit in told})
    samples: dict[str, Sequence[Sample]] = {"midstream_quota_pools_untold": [((), (untold,))]}
    try:
        async with asyncio.timeout(_STORE_S):
            standings = await desk.switchboard.standings(told)
    except (StoreUnavailable, TimeoutError):
        return samples
    samples["midstream_quota_used"] = [_sample(one.limit, one.used) for one in standings]
    samples["midstream_quota_limit"] = [_sample(limit, limit.amount) for limit in told]
    return samples


def _resting(desk: Desk) -> Mapping[str, Sequence[Sample]]:
    """How many targets rest. No round trip."""
    resting = Counter(
        desk.observer.counts.target(name)
        for name, condition in desk.switchboard.resting.seen().by_name.items()
        if condition.rests
    )
    return {"midstream_target_resting": [(labels, (n,)) for labels, n in resting.items()]}


def _sample(limit: Limit, count: int) -> Sample:
    return (limit.pool, limit.kind), (count if limit.kind.is_money else count * MICRO,)
