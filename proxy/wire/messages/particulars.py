"""What the events of a message say of it, beside what the model says.

Looks at a few events at both ends, so that a long answer costs no more than a short one.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled
from proxy.stream import Event, Particulars
from proxy.wire.json_text import read

_FIRST = 4
"""Events that are looked at for `message_start`. Chosen: pings may come before it."""
_LAST = 6
"""Events that are looked at for the stop reason, which is in the last `message_delta`."""


class _Message(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None


class _Delta(msgspec.Struct, gc=False):
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    """Or a message in one piece, which has itself what others say in events."""

    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    message: _Message | None = None
    delta: _Delta | None = None


_decoder = msgspec.json.Decoder(_Event)


def particulars(events: Sequence[Event]) -> Particulars:
    """Of the journal of an answer, whole or not."""
    begins = [_read(event) for event in events[:_FIRST]]
    ends = [_read(event) for event in events[-_LAST:]]
    said = (each.message or (each if each.id else None) for each in begins)
    message = next((each for each in said if each), _Message())
    reasons = [why for each in ends if (why := (each.delta or each).stop_reason)]
    return Particulars(message.id or "", message.model or "", tuple(reasons[-1:]))


def _read(event: Event) -> _Event:
    """What is no event of the dialect says nothing."""
    try:
        return read(_decoder, event.data)
    except ProviderGarbled:
        return _Event()
