"""What the chunks of a `chat.completion` say of it, beside what the model says.

Looks at a few chunks at both ends, so that a long answer costs no more than a short one.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled
from proxy.stream import DONE, Event, Particulars
from proxy.wire.json_text import read

_FIRST = 4
"""Chunks that are looked at for id and model. Azure's first one, about filters, has neither."""
_LAST = 12
"""Chunks that are looked at for reasons: each choice has its own, and usage comes after them."""


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None


_decoder = msgspec.json.Decoder(_Chunk)


def particulars(events: Sequence[Event]) -> Particulars:
    """Of the journal of an answer, whole or not."""
    begins = [_read(event) for event in events[:_FIRST]]
    reasons: dict[int, str] = {}
    for chunk in map(_read, events[-_LAST:]):
        for choice in chunk.choices or ():
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    return Particulars(
        id=next((chunk.id for chunk in begins if chunk.id), ""),
        model=next((chunk.model for chunk in begins if chunk.model), ""),
        finish_reasons=tuple(reasons[index] for index in sorted(reasons)),
    )


def _read(event: Event) -> _Chunk:
    """What is no chunk says nothing."""
    try:
        return _Chunk() if event.data == DONE else read(_decoder, event.data)
    except ProviderGarbled:
        return _Chunk()
