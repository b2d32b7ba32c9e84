"""What passes through whole: ``POST /v1/embeddings`` and ``POST /v1/messages/count_tokens``.

The provider's own bytes come back, or its own error. There is no stream: nothing is kept, and
nothing can be resumed, so the provider is left as soon as the client leaves.
"""

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.downstream.auth import authenticate
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, note_quota_headers, read_body, read_headers
from proxy.downstream.holding import hold_passage
from proxy.downstream.http import wire_of
from proxy.downstream.quota_headers import quota_headers
from proxy.downstream.wishes import passed_on
from proxy.errors import PassageNotOffered, QuotaExceeded
from proxy.relay.courier import Courier, Load
from proxy.relay.ports import UpstreamRequest
from proxy.stream import Birth
from proxy.wire.passages import PASSAGES, Passage, read_passage, upstream_body


def passing_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """One route for each passage."""
    return [_route(desk, passage) for passage in PASSAGES]


def _route(desk: Desk, passage: Passage) -> HTTPRouteHandler:
    @post(passage.path, name=passage.name, status_code=200)
    async def pass_on(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        return await _pass_on(desk, passage, request)

    return pass_on


async def _pass_on(desk: Desk, passage: Passage, request: Request) -> ASGIApp:  # type: ignore[type-arg]
    headers = read_headers(request.scope)
    principal = authenticate(desk, headers)
    body = await read_body(request, headers, desk.settings.body_bytes_max)
    ask = read_passage(passage, body)
    route = desk.routes.resolve(ask.model, principal.models)
    offering = (t for t in route.targets if passage.name in desk.providers[t.provider].passages)
    target = next(offering, None)
    if target is None:
        raise PassageNotOffered(ask.model, passage.what)
    provider = desk.providers[target.provider]
    held = hold_passage(desk.pools, principal, target, ask)
    birth = Birth(
        id=desk.switchboard.new_passage_id(),
        owner=principal.owner,
        dialect=passage.dialect,
        model=ask.model,
        provider=target.provider,
        created_at=desk.switchboard.clock.now(),
        retention_s=0,
        price=target.price,
    )
    sent = UpstreamRequest(
        passage.dialect,
        target.model,
        upstream_body(ask, target.model),
        passed_on(headers),
    )
    load = Load(provider, passage, sent, held.limits, held.most)
    now = desk.switchboard.clock.now
    try:
        courier = await desk.switchboard.couriers.send(birth, load)
    except QuotaExceeded as refused:
        told = quota_headers(passage.dialect, refused.standings, now())
        note_quota_headers(request.scope, told)
        raise
    note_quota_headers(request.scope, quota_headers(passage.dialect, courier.standings, now()))
    request.scope["state"]["stream"] = birth.id
    return PassedAnswer(courier)


class PassedAnswer:
    """The response, as an ASGI application: waits for the courier, unless the client leaves."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise what went wrong."""
        courier, wire = self._courier, wire_of(scope)
        wire.watch(courier.stop)
        try:
            await courier.done.wait()
        finally:
            courier.stop()
            wire.unwatch()
        match courier.outcome:
            case bytes(body):
                await Answer(200, body)(scope, receive, send)
            case None:
                return
            case error:
                raise error
