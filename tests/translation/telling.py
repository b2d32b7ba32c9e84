"""What a client gets of a provider's answer in another dialect, as its events."""

import random
from collections.abc import Iterable

from proxy.stream import Birth, Event, Frame, StreamId
from proxy.wire.answer import Making
from proxy.wire.dialect import Ask
from proxy.wire.dialects import all_dialects
from proxy.wire.sse import Parser
from proxy.wire.translation import Translation, translation

ALL = all_dialects()
STREAM = StreamId("st_0123456789abcdefghijklmnop")
BIRTH = Birth(
    id=STREAM,
    owner="me",
    dialect="",
    model="mine",
    provider="theirs",
    created_at=1796000000.25,
    retention_s=60,
)


def translator(theirs: str, ours: str) -> Translation:
    """For one answer of a provider of `theirs` to a client of `ours`, who wants usage."""
    ask = Ask(model="mine", is_streamed=True, wants_usage=True, fields={})
    making = Making(STREAM, BIRTH.model, BIRTH.created_at, theirs, wants_usage=True)
    return translation(ALL[ours], ALL[theirs], ask, making)


def numbered(frames: Iterable[Frame]) -> list[Event]:
    """As a journal numbers them."""
    return [Event(number, frame.name, frame.data) for number, frame in enumerate(frames, 1)]


def frames_of(raw: bytes) -> list[Frame]:
    """What a provider said."""
    return Parser(1_000_000).feed(raw)


def told(theirs: str, ours: str, raw: bytes) -> list[Event]:
    """All that is told of a whole answer."""
    one = translator(theirs, ours)
    frames: list[Frame] = []
    for frame in frames_of(raw):
        if not one.is_complete:
            frames += one.hear(frame)
    assert one.is_complete
    return numbered(frames)


def told_in_pieces(theirs: str, ours: str, raw: bytes, chance: random.Random) -> list[Event]:
    """The events that a client of `ours` gets, however the network cuts the bytes."""
    one, parser = translator(theirs, ours), Parser(1_000_000)
    frames: list[Frame] = []
    while raw:
        size = chance.choice((1, 7, 100, 4096))
        for frame in parser.feed(raw[:size]):
            if not one.is_complete:
                frames += one.hear(frame)
        raw = raw[size:]
    assert one.is_complete
    return numbered(frames)
