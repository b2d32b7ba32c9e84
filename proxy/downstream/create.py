"""A new stream for a request, or the one that its idempotency key has made before.

The one way to a provider, for every transport: what it takes is a `Call`, in which nothing is
left of how it came. It never answers anybody; it raises, or says which stream it is.
"""

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from proxy.downstream.desk import Desk
from proxy.downstream.named import provider_of_previous
from proxy.downstream.planning import Asked, plan
from proxy.downstream.recipes import read_recipe
from proxy.downstream.wishes import Wishes, passed_on, read_wishes
from proxy.errors import (
    IdempotencyMismatch,
    MalformedRequest,
    QuotaExceeded,
    StoreUnavailable,
)
from proxy.observe import Span
from proxy.policy.keys import Principal
from proxy.policy.pools import provider_pool
from proxy.policy.quotas import Standing
from proxy.relay.ports import Claim, Repeat
from proxy.relay.producer import Producer
from proxy.relay.work import Work
from proxy.stream import Birth, Detach, State, StreamId
from proxy.wire.dialect import Ask, Dialect

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
    asked = _asked(call, pinned)
    for tries_left in reversed(range(_CLAIM_TRIES)):
        work, made = await _start(desk, asked, claim)
        if isinstance(made, Producer):
            return Made(made.state(), made, made.standings)
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


def _asked(call: Call, pinned: str | None) -> Asked:
    wishes = call.wishes
    if call.ask.is_background and "midstream-detach" not in call.headers:
        # What is asked for in the background runs on, unless the client says otherwise.
        wishes = msgspec.structs.replace(wishes, detach=Detach())
    return Asked(
        principal=call.principal,
        dialect=call.dialect,
        ask=call.ask,
        headers=passed_on(call.headers),
        pinned=pinned,
        wishes=wishes,
        span=call.span,
    )


async def _start(desk: Desk, asked: Asked, claim: Claim | None) -> tuple[Work, Producer | Repeat]:
    """With a first candidate whose provider's own limits let it through, if there is one.

    Each provider is tried once. If all of them are full, that is raised which has room first.
    """
    full: dict[str, QuotaExceeded] = {}
    while True:
        birth, work = plan(desk, asked, full)
        try:
            return work, await desk.switchboard.start(birth, work, claim)
        except QuotaExceeded as refused:
            provider = work.candidates[0].provider.name
            if refused.refusal.limit.pool != provider_pool(provider):
                raise
            full[provider] = refused
            if all(candidate.provider.name in full for candidate in work.candidates):
                raise min(full.values(), key=_waits_s) from None


def _waits_s(refused: QuotaExceeded) -> float:
    retry_after_s = refused.refusal.retry_after_s
    return math.inf if retry_after_s is None else retry_after_s


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
    asked = Asked(
        principal=recipe.principal,
        dialect=dialect,
        ask=dialect.read_ask(recipe.body),
        headers=recipe.headers,
        wishes=read_wishes({}, detach=birth.detach, retention_s=0.0, retention_max_s=0.0),
        pinned=recipe.pinned,
    )
    _, work = plan(desk, asked, birth=birth)
    return work


async def _born(desk: Desk, stream: StreamId, within_s: float) -> State | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while True:
        (state,) = await desk.switchboard.states([stream])
        if state is not None or loop.time() >= until:
            return state
        await asyncio.sleep(BORN_EVERY_S)
