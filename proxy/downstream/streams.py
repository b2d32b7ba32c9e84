"""Reading and stopping streams: everything under ``/v1/streams``."""

from collections.abc import Mapping

import msgspec
from litestar import Request, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate, must_own
from proxy.downstream.describe import StreamItem, item, stream_headers, view
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, json_answer, read_headers, read_query
from proxy.downstream.long_poll import POLL_LINGERS_S, LongPoll
from proxy.downstream.sse import EventStream, SseSettings
from proxy.downstream.tracing import note_reading, note_stream, trace_request
from proxy.downstream.wishes import (
    check_tag,
    read_count,
    read_event_id,
    read_number,
    read_stream_id,
    refuse_unknown,
)
from proxy.errors import MalformedRequest, NotAcceptable, StreamGone
from proxy.policy.keys import Principal
from proxy.stream import Ending, Event, State

_LIMIT_DEFAULT = 20
_LIMIT_MAX = 100
_SCANNED_MAX = 1000
"""Of one listing: streams looked at for those that a status filter lets through."""

_STATUSES = frozenset({"running", "ended", *Ending})


class StreamList(msgspec.Struct, frozen=True):
    """A page of streams, newest first. `next` is the cursor of the next page."""

    data: list[StreamItem]
    next: str | None


def streams_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """All routes of this module."""

    @get("/v1/streams")
    async def list_streams(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        principal = authenticate(desk, read_headers(request.scope))
        return await _list(desk, principal, read_query(request.scope))

    @get("/v1/streams/{stream:str}")
    async def get_stream(request: Request, stream: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        _, state = await _find(desk, request, stream)
        if state.is_erased:
            raise StreamGone
        headers = stream_headers(state, desk.switchboard.clock.now())
        return json_answer(200, view(state), headers)

    @get("/v1/streams/{stream:str}/events")
    async def get_events(request: Request, stream: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        principal, state = await _find(desk, request, stream)
        return await _events(desk, request, principal, state)

    @get("/v1/streams/{stream:str}/response")
    async def get_response(request: Request, stream: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        _, state = await _find(desk, request, stream)
        return await _response(desk, state)

    @post("/v1/streams/{stream:str}/cancel", status_code=200)
    async def cancel_stream(request: Request, stream: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        _, state = await _find(desk, request, stream)
        if state.is_erased:
            raise StreamGone
        state = await desk.switchboard.cancel(state.birth.id)
        headers = stream_headers(state, desk.switchboard.clock.now())
        return json_answer(202 if state.ending is None else 200, view(state), headers)

    @delete("/v1/streams/{stream:str}", status_code=200)  # our Answer says 204 itself
    async def delete_stream(request: Request, stream: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        _, state = await _find(desk, request, stream)
        if not state.is_erased:
            await desk.switchboard.erase(state)
        return Answer(204)

    return [list_streams, get_stream, get_events, get_response, cancel_stream, delete_stream]


async def _find(
    desk: Desk,
    request: Request,  # type: ignore[type-arg]
    stream: str,
) -> tuple[Principal, State]:
    """The caller, and the stream if it may know of it. Credentials are checked on every call."""
    headers = read_headers(request.scope)
    principal = authenticate(desk, headers)
    trace_request(desk, request.scope, headers)
    state = await desk.switchboard.state(read_stream_id(stream))
    must_own(principal, state)
    note_stream(request.scope, state.birth)
    return principal, state


# --- events -----------------------------------------------------------------------------------


async def _events(
    desk: Desk,
    request: Request,  # type: ignore[type-arg]
    principal: Principal,
    state: State,
) -> ASGIApp:
    headers = read_headers(request.scope)
    query = read_query(request.scope)
    refuse_unknown(query, frozenset({"after", "wait", "limit"}))
    after = read_event_id(headers.get("last-event-id", query.get("after", "0")))
    wait_s = read_number(query, "wait", default=25, low=0, high=30)
    limit = read_count(query, "limit", default=1000, high=1000)
    wants_sse = prefers_sse(headers.get("accept", "*/*"))
    if state.is_erased:
        raise StreamGone
    named = stream_headers(state, desk.switchboard.clock.now())
    note_reading(request.scope, "sse" if wants_sse else "long_poll", after)
    if not wants_sse:
        cursor = await desk.switchboard.follow(
            state, after, transport="long_poll", lingers_s=POLL_LINGERS_S
        )
        cursor.principal = principal
        return LongPoll(cursor, wait_s=wait_s, limit=limit, headers=named)
    if state.ending is not None and after == state.last_id:
        return Answer(204, headers=named)
    cursor = await desk.switchboard.follow(state, after, transport="sse")
    cursor.principal = principal
    settings = SseSettings(
        heartbeat=desk.dialects[state.birth.dialect].heartbeat,
        heartbeat_s=desk.settings.heartbeat_s,
    )
    return EventStream(cursor, settings, named)


def prefers_sse(accept: str) -> bool:
    """Whether an Accept header wants event-stream more than JSON. Raises `NotAcceptable`.

    JSON is also what ``*/*`` gets.
    """
    weights = {"text/event-stream": 0.0, "application/json": 0.0}
    any_weight = 0.0
    for part in accept.split(","):
        media_type, _, parameters = part.strip().partition(";")
        media_type = media_type.strip().lower()
        weight = _weight(parameters)
        if media_type in weights:
            weights[media_type] = max(weights[media_type], weight)
        elif media_type in {"*/*", "application/*"}:
            any_weight = max(any_weight, weight)
    sse, json = weights["text/event-stream"], max(weights["application/json"], any_weight)
    if sse == json == 0:
        raise NotAcceptable
    return sse > 0 and sse >= weights["application/json"]


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


# --- the answer so far --------------------------------------------------------------------------


async def _response(desk: Desk, state: State) -> Answer:
    if state.is_erased:
        raise StreamGone
    events: list[Event] = []
    if state.last_id:
        cursor = await desk.switchboard.follow(state, 0, transport=None)
        try:
            while (batch := await cursor.next(0)) is not None:
                events.extend(batch.events)
        finally:
            cursor.close()
    body = desk.dialects[state.birth.dialect].fold(events)
    headers = stream_headers(state, desk.switchboard.clock.now())
    last_id = events[-1].id if events else 0
    return Answer(200, body, headers=[*headers, ("midstream-last-event-id", str(last_id))])


# --- lists --------------------------------------------------------------------------------------


async def _list(desk: Desk, principal: Principal, query: Mapping[str, str]) -> Answer:
    refuse_unknown(query, frozenset({"tag", "status", "limit", "cursor"}))
    tag = query.get("tag")
    if tag is not None:
        check_tag(tag, "tag")
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        known = ", ".join(sorted(_STATUSES))
        raise MalformedRequest(f"status must be one of {known}.", param="status")
    limit = read_count(query, "limit", default=_LIMIT_DEFAULT, high=_LIMIT_MAX)
    owner = None if principal.is_operator else principal.owner
    reports = await desk.switchboard.reports()
    found: list[StreamItem] = []
    cursor, scanned = query.get("cursor"), 0
    while True:
        page = await desk.switchboard.list(owner, tag, cursor, limit - len(found))
        cursor, scanned = page.next_cursor, scanned + len(page.streams)
        states = await desk.switchboard.states(page.streams) if page.streams else ()
        found += [item(state, reports) for state in states if state and _matches(state, status)]
        if cursor is None or len(found) >= limit or scanned >= _SCANNED_MAX:
            return json_answer(200, StreamList(found, cursor))


def _matches(state: State, status: str | None) -> bool:
    if state.is_erased:
        return False
    if status is None:
        return True
    if status == "running":
        return state.ending is None
    return state.ending is not None and status in {"ended", state.ending}
