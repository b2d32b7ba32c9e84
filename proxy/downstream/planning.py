"""Who is to be asked what for an answer, in which order, and the stream that comes of it.

Pure but for id, clock and chance. Nothing of how a request came is left in what it takes, so that
a request that was kept can be planned once more, by another worker, for the stream that it has.
What surprises: each target's request is made here, though most are never sent, because what the
stream holds has to be enough for whichever answers.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from proxy.downstream.desk import Desk
from proxy.downstream.holding import Held, hold
from proxy.downstream.named import not_kept
from proxy.downstream.recipes import write_recipe
from proxy.downstream.wishes import Wishes
from proxy.errors import MalformedRequest, ModelWithoutPrice
from proxy.observe import Span
from proxy.policy.keys import Principal
from proxy.policy.quotas import most_of
from proxy.policy.routes import Route, Strategy, Target, Unstreamed
from proxy.policy.routing import in_order
from proxy.relay.ports import Provider, UpstreamRequest
from proxy.relay.work import Candidate, Part, Rest, Work
from proxy.stream import Birth, Event, StreamId, Usage
from proxy.wire.answer import Making
from proxy.wire.dialect import Ask, Dialect, Translator
from proxy.wire.taking_up import Finish, take_up
from proxy.wire.translation import translated, translation


class Asked(msgspec.Struct, frozen=True):
    """What a client wants, with nothing left of how it came."""

    principal: Principal
    dialect: Dialect
    ask: Ask
    headers: Sequence[tuple[str, str]]
    """The client's own, for a provider that is asked in its dialect."""
    wishes: Wishes
    pinned: str | None = None
    """The provider that alone can answer, if there is such a one."""
    span: Span | None = None
    """Of the call, where it is traced."""


class _Way(NamedTuple):
    """A target, and what it would be asked."""

    target: Target
    provider: Provider
    dialect: Dialect
    held: Held


def plan(
    desk: Desk, asked: Asked, full: Collection[str] = (), birth: Birth | None = None
) -> tuple[Birth, Work]:
    """The work for a new stream, or for that of `birth`.

    Providers in `full` are known to have no room now, and come last. Raises `ModelNotFound`, or
    why not even one target can be asked: `MalformedRequest`, `ModelWithoutPrice`.
    """
    route = desk.routes.resolve(asked.ask.model, asked.principal.models)
    targets = [target for target in route.targets if _may_answer(desk, asked, target)]
    if not targets:
        raise not_kept(f"it was made by '{asked.pinned}', which is not asked for this model")
    ways = _ways(desk, asked, _ordered(desk, route.strategy, targets, full))
    if birth is None:
        birth = _birth(desk, asked, ways)
    work = Work(
        dialect=asked.dialect,
        candidates=[_candidate(asked, route, way, birth) for way in ways],
        limits=ways[0].held.limits,
        ask=most_of([way.held.most for way in ways]),
        recipe=_recipe(desk, asked, birth.id),
        # who asks in the background is answered with the first events, and does not wait for more
        hold_back_s=0.0 if asked.ask.is_background else desk.settings.first_content_s,
    )
    return birth, work


def _recipe(desk: Desk, asked: Asked, stream: StreamId) -> bytes | None:
    if not desk.settings.takeover:
        return None
    return write_recipe(desk, stream, asked.principal, asked.ask, asked.headers, asked.pinned)


def _may_answer(desk: Desk, asked: Asked, target: Target) -> bool:
    """What one provider keeps, it knows by its own name and in its own dialect alone."""
    if asked.pinned is None:
        return True
    spoken = desk.providers[target.provider].dialects_for(target.model)
    return target.provider == asked.pinned and asked.dialect.name in spoken


def _ordered(
    desk: Desk, strategy: Strategy, targets: Sequence[Target], full: Collection[str]
) -> Sequence[Target]:
    switchboard = desk.switchboard
    counts = switchboard.running_by_target() if strategy is Strategy.LEAST_BUSY else {}
    ordered = in_order(
        strategy, targets, switchboard.draw, lambda target: counts.get(target.name, 0)
    )
    return sorted(ordered, key=lambda target: target.provider in full)


def _ways(desk: Desk, asked: Asked, targets: Sequence[Target]) -> Sequence[_Way]:
    """Those that can be asked; raises why the first could not, if there is none."""
    ways: list[_Way] = []
    why: MalformedRequest | ModelWithoutPrice | None = None
    for target in targets:
        try:
            ways.append(_way(desk, asked, target))
        except (MalformedRequest, ModelWithoutPrice) as error:
            why = why or error
    if not ways:
        assert why is not None, "there is a target"
        raise why
    return ways


