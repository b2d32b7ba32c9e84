"""What an answer has used, where its provider has not said (all of) it: a guess, marked as one.

Pure. Owns how bytes of text become tokens: four of them are one, rounded up. That is near to what
tokenizers find in English, and above it for most other languages' text, whose letters are
longer. What surprises: reasoning that a provider keeps to itself is in no journal, so the time that
it may have taken is charged, at the model's pace (D16).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from proxy.errors import (
    MidstreamError,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderUnreachable,
)
from proxy.observe import Share
from proxy.policy.pools import provider_pool
from proxy.policy.quotas import Use, cost
from proxy.stream import Birth, Event, Leg, Price, State, Usage
from proxy.wire.deltas import Kind
from proxy.wire.dialect import Dialect

_TOKEN_BYTES = 4
"""Chosen: as above. A vocabulary would be another one for each provider, and tens of megabytes."""


def tokens_in(text_bytes: int) -> int:
    """How many tokens so much UTF-8 is, about."""
    return -(-text_bytes // _TOKEN_BYTES)


def is_known(usage: Usage | None) -> bool:
    """Whether there is nothing to guess."""
    return usage is not None and not usage.is_estimate


_PAUSE_S = 1.0
"""Chosen: no model that answers at once has gaps as long, and so its silence costs nothing."""


class Silence:
    """How long a provider has said nothing, since it was asked. Times are the loop's."""

    def __init__(self, now: float) -> None:
        self._begun = now
        self._heard_at = now
        self._silent_s = 0.0

    def hear(self, now: float) -> None:
        """It has said something."""
        gap_s = now - self._heard_at
        if gap_s > _PAUSE_S:
            self._silent_s += gap_s
        self._heard_at = now

    def skip(self, now: float) -> None:
        """Nobody has listened since it was last heard."""
        self._heard_at = now

    def unseen_s(self, now: float, said: "Said") -> float:
        """For how long it may have been thinking, after it has `said` that much."""
        self.hear(now)
        return now - self._begun if said.has_reasoned else self._silent_s


class Said(NamedTuple):
    """What a model has said: text, reasoning, and calls of tools."""

    bytes: int
    has_reasoned: bool
    """For all the time in which it did: what is shown of it may be no more than a summary."""


def said_in(events: Iterable[Event], dialect: Dialect) -> Said:
    """How much of the answer is in `events`."""
    count, has_reasoned = 0, False
    for event in events:
        for delta in dialect.deltas(event.data):
            count += len(delta.text.encode(errors="replace")) + len(delta.name)
            has_reasoned = has_reasoned or delta.kind is Kind.REASONING
    return Said(count, has_reasoned)


def estimated(
    usage: Usage | None, input_tokens: int, said: Said, unseen_s: float, birth: Birth
) -> Usage:
    """What is known of it in `usage`, and the rest as far as it can be guessed.

    As `input_tokens` and what was said show it, and as much reasoning as there can have been in
    `unseen_s` of the answer: together no more than was held for it.
    """
    usage = Usage() if usage is None else usage
    shown = max(usage.output_tokens, tokens_in(said.bytes))
    with_unseen = tokens_in(said.bytes) + int(unseen_s * birth.silent_tokens_per_s)
    output_tokens = max(shown, min(with_unseen, birth.output_tokens_max))
    return msgspec.structs.replace(
        usage,
        input_tokens=usage.input_tokens or input_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=max(usage.reasoning_tokens, output_tokens - shown),
        is_estimate=True,
    )


def left_behind(
    usage: Usage | None, input_tokens: int, said: Said, age_s: float, birth: Birth
) -> Usage:
    """What an answer has used whose worker died, `age_s` after it was asked for.

    Nobody knows for how long its provider was silent: if it may have been thinking, always.
    """
    is_unseen = said.has_reasoned or not said.bytes
    return estimated(usage, input_tokens, said, max(0.0, age_s) if is_unseen else 0.0, birth)


