"""What a producer that takes a stream over has of the dead one. Pure data.

What surprises: the place up to which a provider that keeps the answer was heard is not part of it.
The heir listens from the beginning, because only so it knows all that its translator has to know;
what the journal has already is compared, and not written again.
"""

from collections.abc import Sequence

import msgspec

from proxy.stream import Event, Leg, Usage


class Heritage(msgspec.Struct, frozen=True):
    """Of one stream."""

    events: Sequence[Event] = ()
    """All that the journal has, from the first on."""
    legs: Sequence[Leg] = ()
    name: str = ""
    """By which a provider that keeps the answer knows it; "" to ask anew, or for the rest."""
    takes_up: bool = False
    """Whether somebody is to be asked for the rest, from the text so far."""
    lost: Usage | None = None
    """What the target has used that the dead worker listened to, where nobody will listen again."""
    usage: Usage | None = None
    has_content: bool = False
    age_s: float = 0.0
    """For how long it has been in the making."""


NOTHING = Heritage()
"""Of a stream that is not taken over."""