def _way(desk: Desk, asked: Asked, target: Target) -> _Way:
    ask, provider = asked.ask, desk.providers[target.provider]
    theirs = _spoken_to(desk, asked.dialect, provider.dialects_for(target.model))
    if theirs is not asked.dialect:
        at_most = desk.pools.max_output_tokens_for(asked.principal, target.provider)
        ask = translated(asked.dialect, theirs, ask, target.model, at_most)
    if target.parameters:
        ask = msgspec.structs.replace(ask, fields={**ask.fields, **target.parameters})
    return _Way(target, provider, theirs, hold(desk.pools, asked.principal, target, theirs, ask))


def _spoken_to(desk: Desk, ours: Dialect, spoken: Sequence[str]) -> Dialect:
    """The dialect in which a provider is asked: the client's, or else the one it prefers."""
    return ours if ours.name in spoken else desk.dialects[spoken[0]]


def _birth(desk: Desk, asked: Asked, ways: Sequence[_Way]) -> Birth:
    wishes, target, answers = asked.wishes, ways[0].target, ways[0].held.answers
    return Birth(
        id=desk.switchboard.new_id(),
        owner=asked.principal.owner,
        dialect=asked.dialect.name,
        model=asked.ask.model,
        provider=target.provider,
        created_at=desk.switchboard.clock.now(),
        retention_s=wishes.retention_s,
        detach=wishes.detach,
        tag=wishes.tag,
        idempotency_key=wishes.idempotency_key,
        price=target.price,
        input_tokens_max=max(way.held.input_tokens for way in ways),
        output_tokens_max=max(way.held.output_tokens for way in ways),
        silent_tokens_per_s=target.silent_tokens_per_s * answers,
        trace=None if asked.span is None else asked.span.traceparent,
    )


def _candidate(asked: Asked, route: Route, way: _Way, birth: Birth) -> Candidate:
    target, theirs, held = way.target, way.dialect, way.held
    is_whole = _is_whole(asked, route, theirs)
    body = theirs.whole_body if is_whole else theirs.upstream_body
    request = UpstreamRequest(
        dialect=theirs.name,
        model=target.model,
        body=body(held.ask, target.model),
        headers=_headers(asked, theirs, birth),
        is_whole=is_whole,
    )
    return Candidate(
        target=target,
        provider=way.provider,
        request=request,
        listen=partial(_listen, asked, theirs, held.ask, birth, is_whole=is_whole),
        limits=held.own,
        take_up=partial(_take_up, asked, way, birth, request)
        if route.continue_after_failure and not is_whole
        else None,
    )


def _is_whole(asked: Asked, route: Route, theirs: Dialect) -> bool:
    """Whether the answer is had in one piece, which is not translated, and not heard in parts."""
    wants_parts = asked.ask.is_streamed or asked.ask.is_background
    is_direct = route.unstreamed is Unstreamed.DIRECT
    return is_direct and theirs is asked.dialect and not wants_parts


def _making(asked: Asked, theirs: Dialect, birth: Birth) -> Making:
    return Making(
        stream=birth.id,
        model=birth.model,
        created_at=birth.created_at,
        maker=theirs.name,
        wants_usage=asked.ask.wants_usage,
        fields=asked.ask.fields,
    )


def _listen(asked: Asked, theirs: Dialect, ask: Ask, birth: Birth, *, is_whole: bool) -> Translator:
    if is_whole:
        return theirs.whole_translator(ask)
    if theirs is asked.dialect:
        return theirs.translator(ask)
    return translation(asked.dialect, theirs, ask, _making(asked, theirs, birth))


def _take_up(
    asked: Asked,
    way: _Way,
    birth: Birth,
    request: UpstreamRequest,
    events: Sequence[Event],
    used: Usage | None,
) -> Part | Rest:
    """Raises `CannotContinue`."""
    theirs, model = way.dialect, way.target.model
    taken = take_up(
        asked.dialect,
        theirs,
        asked.ask,
        way.held.ask,
        _making(asked, theirs, birth),
        model,
        events,
        prefill=way.target.prefill,
        used=used,
    )
    if isinstance(taken, Finish):
        return Rest(taken.frames)
    body = theirs.upstream_body(taken.ask, model)
    return Part(msgspec.structs.replace(request, body=body), taken.translator)


def _headers(asked: Asked, theirs: Dialect, birth: Birth) -> Sequence[tuple[str, str]]:
    """For the provider: the client's own mean something in its own dialect alone."""
    traced = [] if asked.span is None else asked.span.passed_on(birth)
    own = asked.headers if theirs is asked.dialect else theirs.translated_headers
    return [*own, *traced]
