"""For the operator: is it alive, is it ready, what does it offer."""

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, json_answer
from proxy.errors import StoreUnavailable


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

    return [healthz, readyz, openapi]


async def _reasons_not_to_be_ready(desk: Desk) -> list[str]:
    reasons = []
    if desk.switchboard.is_draining:
        reasons.append("draining")
    try:
        await desk.ping()
    except StoreUnavailable:
        reasons.append("the store cannot be reached")
    return reasons
