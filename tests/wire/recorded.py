"""The recordings, as bytes, frames and events."""

from collections.abc import Sequence
from pathlib import Path

from proxy.stream import Birth, Ending, Event, Frame, Problem, StreamId
from proxy.wire.dialect import Dialect, SoFar
from proxy.wire.sse import Parser

FOLDER = Path(__file__).parent.parent / "recordings"
CHAT = sorted(path.name for path in FOLDER.glob("*.chat.sse"))
MESSAGES = sorted(path.name for path in FOLDER.glob("*.messages.sse"))
RESPONSES = sorted(path.name for path in FOLDER.glob("*.responses.sse"))
ALL = CHAT + MESSAGES + RESPONSES
FAILING = sorted(f"failing/{path.name}" for path in FOLDER.glob("failing/*.responses.sse"))
"""They do not complete."""


def raw(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def frames(name: str) -> list[Frame]:
    return Parser(1_000_000).feed(raw(name))


def numbered(some: list[Frame]) -> list[Event]:
    return [Event(place, frame.name, frame.data) for place, frame in enumerate(some, 1)]


def events(name: str) -> list[Event]:
    return numbered(frames(name))


def data_events(*data: bytes) -> list[Event]:
    return [Event(place, "", one) for place, one in enumerate(data, 1)]


BIRTH = Birth(
    id=StreamId("st_" + "0" * 26),
    owner="o",
    dialect="d",
    model="m",
    provider="p",
    created_at=1.0,
    retention_s=60,
)


def last_frame(
    dialect: Dialect, ending: Ending, problem: Problem, before: Sequence[Event] = ()
) -> Frame:
    """The one frame with which a stream ends that is not completed."""
    so_far = SoFar(BIRTH, before[-1].id if before else 0, before)
    (frame,) = dialect.last_frames(ending, problem, so_far)
    return frame
