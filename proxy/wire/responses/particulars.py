"""What the events of a response say of it, beside what the model says.

Looks at the first events and at the last, which hold the response itself. It has no word for why a
model stopped but its status, and where it is incomplete the reason for that.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled
from proxy.stream import Event, Particulars
from proxy.wire.json_text import read

_FIRST = 2
"""Events that are looked at for the response that is created, or queued."""
_LAST = 2
"""Events that are looked at for the terminator. A ``[DONE]`` may follow it."""
_RUNNING = frozenset({"", "queued", "in_progress"})


class _Details(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    incomplete_details: _Details | None = None


class _Event(_Response, gc=False):
    """Or a response in one piece."""

    object: str = ""
    response: _Response | None = None


_decoder = msgspec.json.Decoder(_Event)


def particulars(events: Sequence[Event]) -> Particulars:
    """Of the journal of an answer, whole or not."""
    begins = [_read(event) for event in events[:_FIRST]]
    first = next((each for each in begins if each), _Response())
    ends = [why for event in events[-_LAST:] if (why := _why(_read(event)))]
    return Particulars(first.id or "", first.model or "", tuple(ends[-1:]))


def _why(response: _Response | None) -> str:
    if response is None or (response.status or "") in _RUNNING:
        return ""
    details = response.incomplete_details
    return (details.reason if details else None) or response.status or ""


def _read(event: Event) -> _Response | None:
    """What is no event of the dialect says nothing."""
    try:
        said = read(_decoder, event.data)
    except ProviderGarbled:
        return None
    return said if said.object == "response" else said.response
