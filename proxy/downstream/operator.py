"""For the operator: is it alive, is it ready, what does it offer, which workers are there."""

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate, must_be_operator
from proxy.downstream.describe import WorkerView, rfc3339, worker_view
from proxy.downstream.desk import ConfigRefusal, Desk
from proxy.downstream.exchange import Answer, json_answer, read_headers, read_query
from proxy.downstream.wishes import refuse_unknown
from proxy.errors import NotAuthenticated, NotPermitted, StoreUnavailable


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
        reasons = await _reasons_not_to_be_ready(desk)
        told = {} if desk.refused is None else {"config": _refused(desk.refused, desk, request)}
        if reasons:
            return json_answer(503, {"status": "not ready", "reasons": reasons, **told})
        return json_answer(200, {"status": "ready", **told})

    @get("/schema")
    async def openapi(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        del request
        return Answer(200, schema, media_type="application/vnd.oai.openapi+json")

    @get("/v1/workers")
    async def list_workers(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        must_be_operator(desk, read_headers(request.scope))
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


def _refused(refused: ConfigRefusal, desk: Desk, request: Request) -> str:  # type: ignore[type-arg]
    """Since when the config is not valid; and why, which names keys, for an operator alone."""
    since = f"invalid since {rfc3339(refused.since)}"
    try:
        is_operator = authenticate(desk, read_headers(request.scope)).is_operator
    except (NotAuthenticated, NotPermitted):
        is_operator = False
    return f"{since}: {refused.problem}" if is_operator else since
