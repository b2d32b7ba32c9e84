"""Making an answer: ``POST /v1/chat/completions`` and ``POST /v1/messages``.

A create starts a producer that belongs to the stream; the request that made it is its first
reader, by the same cursor as every later one. A repeat with the same idempotency key is a
reader too, and so is a repeat with `Last-Event-ID`, which never creates.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Scope

from proxy.downstream.auth import authenticate
from proxy.downstream.describe import stream_headers, view
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, json_answer, read_body, read_headers
from proxy.downstream.folded import FoldedAnswer
from proxy.downstream.problems import problem_answer
from proxy.downstream.sse import EventStream, SseSettings
from proxy.downstream.wishes import PASSED_ON_HEADERS, Wishes, read_wishes
from proxy.errors import (
    IdempotencyMismatch,
    MalformedRequest,
    StoreUnavailable,
    StreamGone,
)
from proxy.policy.keys import Principal
from proxy.relay.ports import Claim, UpstreamRequest
from proxy.relay.producer import Producer, Work
from proxy.stream import Birth, State, StreamId
from proxy.wire.dialect import Ask, Dialect

Hold = Callable[[], Awaitable[ASGIApp | None]]
"""What may answer in a stream's stead, when it is known whether the stream has failed."""

_BORN_WITHIN_S = 3.0
"""How long a repeat waits for a stream whose claim is there, but whose journal is not yet: its
creator is between two round trips to the store, or died there."""
_BORN_EVERY_S = 0.05
_CLAIM_TRIES = 2
_FINISH_S = 2.0
"""How long an early failure waits for its idempotency key to be released."""


class Call(msgspec.Struct, frozen=True):
    """One POST, read as far as it must be understood."""

    scope: Scope
    headers: Mapping[str, str]
    principal: Principal
    wishes: Wishes
    dialect: Dialect
    ask: Ask
    fingerprint: bytes
    """SHA-256 of path and body: what an idempotency key is bound to."""


def generate_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """One route per dialect that clients ask in."""
    return [_route(desk, dialect) for dialect in desk.dialects.values()]


