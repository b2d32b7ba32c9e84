"""Random bytes, by a fixed seed: the parser gives frames or refuses, and nothing else."""

import random
import time

import pytest

from proxy.errors import MidstreamError, ProviderGarbled, ProviderTruncated
from proxy.stream import Ending, Event, Frame
from proxy.wire.dialect import SoFar
from proxy.wire.dialects import all_dialects
from proxy.wire.sse import Parser, encode
from tests.wire import recorded

SEEDS = 150
SECONDS = 4.0
"""Of processor time, for all seeds of one test: a machine that is slow does fewer."""
EVENT_BYTES_MAX = 512
TOKENS = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"data: ",
    b"event: ",
    b":",
    b"\xef\xbb\xbf",
    b"{}",
    b"\x00",
]


def garbage(chance: random.Random) -> bytes:
    pieces = []
    for _ in range(chance.randrange(200)):
        if chance.random() < 0.5:
            pieces.append(chance.choice(TOKENS))
        else:
            pieces.append(chance.randbytes(chance.randrange(12)))
    return b"".join(pieces)


def damage(raw: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(raw)
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(damaged))
        deed = chance.randrange(4)
        if deed == 0:
            damaged[at] = chance.randrange(256)
        elif deed == 1:
            del damaged[at : at + chance.randrange(1, 30)]
        elif deed == 2:
            damaged[at:at] = chance.choice(TOKENS)
        else:
            damaged[at:at] = damaged[at : at + 40]
        damaged = damaged or bytearray(b"x")
    return bytes(damaged)


def feed(raw: bytes, chance: random.Random, event_bytes_max: int) -> list[Frame]:
    parser = Parser(event_bytes_max)
    frames: list[Frame] = []
    at = 0
    try:
        while at < len(raw):
            size = chance.randrange(1, 60)
            frames += parser.feed(raw[at : at + size])
            at += size
        parser.finish()
    except ProviderGarbled:
        pass
    return frames


def test_garbage_becomes_frames_that_can_be_relayed_or_is_refused() -> None:
    begun = time.process_time()
    made = 0
    for seed in range(20 * SEEDS):
        chance = random.Random(seed)
        for frame in feed(garbage(chance), chance, EVENT_BYTES_MAX):
            made += 1
            assert len(frame.data) <= EVENT_BYTES_MAX
            assert Parser(2000).feed(encode(Event(1, frame.name, frame.data))) == [frame]
        if time.process_time() - begun > SECONDS:
            break
    assert made > 0


@pytest.mark.parametrize("kind", ["chat", "responses", "messages"])
def test_a_damaged_recording_is_relayed_or_refused_and_folds_either_way(kind: str) -> None:
    (dialect,) = (each for name, each in all_dialects().items() if name.endswith(kind))
    names = [name for name in recorded.ALL if f".{kind}." in name and "long" not in name]
    ask = dialect.read_ask(b'{"model":"m","messages":[],"max_tokens":1,"stream":true}')
    begun = time.process_time()
    refused = 0
    for seed in range(SEEDS):
        chance = random.Random(seed)
        raw = damage(recorded.raw(chance.choice(names)), chance)
        listener = dialect.translator(ask)
        problem = ProviderTruncated().problem()
        heard: list[Frame] = []
        try:
            for frame in feed(raw, chance, 1_000_000):
                heard += listener.hear(frame)
                if listener.is_complete:
                    break
        except MidstreamError as error:
            refused += 1
            problem = error.problem()
        events = recorded.numbered(heard)
        assert dialect.fold(events).startswith(b"{")
        so_far = SoFar(recorded.BIRTH, len(events), events)
        for frame in dialect.last_frames(Ending.FAILED, problem, so_far):
            assert frame == Parser(1_000_000).feed(encode(Event(1, frame.name, frame.data)))[0]
        if time.process_time() - begun > SECONDS:
            break
    assert refused > 0
