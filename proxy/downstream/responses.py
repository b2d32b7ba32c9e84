"""OpenAI's own way to come back to an answer: everything under ``/v1/responses/{id}``.

It says the same as ``/v1/streams``, for every provider, in the shapes of OpenAI's SDKs. What
surprises: events are counted from 0 there, so what follows `starting_after` N is what follows
event N + 1; and who asks for a stream's events after its last gets an empty stream, not a 204,
which the SDKs could not read.
"""

import re
from collections.abc import Mapping

from litestar import Request, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate
from proxy.downstream.describe import stream_headers
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, json_answer, read_headers, read_query
from proxy.downstream.named import find_named
from proxy.downstream.sse import EventStream, SseSettings
from proxy.downstream.tracing import note_reading, note_stream, trace_request
from proxy.downstream.wishes import read_event_id, refuse_unknown
from proxy.errors import MalformedRequest, ResponseNotFound, StreamGone
from proxy.policy.keys import Principal
from proxy.relay.cursor import Cursor
from proxy.stream import EVENT_ID_MAX, Event, State
from proxy.wire.assembly import encode, folding
from proxy.wire.dialect import Dialect
from proxy.wire.responses.fold import response_of

BACKGROUND_S = 2.0
"""How long an answer in the background may take to begin, before it is said to be queued."""
_INCLUDE = "include[]"
_INCLUDED = re.compile(r"include(\[[0-9]{0,3}\])?")
_KNOWN = frozenset({"stream", "starting_after", "include_obfuscation"})
_FLAGS = {"true": True, "false": False}
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)


def responses_routes(desk: Desk, dialect: Dialect) -> list[HTTPRouteHandler]:
    """All routes of this module. `dialect` is that of the answers that can be asked for so."""
    path = dialect.path + "/{name:str}"

    @get(path)
    async def get_response(request: Request, name: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        principal, state = await find(request, name)
        query = _read_query(request)
        if not _flag(query, "stream"):
            if "starting_after" in query:
                raise MalformedRequest(
                    "'starting_after' needs stream=true.", param="starting_after"
                )
            return await _response(desk, state, name)
        after = _after(query, read_headers(request.scope))
        note_reading(request.scope, "sse", after)
        return await _events(desk, dialect, principal, state, after)

    @post(path + "/cancel", status_code=200)
    async def cancel_response(request: Request, name: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        _, state = await find(request, name)
        return await _response(desk, await desk.switchboard.cancel(state.birth.id), name)

    @delete(path, status_code=200)
    async def delete_response(request: Request, name: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        _, state = await find(request, name)
        await desk.switchboard.erase(state)
        return json_answer(200, {"id": name, "object": "response", "deleted": True})

    async def find(request: Request, name: str) -> tuple[Principal, State]:  # type: ignore[type-arg]
        headers = read_headers(request.scope)
        principal = authenticate(desk, headers)
        trace_request(desk, request.scope, headers)
        state = (await find_named(desk, principal, name, dialect.name)).state
        note_stream(request.scope, state.birth)
        return principal, state

    return [get_response, cancel_response, delete_response]


# --- what is asked for --------------------------------------------------------------------------


def _read_query(request: Request) -> Mapping[str, str]:  # type: ignore[type-arg]
    """Without `include`, whose fields an answer has if its request asked for them."""
    query = read_query(request.scope, repeatable=frozenset({"include", _INCLUDE}))
    query = {name: text for name, text in query.items() if not _INCLUDED.fullmatch(name)}
    refuse_unknown(query, _KNOWN)
    _flag(query, "include_obfuscation")
    return query


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false")
    if text not in _FLAGS:
        raise MalformedRequest(f"{name} must be true or false.", param=name)
    return _FLAGS[text]


def _after(query: Mapping[str, str], headers: Mapping[str, str]) -> int:
    """The event id to go on after."""
    if "last-event-id" in headers:
        return read_event_id(headers["last-event-id"])
    text = query.get("starting_after")
    if text is None:
        return 0
    if not _NUMBER.fullmatch(text) or int(text) >= EVENT_ID_MAX:
        raise MalformedRequest(
            "starting_after must be the sequence_number of an event.", param="starting_after"
        )
    return int(text) + 1


# --- what is answered ---------------------------------------------------------------------------


async def _events(
    desk: Desk, dialect: Dialect, principal: Principal, state: State, after: int
) -> EventStream:
    headers = stream_headers(state, desk.switchboard.clock.now())
    cursor = await desk.switchboard.follow(state, after, transport="sse")
    cursor.principal = principal
    settings = SseSettings(heartbeat=dialect.heartbeat, heartbeat_s=desk.settings.heartbeat_s)
    return EventStream(cursor, settings, headers)


async def _response(desk: Desk, state: State, name: str) -> Answer:
    """The response as it is now. Raises `ResponseNotFound` if it is erased meanwhile."""
    events: list[Event] = []
    if state.last_id:
        cursor = await desk.switchboard.follow(state, 0, transport=None)
        try:
            events = await _at_hand(cursor, 0)
        except StreamGone as error:
            raise ResponseNotFound(name) from error
        finally:
            cursor.close()
    return _answer(desk, state, events)


async def begun(desk: Desk, state: State) -> tuple[Answer, bool]:
    """The response as it is when it begins, and whether it has ended by then.

    What has not begun in time is queued.
    """
    cursor = await desk.switchboard.follow(state, 0, transport=None)
    try:
        events = await _at_hand(cursor, BACKGROUND_S)
        has_ended = cursor.tail.ending is not None
    finally:
        cursor.close()
    return _answer(desk, state, events), has_ended


async def _at_hand(cursor: Cursor, wait_s: float) -> list[Event]:
    """The events that there are; if there are none, those that come first."""
    events: list[Event] = []
    batch = await cursor.next(wait_s)
    while batch is not None:
        events.extend(batch.events)
        batch = await cursor.next(0)
    return events


def _answer(desk: Desk, state: State, events: list[Event]) -> Answer:
    with folding():
        body = encode(response_of(state.birth, events))
    headers = stream_headers(state, desk.switchboard.clock.now())
    last_id = events[-1].id if events else 0
    return Answer(200, body, headers=[*headers, ("midstream-last-event-id", str(last_id))])
