"""The recordings, as bytes, frames and events."""

from pathlib import Path

from proxy.stream import Event, Frame
from proxy.wire.sse import Parser

FOLDER = Path(__file__).parent.parent / "recordings"
CHAT = sorted(path.name for path in FOLDER.glob("*.chat.sse"))
MESSAGES = sorted(path.name for path in FOLDER.glob("*.messages.sse"))
ALL = CHAT + MESSAGES


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
