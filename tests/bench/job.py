"""What the processes of the bench tell each other: plans of answers, jobs, what was heard.

The plan of an answer travels as the name of the model that is asked for, so that it reaches the
mock provider through whatever stands between.
"""

import re
from collections.abc import Sequence

import msgspec

READY = b"ready\n"
"""What the load generator says before it takes a job."""

MARK = b'"@'
"""Where the text of a content event begins: ``"@SEQUENCE:NANOSECONDS:xxx"``."""
SEQUENCE_DIGITS = 7
NANOSECONDS_DIGITS = 18
"""Of CLOCK_MONOTONIC, which is the same in every process of one machine. Good for 31 years."""

_MODEL = re.compile(r"bench-([0-9]{1,7})x([0-9]{1,6}(?:\.[0-9]+)?)x([0-9]{1,6})")


class Plan(msgspec.Struct, frozen=True):
    """An answer to be played."""

    events: int
    """Content events: what the bench calls tokens. What a dialect puts around them is extra."""
    events_per_s: float
    """0 for as fast as they are taken."""
    event_bytes: int
    """Of one content event's data, unless its dialect cannot be that short."""

    @property
    def model(self) -> str:
        """The plan as a model's name."""
        return f"bench-{self.events}x{self.events_per_s:g}x{self.event_bytes}"


def read_model(model: str) -> Plan | None:
    """The plan that a model's name says; None if it says none."""
    found = _MODEL.fullmatch(model)
    return None if found is None else Plan(int(found[1]), float(found[2]), int(found[3]))


class Job(msgspec.Struct, frozen=True):
    """What one run of the load generator does. Moments are nanoseconds of CLOCK_MONOTONIC."""

    url: str
    dialect: str
    wants_usage: bool
    """Whether the client asks for usage, where a dialect leaves that to it."""
    plan: Plan
    streams: int
    start_ns: int
    ramp_s: float
    """The streams are opened evenly over so many seconds, whatever became of the earlier ones."""
    window_ns: tuple[int, int]
    """What is heard from the first to the second moment is measured."""
    give_up_ns: int
    """What has not ended by then never will."""


class Spread(msgspec.Struct, frozen=True):
    """How a measured time is spread, in milliseconds."""

    count: int
    p50: float
    p99: float
    most: float


class Heard(msgspec.Struct, frozen=True):
    """What the load generator heard."""

    whole: int
    """Streams of which every event came, once, in order, with its dialect's end."""
    failures: list[str]
    """Why the others are not whole."""
    tokens: int
    window_tokens: int
    first_token: Spread
    """From the opening of the connection to the first content event. Of all streams."""
    delay: Spread
    """From the mock provider's writing an event to its being read. Within the window."""
    jitter: Spread
    """How much the delays of neighbours in one stream differ. Within the window."""
    seconds: float
    """From the first opening to the last event."""
    cpu_s: float


def spread_of(nanoseconds: Sequence[int]) -> Spread:
    """Nearest-rank percentiles; zeros if there is nothing."""
    ranked = sorted(nanoseconds)
    count = len(ranked)
    if not ranked:
        return Spread(0, 0.0, 0.0, 0.0)

    def milliseconds_at(share: float) -> float:
        return ranked[min(count - 1, int(share * count))] / 1e6

    return Spread(count, milliseconds_at(0.5), milliseconds_at(0.99), milliseconds_at(1.0))