def _route(desk: Desk, dialect: Dialect) -> HTTPRouteHandler:
    @post(dialect.path, name=dialect.name, status_code=200)
    async def generate(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        return await _generate(desk, dialect, request)

    return generate


async def _generate(desk: Desk, dialect: Dialect, request: Request) -> ASGIApp:  # type: ignore[type-arg]
    headers = read_headers(request.scope)
    principal = authenticate(desk, headers)
    settings = desk.settings
    wishes = read_wishes(
        headers,
        detach=settings.detach,
        retention_s=settings.retention_s,
        retention_max_s=settings.retention_max_s,
    )
    body = await read_body(request, headers, settings.body_bytes_max)
    call = Call(
        scope=request.scope,
        headers=headers,
        principal=principal,
        wishes=wishes,
        dialect=dialect,
        ask=dialect.read_ask(body),
        fingerprint=hashlib.sha256(dialect.path.encode() + b"\n" + body).digest(),
    )
    if wishes.last_event_id is not None:
        return await _resume(desk, call, wishes.last_event_id)
    return await _create(desk, call)


# --- creating ----------------------------------------------------------------------------------


async def _create(desk: Desk, call: Call) -> ASGIApp:
    """A new stream; or the one that the idempotency key has made before."""
    key = call.wishes.idempotency_key
    claim = None if key is None else Claim(key, call.fingerprint)
    for _ in range(_CLAIM_TRIES):
        birth, work = _plan(desk, call)
        made = await desk.switchboard.start(birth, work, claim)
        if isinstance(made, Producer):
            return await _answer(desk, call, State(birth=birth, epoch=1, last_id=0), 0, made)
        if not made.is_same_request:
            raise IdempotencyMismatch
        state = await _born(desk, made.stream, _BORN_WITHIN_S)
        if state is None or state.is_erased:
            # Its creator died before the journal was begun, or it is kept no longer: the key is
            # free again. Look once more after that: see `Producers.start`.
            assert key is not None, "a repeat has a key"
            await desk.switchboard.give_back(call.principal.owner, key, made.stream)
            state = await _born(desk, made.stream, 0)
        if state is not None and not state.is_erased:
            producer = desk.switchboard.producer(made.stream)
            return await _answer(desk, call, state, 0, producer)
    raise StoreUnavailable("it keeps claims, but not what they claim")


def _plan(desk: Desk, call: Call) -> tuple[Birth, Work]:
    """Who is to be asked what, and the stream it makes. Pure but for id and clock."""
    ask, wishes = call.ask, call.wishes
    target = desk.routes.resolve(ask.model, call.principal.models)
    provider = desk.providers[target.provider]
    desk.routes.check_dialect(ask.model, call.dialect.name, provider.dialects)
    passed_on = [(name, call.headers[name]) for name in PASSED_ON_HEADERS if name in call.headers]
    birth = Birth(
        id=desk.switchboard.new_id(),
        owner=call.principal.owner,
        dialect=call.dialect.name,
        model=ask.model,
        provider=target.provider,
        created_at=desk.switchboard.clock.now(),
        retention_s=wishes.retention_s,
        detach=wishes.detach,
        tag=wishes.tag,
        idempotency_key=wishes.idempotency_key,
    )
    request = UpstreamRequest(
        dialect=call.dialect.name,
        model=target.model,
        body=call.dialect.upstream_body(ask, target.model),
        headers=passed_on,
    )
    return birth, Work(provider, request, call.dialect, call.dialect.translator(ask))


# --- repeating and resuming -----------------------------------------------------------------------


async def _born(desk: Desk, stream: StreamId, within_s: float) -> State | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while True:
        (state,) = await desk.switchboard.states([stream])
        if state is not None or loop.time() >= until:
            return state
        await asyncio.sleep(_BORN_EVERY_S)


async def _resume(desk: Desk, call: Call, after: int) -> ASGIApp:
    """A POST with Last-Event-ID: never creates."""
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
    return await _answer(desk, call, await desk.switchboard.state(stream), after, None)


# --- answering ------------------------------------------------------------------------------------


async def _answer(
    desk: Desk, call: Call, state: State, after: int, producer: Producer | None
) -> ASGIApp:
    """The stream as the client wants it: at once as JSON, whole, or event by event."""
    if state.is_erased:
        raise StreamGone
    call.scope["state"]["stream"] = state.birth.id
    headers = stream_headers(state, desk.switchboard.clock.now())
    if call.wishes.is_async:
        return json_answer(202, view(state), [*headers, ("preference-applied", "respond-async")])
    if state.ending is not None and after > 0 and after == state.last_id:
        return Answer(204, headers=headers)
    settings = SseSettings(
        heartbeat=call.dialect.heartbeat,
        heartbeat_s=desk.settings.heartbeat_s,
    )
    failure = _failure(desk, call, state.birth.id, headers, producer)
    if state.problem is not None and not state.has_content and after == 0:
        failed = await failure()
        if failed is not None:
            return failed
    if not call.ask.is_streamed:
        cursor = await desk.switchboard.follow(state, 0, is_bound=True)
        return FoldedAnswer(
            cursor,
            call.dialect,
            settings.heartbeat_s,
            headers,
            failure,
        )
    cursor = await desk.switchboard.follow(state, after, is_bound=True)
    hold: Hold | None
    if producer is not None:
        hold = _hold(desk, producer, failure)
    else:
        hold = _hold_elsewhere(desk, state.birth.id, failure) if after == 0 else None
    return EventStream(
        cursor,
        settings,
        headers,
        hold=hold,
    )


def _hold(desk: Desk, producer: Producer, failure: Hold) -> Hold:
    """Wait for the first content, so that a failure before it can be an HTTP status."""

    async def hold() -> ASGIApp | None:
        writer = producer.writer
        with suppress(TimeoutError):
            async with asyncio.timeout(desk.settings.first_content_s):
                await writer.spoken.wait()
        is_early_failure = writer.problem is not None and not writer.has_content
        return await failure() if is_early_failure else None

    return hold


def _hold_elsewhere(desk: Desk, stream: StreamId, failure: Hold) -> Hold:
    """The same for a repeat whose producer is not here (yet): the store is asked now and then."""

    async def hold() -> ASGIApp | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + desk.settings.first_content_s
        state = await desk.switchboard.state(stream)
        while not (state.has_content or state.ending or loop.time() >= until):
            await asyncio.sleep(_BORN_EVERY_S)
            state = await desk.switchboard.state(stream)
        return await failure() if state.problem is not None and not state.has_content else None

    return hold


def _failure(
    desk: Desk,
    call: Call,
    stream: StreamId,
    headers: Sequence[tuple[str, str]],
    producer: Producer | None,
) -> Hold:
    """What makes an HTTP error of a stream that has ended, and did not complete; else None.

    A failure before content is the error itself, and its idempotency key is free by then. One
    after content names the stream (in the headers) and is not to be retried: its answer so
    far is there to be had.
    """

    async def failure() -> ASGIApp | None:
        if producer is not None:
            with suppress(TimeoutError):  # the store is slow: the key is released later
                async with asyncio.timeout(_FINISH_S):
                    await producer.finished.wait()
        state = await desk.switchboard.state(stream)
        problem = state.problem
        if problem is None and producer is not None:
            problem = producer.writer.problem
        if problem is None:
            return None
        if state.has_content:
            problem = msgspec.structs.replace(problem, is_retryable=False)
        return problem_answer(call.scope, problem, call.dialect, tuple(headers))

    return failure
