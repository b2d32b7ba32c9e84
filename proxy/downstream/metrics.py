"""``GET /metrics``: the numbers of every worker of this `midstream serve`, for Prometheus.

Whichever worker is asked tells the sum (see `observe.board`), so a scrape needs no address of
each. It asks nobody: what the store holds for the whole namespace is not told here.
"""

from pathlib import Path

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, read_headers
from proxy.errors import NotPermitted
from proxy.observe.exposition import MEDIA_TYPE

_DASHBOARD = Path(__file__).parents[1] / "web" / "grafana.json"


def metrics_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    dashboard = _DASHBOARD.read_bytes()

    @get("/metrics")
    async def metrics(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        _must_be_operator(desk, request)
        return Answer(200, desk.observer.counts.exposition(), media_type=MEDIA_TYPE)

    @get("/dashboard/grafana.json")
    async def grafana(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        _must_be_operator(desk, request)
        return Answer(200, dashboard)

    return [metrics, grafana]


def _must_be_operator(desk: Desk, request: Request) -> None:  # type: ignore[type-arg]
    if not authenticate(desk, read_headers(request.scope)).is_operator:
        raise NotPermitted("Only an operator's key may ask for this.")
