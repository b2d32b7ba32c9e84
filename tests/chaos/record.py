"""What was seen: by the provider, by every reader, and of the processes. Data, and nothing else.

All times are of the machine's monotonic clock, which its processes share.
"""

import enum
from typing import NamedTuple

import msgspec


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """The provider was asked."""

    key: str
    turn: int
    """Which ask with this key it is, from 1."""
    life: str
    """The life of the worker that asked."""
    at: float


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """What the provider has written to one ask: the truth."""

    key: str
    turn: int
    said: tuple[str, ...]
    is_whole: bool


class Life(msgspec.Struct):
    """One process of a worker, from its start to its end."""

    name: str
    began_at: float
    serving_at: float | None = None
    """When it first answered."""
    killed_at: float | None = None
    ended_at: float | None = None


class Outage(NamedTuple):
    """When something was not there: the store, or the machine's time for the run itself."""

    begin: float
    end: float


class Fault(enum.StrEnum):
    """What must never be. The value is how the report calls it."""

    LOST = "lost"
    DOUBLED = "doubled"
    CHANGED = "changed"
    ENDLESS = "without an end"
    LATE = "ended late"
    ASKED_TWICE = "asked twice"
    WRONG_ENDING = "wrong ending"
    REFUSED = "refused"
    SILENT = "silent connection"
    UNSETTLED = "left in the store"
    BROKEN = "broken process"


class Anomaly(NamedTuple):
    """One thing that must never be, with what is needed to look for its cause."""

    fault: Fault
    stream: str
    what: str


class History:
    """Everything that one reader of one stream has read, over all its connections."""

    def __init__(self, stream: str, reader: str, known: list[bytes], now: float) -> None:
        self.stream = stream
        self.reader = reader
        self.data: list[bytes] = []
        """Of the events, from event 1 on."""
        self.began_at = now
        self.read_at = now
        """When the newest event came."""
        self.is_over = False
        """It was told that there is, and will be, nothing more."""
        self.ending: str | None = None
        """How the stream ended, where the transport tells."""
        self.heartbeats: list[tuple[float, str]] = []
        """When each came, and on which leg."""
        self.posted: int | None = None
        """The newest event that the answer to its own POST has brought, if it has one."""
        self.legs: list[str] = []
        self.listening: list[tuple[float, float]] = []
        """When it had a request under way; the rest is its own pauses."""
        self.anomalies: list[Anomaly] = []
        self._known = known
        """What any reader of this stream has read: an event is kept once for all who agree."""

    @property
    def last_id(self) -> int:
        """The id of the newest event."""
        return len(self.data)

    def hear(self, place: int, name: str, data: bytes, now: float) -> None:
        """One event has come."""
        if self.is_over:
            self.note(Fault.WRONG_ENDING, f"event {place} after the end")
        if name:
            self.note(Fault.CHANGED, f"event {place} has the name {name!r}")
        if place <= self.last_id:
            self.note(Fault.DOUBLED, f"event {place} after event {self.last_id}")
            return
        if place > self.last_id + 1:
            self.note(Fault.LOST, f"event {place} after event {self.last_id}")
            return
        if place > len(self._known):
            self._known.append(data)
        kept = self._known[place - 1]
        self.data.append(kept if kept == data else data)
        self.read_at = now

    def end(self, ending: str | None, last_id: int | None = None) -> None:
        """The transport says that this was all."""
        if last_id is not None and last_id != self.last_id:
            self.note(Fault.LOST, f"the end is at {last_id}, but was told after {self.last_id}")
        self.is_over = True
        self.ending = ending

    def note(self, fault: Fault, what: str) -> None:
        """Something that must not be."""
        way = " ".join(self.legs[-6:])
        self.anomalies.append(Anomaly(fault, self.stream, f"{self.reader}: {what} ({way})"))


class Watched(msgspec.Struct):
    """One stream and all who read it."""

    id: str
    key: str
    began_at: float
    """When the client began to ask for it."""
    known: list[bytes] = msgspec.field(default_factory=list)
    histories: list[History] = msgspec.field(default_factory=list)
    state: tuple[str | None, int] | None = None
    """Ending and last event id, as `GET /v1/streams/{id}` says after the end."""
