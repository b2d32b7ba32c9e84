"""What a fault is, and what must come of it: the words of the tables beside this file."""

import enum
from collections.abc import Mapping, Sequence

import msgspec

from tests.faults.provider import Script
from tests.faults.words import Words
from tests.upstream.fake_provider import LAST_CHUNK, Finish, Send, Step, chunk, head


class Outcome(enum.Enum):
    """What must come of it, by what is done about it."""

    PASSES = "passes"
    """It is no fault: the answer is whole."""
    AGAIN = "again"
    """The target is asked again, then the next one, and its answer is whole."""
    NEXT = "next"
    """The next one is asked at once."""
    REFUSED = "refused"
    """Nobody else is asked, as it is the request's fault."""
    LATE = "late"
    """Nobody else can be: what was said stands, and the stream has failed."""


class Come(msgspec.Struct, frozen=True):
    """What comes of a fault where no other target is left."""

    outcome: Outcome
    status: int = 200
    """What a streamed POST is answered with."""
    code: str | None = None
    """Of the error; None for one that the provider chooses."""
    has_text: bool = True
    """Whether an answer that passes has its words in deltas."""
    is_counted: bool = True
    """Whether it has the provider's own count."""


class Fault(msgspec.Struct, frozen=True):
    """One way to misbehave."""

    script: Script
    come: Come
    but: Mapping[str, Come] = {}
    """By dialect, where that makes a difference."""
    is_at_the_door: bool = False
    """It comes with the connection, before any request."""
    is_apart: bool = False
    """It breaks connections that others would use again, and so has its own."""
    wait_s: float = 0.0
    """How long the provider asks to be left alone."""

    def comes(self, dialect: str) -> Come:
        """What comes of it."""
        return self.but.get(dialect, self.come)


PASSES = Come(Outcome.PASSES)
CUT = Come(Outcome.AGAIN, 502, "provider_truncated")
GARBLED = Come(Outcome.AGAIN, 502, "provider_garbled")
UNREACHABLE = Come(Outcome.AGAIN, 502, "provider_unreachable")
STALLED = Come(Outcome.NEXT, 504, "provider_stalled")
CUT_LATE = Come(Outcome.LATE, code="provider_truncated")
GARBLED_LATE = Come(Outcome.LATE, code="provider_garbled")
STALLED_LATE = Come(Outcome.LATE, code="provider_stalled")


def plain(*steps: Step) -> Script:
    """The same in every dialect."""
    return lambda _: steps


def stream(*pieces: bytes, then: Sequence[Step] = (Finish(),)) -> list[Step]:
    """A good head, one chunk for each piece, and an end that is not the body's own."""
    return [Send(head() + b"".join(chunk(piece) for piece in pieces)), *then]


def ended(*pieces: bytes) -> list[Step]:
    """The same, with the body's own end."""
    return stream(*pieces, then=(Send(LAST_CHUNK),))


def begun(said: Words) -> bytes:
    """All up to the first content."""
    return b"".join(said.start) + said.content[0]
