"""A new stream for a request, or the one that its idempotency key has made before.

The one way to a provider, for every transport: what it takes is a `Call`, in which nothing is
left of how it came. It never answers anybody; it raises, or says which stream it is.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from proxy.downstream.desk import Desk
from proxy.downstream.holding import hold
from proxy.downstream.named import not_kept, provider_of_previous
from proxy.downstream.recipes import read_recipe, write_recipe
from proxy.downstream.wishes import Wishes, passed_on, read_wishes
from proxy.errors import IdempotencyMismatch, MalformedRequest, StoreUnavailable
from proxy.observe import Span
from proxy.policy.keys import Principal
from proxy.policy.quotas import Standing
from proxy.relay.ports import Claim, UpstreamRequest
from proxy.relay.producer import Producer
from proxy.relay.work import Candidate, Work
from proxy.stream import Birth, Detach, State, StreamId
from proxy.wire.answer import Making
from proxy.wire.dialect import Ask, Dialect, Translator
from proxy.wire.translation import translated, translation

BORN_EVERY_S = 0.05
"""How often the store is asked for what is about to be there."""
_BORN_WITHIN_S = 3.0
"""How long a repeat waits for a stream whose claim is there, but whose journal is not yet: its
creator is between two round trips to the store, or died there."""
_CLAIM_TRIES = 2
_FINISH_S = 2.0
"""How long an early failure waits for its idempotency key to be released."""


class Call(msgspec.Struct, frozen=True):
    """One request for an answer, read as far as it must be understood."""

    headers: Mapping[str, str]
    principal: Principal
    wishes: Wishes
    dialect: Dialect
    ask: Ask
    fingerprint: bytes
    """SHA-256 of path and body: what an idempotency key is bound to."""
    span: Span | None = None
    """Of the call, where it is traced."""


class Made(NamedTuple):
    """What came of a call. `producer` is None if it is not in this process."""

    state: State
    producer: Producer | None
    standings: Sequence[Standing]
    """What is left of the limits that it has passed; for a repeat, of those it would have to."""


def call_wishes(desk: Desk, headers: Mapping[str, str]) -> Wishes:
    """What the headers of a call wish for; the config says the rest."""
    settings = desk.settings
    return read_wishes(
        headers,
        detach=settings.detach,
        retention_s=settings.retention_s,
        retention_max_s=settings.retention_max_s,
    )


def dialect_at(desk: Desk, path: str) -> Dialect:
    """The dialect that is asked in at `path`. Raises `MalformedRequest`."""
    dialect = next((each for each in desk.dialects.values() if each.path == path), None)
    if dialect is None:
        known = ", ".join(sorted(each.path for each in desk.dialects.values()))
        raise MalformedRequest(f"path must be one of {known}.", param="path")
    return dialect


def read_call(
    principal: Principal,
    wishes: Wishes,
    dialect: Dialect,
    headers: Mapping[str, str],
    body: bytes,
    span: Span | None,
) -> Call:
    """The call that these make. Raises `MalformedRequest`, which names the field."""
    return Call(
        headers=headers,
        principal=principal,
        wishes=wishes,
        dialect=dialect,
        ask=dialect.read_ask(body),
        fingerprint=hashlib.sha256(dialect.path.encode() + b"\n" + body).digest(),
        span=span,
    )


async def create(desk: Desk, call: Call) -> Made:
    """See the module. Nothing has reached a provider when it raises."""
    key = call.wishes.idempotency_key
    pinned: str | None = None
    if call.ask.previous is not None:
        pinned = await provider_of_previous(
            desk, call.principal, call.ask.previous, call.dialect.name
        )
    claim = None if key is None else Claim(key, call.fingerprint)
    for tries_left in reversed(range(_CLAIM_TRIES)):
        birth, work = _plan(desk, call, pinned)
        made = await desk.switchboard.start(birth, work, claim)
        if isinstance(made, Producer):
            return Made(State(birth=birth, epoch=1, last_id=0), made, made.standings)
        if not made.is_same_request:
            raise IdempotencyMismatch
        state = await _born(desk, made.stream, _BORN_WITHIN_S)
        if state is None or state.is_erased or state.has_failed_early:
            # Its creator died before the journal was begun, or it is kept no longer, or it has
            # ended before its first content: the key is free again. Look once more after that:
            # see `Producers.start`.
            assert key is not None, "a repeat has a key"
            await desk.switchboard.give_back(call.principal.owner, key, made.stream)
            state = await _born(desk, made.stream, 0)
        if state is None or state.is_erased or (state.has_failed_early and tries_left):
            continue
        standings = await desk.switchboard.standings(work.limits)
        return Made(state, desk.switchboard.producer(made.stream), standings)
    raise StoreUnavailable("it keeps claims, but not what they claim")


async def let_finish(producer: Producer | None) -> None:
    """Let an early failure release its idempotency key, before anybody is told to try again."""
    if producer is not None:
        with suppress(TimeoutError):  # the store is slow: the key is released later
            async with asyncio.timeout(_FINISH_S):
                await producer.finished.wait()


def plan_again(desk: Desk, birth: Birth, raw: bytes) -> Work:
    """The work for a stream whose worker died, from its recipe. See `PlanAgain`."""
    recipe = read_recipe(desk, birth.id, raw)
    dialect = desk.dialects[birth.dialect]
    call = Call(
        headers=dict(recipe.headers),
        principal=recipe.principal,
        wishes=read_wishes({}, detach=birth.detach, retention_s=0.0, retention_max_s=0.0),
        dialect=dialect,
        ask=dialect.read_ask(recipe.body),
        fingerprint=b"",
    )
    _, work = _plan(desk, call, recipe.pinned, birth)
    return work


def _plan(
    desk: Desk, call: Call, pinned: str | None, birth: Birth | None = None
) -> tuple[Birth, Work]:
    """Who is to be asked what, and the stream it makes, or is. Pure but for id and clock.

    `pinned` is the provider that alone can answer, if there is such a one.
    """
    ask, wishes = call.ask, call.wishes
    target = desk.routes.resolve(ask.model, call.principal.models)
    provider = desk.providers[target.provider]
    theirs = _spoken_to(desk, call.dialect, provider.dialects_for(target.model))
    if pinned is not None and (target.provider != pinned or theirs is not call.dialect):
        raise not_kept(f"it was made by '{pinned}', which is not asked for this model")
    if theirs is not call.dialect:
        at_most = desk.pools.max_output_tokens_for(call.principal, target.provider)
        ask = translated(call.dialect, theirs, ask, target.model, at_most)
    held = hold(desk.pools, call.principal, target, theirs, ask)
    birth = birth or Birth(
        id=desk.switchboard.new_id(),
        owner=call.principal.owner,
        dialect=call.dialect.name,
        model=call.ask.model,
        provider=target.provider,
        created_at=desk.switchboard.clock.now(),
        retention_s=wishes.retention_s,
        detach=_detach(call),
        tag=wishes.tag,
        idempotency_key=wishes.idempotency_key,
        price=target.price,
        input_tokens_max=held.input_tokens,
        output_tokens_max=held.output_tokens,
        silent_tokens_per_s=target.silent_tokens_per_s * held.answers,
        trace=None if call.span is None else call.span.traceparent,
    )
    request = UpstreamRequest(
        dialect=theirs.name,
        model=target.model,
        body=theirs.upstream_body(held.ask, target.model),
        headers=_passed_on(call, theirs, birth),
    )

    def listen() -> Translator:
        if theirs is call.dialect:
            return theirs.translator(ask)
        making = Making(
            stream=birth.id,
            model=birth.model,
            created_at=birth.created_at,
            maker=theirs.name,
            wants_usage=call.ask.wants_usage,
            fields=call.ask.fields,
        )
        return translation(call.dialect, theirs, ask, making)

    candidate = Candidate(target, provider, request, listen)
    recipe = _recipe(desk, call, pinned, birth.id)
    hold_back_s = _hold_back_s(desk, ask)
    work = Work(call.dialect, [candidate], held.limits, held.most, recipe, hold_back_s)
    return birth, work


def _recipe(desk: Desk, call: Call, pinned: str | None, stream: StreamId) -> bytes | None:
    if not desk.settings.takeover:
        return None
    return write_recipe(desk, stream, call.principal, call.ask, passed_on(call.headers), pinned)


def _hold_back_s(desk: Desk, ask: Ask) -> float:
    """Who asks in the background is answered with the first events, and does not wait for more."""
    return 0.0 if ask.is_background else desk.settings.first_content_s


def _detach(call: Call) -> Detach:
    """What is asked for in the background runs on, unless the client says otherwise."""
    says_so = "midstream-detach" in call.headers
    return Detach() if call.ask.is_background and not says_so else call.wishes.detach


def _spoken_to(desk: Desk, ours: Dialect, spoken: Sequence[str]) -> Dialect:
    """The dialect in which a provider is asked: the client's, or else the one it prefers."""
    return ours if ours.name in spoken else desk.dialects[spoken[0]]


def _passed_on(call: Call, theirs: Dialect, birth: Birth) -> Sequence[tuple[str, str]]:
    """Headers for the provider: the client's own mean something in its own dialect alone."""
    traced = [] if call.span is None else call.span.passed_on(birth)
    if theirs is not call.dialect:
        return [*theirs.translated_headers, *traced]
    return [*passed_on(call.headers), *traced]


async def _born(desk: Desk, stream: StreamId, within_s: float) -> State | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while True:
        (state,) = await desk.switchboard.states([stream])
        if state is not None or loop.time() >= until:
            return state
        await asyncio.sleep(BORN_EVERY_S)
