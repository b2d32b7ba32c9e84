"""For the operator: is it alive, is it ready, what does it offer, which workers are there."""

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate
from proxy.downstream.describe import WorkerView, worker_view
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, json_answer, read_headers, read_query
from proxy.downstream.wishes import refuse_unknown
from proxy.errors import NotPermitted, StoreUnavailable


class WorkerList(msgspec.Struct, frozen=True):
    """Every worker of the namespace, the longest up first."""

    data: list[WorkerView]


def operator_routes(desk: Desk, schema: bytes) -> list[HTTPRouteHandler]:
    """All routes of this module. `schema` is the OpenAPI document, as JSON."""

    @get("/healthz")
    async def healthz(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        del request
        return json_answer(200, {"status": "ok"})

    @get("/readyz")
    async def readyz(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        del request
        reasons = await _reasons_not_to_be_ready(desk)
        if reasons:
            return json_answer(503, {"status": "not ready", "reasons": reasons})
        return json_answer(200, {"status": "ready"})

    @get("/schema")
    async def openapi(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        del request
        return Answer(200, schema, media_type="application/vnd.oai.openapi+json")

    @get("/v1/workers")
    async def list_workers(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        if not authenticate(desk, read_headers(request.scope)).is_operator:
            raise NotPermitted("Only an operator's key may ask for this.")
        refuse_unknown(read_query(request.scope), frozenset())
        reports = await desk.switchboard.reports()
        return json_answer(200, WorkerList([worker_view(report) for report in reports]))

    return [healthz, readyz, openapi, list_workers]


async def _reasons_not_to_be_ready(desk: Desk) -> list[str]:
    reasons = []
    if desk.switchboard.is_draining:
        reasons.append("draining")
    try:
        await desk.ping()
    except StoreUnavailable:
        reasons.append("the store cannot be reached")
    return reasons
