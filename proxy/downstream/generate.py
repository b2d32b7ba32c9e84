"""Making an answer: one POST for each dialect.

A create starts a producer that belongs to the stream; the request that made it is its first
reader, by the same cursor as every later one. A repeat with the same idempotency key is a
reader too, and so is a repeat with `Last-Event-ID`, which never creates.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Scope

from proxy.downstream.auth import authenticate
from proxy.downstream.create import BORN_EVERY_S, Call, call_wishes, create, let_finish, read_call
from proxy.downstream.describe import stream_headers, view
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import (
    Answer,
    json_answer,
    note_quota_headers,
    read_body,
    read_headers,
)
from proxy.downstream.folded import FoldedAnswer
from proxy.downstream.problems import problem_answer
from proxy.downstream.quota_headers import quota_headers
from proxy.downstream.responses import begun
from proxy.downstream.sse import EventStream, SseSettings
from proxy.downstream.tracing import note_reading, note_stream, trace_request
from proxy.errors import IdempotencyMismatch, MalformedRequest, QuotaExceeded, StreamGone
from proxy.policy.quotas import Standing
from proxy.relay.producer import Producer
from proxy.stream import State, StreamId
from proxy.wire.dialect import Dialect

Instead = Callable[[], Awaitable[ASGIApp | None]]
"""What may answer in a stream's stead, when it is known whether the stream has failed."""


def generate_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """One route per dialect that clients ask in."""
    return [_route(desk, dialect) for dialect in desk.dialects.values()]


def _route(desk: Desk, dialect: Dialect) -> HTTPRouteHandler:
    @post(dialect.path, name=dialect.name, status_code=200)
    async def generate(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        return await _generate(desk, dialect, request)

    return generate


async def _generate(desk: Desk, dialect: Dialect, request: Request) -> ASGIApp:  # type: ignore[type-arg]
    scope = request.scope
    headers = read_headers(scope)
    principal = authenticate(desk, headers)
    span = trace_request(desk, scope, headers)
    wishes = call_wishes(desk, headers)
    body = await read_body(request, headers, desk.settings.body_bytes_max)
    call = read_call(principal, wishes, dialect, headers, body, span)
    if wishes.last_event_id is not None:
        state = await _find(desk, call)
        return await _answer(desk, scope, call, state, wishes.last_event_id, None)
    state, producer = await _create(desk, scope, call)
    return await _answer(desk, scope, call, state, 0, producer)


async def _create(desk: Desk, scope: Scope, call: Call) -> tuple[State, Producer | None]:
    """And note what is left of the limits, for whatever answers."""
    try:
        state, producer, standings = await create(desk, call)
    except QuotaExceeded as refused:
        _note(desk, scope, call, refused.standings)
        raise
    _note(desk, scope, call, standings)
    return state, producer


def _note(desk: Desk, scope: Scope, call: Call, standings: Sequence[Standing]) -> None:
    now = desk.switchboard.clock.now()
    note_quota_headers(scope, quota_headers(call.dialect.name, standings, now))


# --- resuming -------------------------------------------------------------------------------------


async def _find(desk: Desk, call: Call) -> State:
    """The stream of a POST with Last-Event-ID, which never creates."""
    key = call.wishes.idempotency_key
    if key is None:
        raise MalformedRequest(
            "A POST with Last-Event-ID is a resume, and needs the Idempotency-Key of its stream; "
            "or GET /v1/streams/{id}/events.",
            param="Idempotency-Key",
        )
    found = await desk.switchboard.claimed_by(call.principal.owner, key)
    if found is None:
        raise StreamGone
    stream, fingerprint = found
    if fingerprint != call.fingerprint:
        raise IdempotencyMismatch
    return await desk.switchboard.state(stream)


# --- answering ------------------------------------------------------------------------------------


async def _answer(
    desk: Desk, scope: Scope, call: Call, state: State, after: int, producer: Producer | None
) -> ASGIApp:
    """The stream as the client wants it: at once as JSON, whole, or event by event."""
    if state.is_erased:
        raise StreamGone
    note_stream(scope, state.birth)
    headers = stream_headers(state, desk.switchboard.clock.now())
    if call.wishes.is_async:
        return json_answer(202, view(state), [*headers, ("preference-applied", "respond-async")])
    if state.ending is not None and after > 0 and after == state.last_id:
        return Answer(204, headers=headers)
    settings = SseSettings(
        heartbeat=call.dialect.heartbeat,
        heartbeat_s=desk.settings.heartbeat_s,
    )
    failure = _failure(desk, scope, call, state.birth.id, headers, producer)
    if state.problem is not None and not state.has_content and after == 0:
        failed = await failure()
        if failed is not None:
            return failed
    if call.ask.is_background and not call.ask.is_streamed:
        answered, has_ended = await begun(desk, state)
        if has_ended and (await desk.switchboard.state(state.birth.id)).has_failed_early:
            return await failure() or answered
        return answered
    if not call.ask.is_streamed:
        note_reading(scope, "json", 0)
        cursor = await desk.switchboard.follow(state, 0, transport="json", is_bound=True)
        cursor.principal = call.principal
        return FoldedAnswer(
            cursor,
            call.dialect,
            settings.heartbeat_s,
            headers,
            failure,
        )
    note_reading(scope, "sse", after)
    cursor = await desk.switchboard.follow(state, after, transport="sse", is_bound=True)
    cursor.principal = call.principal
    instead: Instead | None
    if producer is not None:
        instead = _instead_here(desk, producer, failure)
    else:
        instead = _instead_elsewhere(desk, state.birth.id, failure) if after == 0 else None
    return EventStream(
        cursor,
        settings,
        headers,
        instead=instead,
    )


def _instead_here(desk: Desk, producer: Producer, failure: Instead) -> Instead:
    """Wait for the first content, so that a failure before it can be an HTTP status."""

    async def instead() -> ASGIApp | None:
        writer = producer.writer
        with suppress(TimeoutError):
            async with asyncio.timeout(desk.settings.first_content_s):
                await writer.spoken.wait()
        is_early_failure = writer.problem is not None and not writer.has_content
        return await failure() if is_early_failure else None

    return instead


def _instead_elsewhere(desk: Desk, stream: StreamId, failure: Instead) -> Instead:
    """The same for a repeat whose producer is not here (yet): the store is asked now and then."""

    async def instead() -> ASGIApp | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + desk.settings.first_content_s
        state = await desk.switchboard.state(stream)
        while not (state.has_content or state.ending or loop.time() >= until):
            await asyncio.sleep(BORN_EVERY_S)
            state = await desk.switchboard.state(stream)
        return await failure() if state.problem is not None and not state.has_content else None

    return instead


def _failure(
    desk: Desk,
    scope: Scope,
    call: Call,
    stream: StreamId,
    headers: Sequence[tuple[str, str]],
    producer: Producer | None,
) -> Instead:
    """What makes an HTTP error of a stream that has ended, and did not complete; else None.

    A failure before content is the error itself, and its idempotency key is free by then. One
    after content names the stream (in the headers) and is not to be retried: its answer so
    far is there to be had.
    """

    async def failure() -> ASGIApp | None:
        await let_finish(producer)
        state = await desk.switchboard.state(stream)
        problem = state.problem
        if problem is None and producer is not None:
            problem = producer.writer.problem
        if problem is None:
            return None
        if state.has_content:
            problem = msgspec.structs.replace(problem, is_retryable=False)
        return problem_answer(scope, problem, call.dialect, tuple(headers))

    return failure
