"""What an answer has used, where its provider has not said (all of) it: a guess, marked as one.

Pure. Owns how bytes of text become tokens: four of them are one, rounded up. That is near to what
tokenizers find in English, and above it for most other languages' text, whose letters are
longer. What surprises: reasoning that a provider keeps to itself is in no journal, so the time that
it may have taken is charged, at the model's pace (D16).
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from proxy.errors import (
    MidstreamError,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderUnreachable,
)
from proxy.policy.quotas import Use, cost
from proxy.stream import Birth, Event, State, Usage
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


def did_nothing(error: MidstreamError) -> bool:
    """Whether a provider that fails so has done no work, if it has not said anything before."""
    match error:
        case ProviderStalled():
            return error.deadline == "connect"
        case ProviderUnreachable():
            return not error.was_asked
        case _:
            return isinstance(error, ProviderRefused | ProviderReported)


def use_of(state: State) -> Use | None:
    """What a stream that is over has used; None if nobody will ever know.

    An end comes with its usage, or with none if the provider did nothing. Who was erased before
    it ended, and had lost its producer, has left only what the provider had said so far.
    """
    usage, price = state.usage, state.birth.price
    if state.ending is None and not is_known(usage):
        return None
    if usage is None:
        return Use()
    money = 0 if price is None else cost(usage, price)
    return Use(usage.input_tokens + usage.output_tokens, money)