def asked_in(request_bytes: int, birth: Birth) -> int:
    """How many tokens a request of so many bytes is: pictures are long, and few tokens."""
    tokens, at_most = tokens_in(request_bytes), birth.input_tokens_max
    return min(tokens, at_most) if at_most else tokens


def did_nothing(error: MidstreamError) -> bool:
    """Whether a provider that fails so has done no work, if it has not said anything before."""
    match error:
        case ProviderStalled():
            return error.deadline == "connect"
        case ProviderUnreachable():
            return not error.was_asked
        case _:
            return isinstance(error, ProviderRefused | ProviderReported)


# --- who has used what, and what it cost -------------------------------------------------------


class Uses(NamedTuple):
    """What a stream has used in all, and in the pools of its providers."""

    total: Use
    by_pool: Mapping[str, Use] = {}


def accounted(state: State) -> Sequence[Leg]:
    """Its legs, each with what it has used; the last one with what the others leave of the sum."""
    if not state.legs or state.usage is None:
        return state.legs
    *others, last = state.legs
    rest = state.usage
    for leg in others:
        rest = rest if leg.usage is None else _less(rest, leg.usage)
    return [*others, msgspec.structs.replace(last, usage=rest)]


def cost_of(state: State) -> int | None:
    """In micro-dollars, by then; None if that is not known yet, or somebody has no price."""
    if state.usage is None:
        return None if state.ending is None else 0
    total = 0
    for usage, price in _bills(state):
        if price is None:
            return None
        total += cost(usage, price)
    return total


def uses_of(state: State) -> Uses | None:
    """What a stream that is over has used; None if nobody will ever know.

    An end comes with its usage, or with none if no provider did anything. Who was erased before
    it ended, and had lost its producer, has left only what the providers had said so far.
    """
    usage = state.usage
    if state.ending is None and not is_known(usage):
        return None
    if usage is None:
        return Uses(Use())
    total = Use(
        usage.input_tokens + usage.output_tokens,
        sum(_cost(used, price) for used, price in _bills(state)),
    )
    if not state.legs:
        return Uses(total)
    by_pool = {provider_pool(state.birth.provider): Use()}  # it is held for, asked or not
    for leg in accounted(state):
        pool = provider_pool(leg.provider)
        by_pool[pool] = _plus(by_pool.get(pool, Use()), leg)
    return Uses(total, by_pool)


def shares_of(state: State) -> Sequence[Share]:
    """What each provider has used of a stream that is over; nothing where nobody will ever know."""
    if uses_of(state) is None or state.usage is None:
        return ()
    if not state.legs:
        birth = state.birth
        return [Share(birth.provider, state.usage, _cost(state.usage, birth.price))]
    return [
        Share(leg.provider, leg.usage, _cost(leg.usage, leg.price))
        for leg in accounted(state)
        if leg.usage is not None
    ]


def _bills(state: State) -> Sequence[tuple[Usage, Price | None]]:
    if not state.legs:
        return [] if state.usage is None else [(state.usage, state.birth.price)]
    return [(leg.usage, leg.price) for leg in accounted(state) if leg.usage is not None]


def _cost(usage: Usage, price: Price | None) -> int:
    return 0 if price is None else cost(usage, price)


def _plus(use: Use, leg: Leg) -> Use:
    if leg.usage is None:
        return use
    tokens = leg.usage.input_tokens + leg.usage.output_tokens
    return Use(use.tokens + tokens, use.microdollars + _cost(leg.usage, leg.price))


def _less(usage: Usage, part: Usage) -> Usage:
    return Usage(
        input_tokens=max(0, usage.input_tokens - part.input_tokens),
        output_tokens=max(0, usage.output_tokens - part.output_tokens),
        cached_input_tokens=max(0, usage.cached_input_tokens - part.cached_input_tokens),
        reasoning_tokens=max(0, usage.reasoning_tokens - part.reasoning_tokens),
        is_estimate=usage.is_estimate,
        cache_write_tokens=max(0, usage.cache_write_tokens - part.cache_write_tokens),
    )
