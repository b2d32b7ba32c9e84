"""What an answer has used, where its provider has not said (all of) it: a guess, marked as one.

Pure. Owns how bytes of text become tokens: four of them are one, rounded up. That is near to what
tokenizers find in English, and above it for most other languages' text, whose letters are
longer. What surprises: reasoning that a provider keeps to itself is in no journal, and so in no
guess (D16).
"""

from collections.abc import Iterable

import msgspec

from proxy.errors import (
    MidstreamError,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderUnreachable,
)
from proxy.policy.quotas import Use, cost
from proxy.stream import Event, State, Usage
from proxy.wire.dialect import Dialect

_TOKEN_BYTES = 4
"""Chosen: as above. A vocabulary would be another one for each provider, and tens of megabytes."""


def tokens_in(text_bytes: int) -> int:
    """How many tokens so much UTF-8 is, about."""
    return -(-text_bytes // _TOKEN_BYTES)


def is_known(usage: Usage | None) -> bool:
    """Whether there is nothing to guess."""
    return usage is not None and not usage.is_estimate


def did_nothing(error: MidstreamError) -> bool:
    """Whether a provider that fails so has done no work, if it has not said anything before."""
    if isinstance(error, ProviderStalled):
        return error.deadline == "connect"
    return isinstance(error, ProviderRefused | ProviderReported | ProviderUnreachable)


def said_bytes(events: Iterable[Event], dialect: Dialect) -> int:
    """How much the model has said in `events`: text, reasoning, and calls of tools."""
    return sum(
        len(delta.text.encode(errors="replace")) + len(delta.name)
        for event in events
        for delta in dialect.deltas(event.data)
    )


def estimated(usage: Usage | None, input_tokens: int, output_bytes: int) -> Usage:
    """What is known of it in `usage`, and the rest as `input_tokens` and what was said show it."""
    if usage is None:
        usage = Usage(input_tokens=input_tokens)
    output_tokens = max(usage.output_tokens, tokens_in(output_bytes))
    return msgspec.structs.replace(usage, output_tokens=output_tokens, is_estimate=True)


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
