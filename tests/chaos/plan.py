"""What a run is going to do, drawn from its seed before anything runs. Pure.

Owns the answers that the provider gives, the way of every reader and the hours of the kills. The
same seed draws the same plan; how the processes interleave is the machine's, and is not planned.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

Transport = Literal["sse", "poll", "ws"]

_WORDS = (
    "the", "answer", "comes", "in", "pieces", "and", "each", "of", "them", "counts",
    "Straße", "naïve", "журнал", "поток", "日誌", "事件", "🙂", "👩‍🚀", 'a "quoted" word', "back\\slash",
)  # fmt: skip
_EVENTS_MAX = 60
_BIG = 0.004
_BIG_BYTES = 30_000
"""A few events are half a page of the journal, so that pages end in their middle."""
_OPENING = '{"role":"assistant","content":""}'
_ERROR = b'{"error":'
"""What an ending that is not complete begins with. No chunk does."""


class Step(NamedTuple):
    """Bytes that the provider writes at once, after a pause; `events` are whole with them."""

    pause_s: float
    data: bytes
    events: int


class Answer(msgspec.Struct, frozen=True):
    """What the provider says to one ask."""

    said: tuple[str, ...]
    """The data of its events, in order, terminator included."""
    steps: tuple[Step, ...]


class Leg(NamedTuple):
    """One connection of a reader: it is cut after `take` events or `cut_s` seconds."""

    transport: Transport
    worker: int
    take: int
    cut_s: float
    pause_s: float
    """Between this connection and the next one, and between two polls."""


class Wish(NamedTuple):
    """How a client asks for one answer."""

    is_streamed: bool
    """It reads the answer from its own POST, as long as that lasts."""
    asks_again_s: float | None
    """When it asks once more with the same idempotency key, after it has got its stream."""
    readers: int


class Blow(NamedTuple):
    """One SIGKILL: of a worker, or of the store, which then stays away for `down_s`."""

    at_s: float
    worker: int | None
    down_s: float = 0.0


def plan_answer(seed: int, key: str, turn: int, *, longest_s: float) -> Answer:
    """The answer to ask number `turn` (from 1) with idempotency key `key`."""
    rng = random.Random(f"{seed} answer {key} {turn}")
    said = [_chunk(key, turn, _OPENING)]
    said += [
        _chunk(key, turn, f'{{"content":{_text(rng, number)}}}')
        for number in range(rng.choice((1, 12, 30, _EVENTS_MAX)))
    ]
    said.append(_chunk(key, turn, "{}", finish='"stop"'))
    said.append(
        f'{{"id":"{answer_id(key, turn)}","object":"chat.completion.chunk","created":1700000000,'
        '"model":"chaos","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":'
        f'{len(said)},"total_tokens":{len(said) + 3}}}}}'
    )
    said.append("[DONE]")
    return Answer(tuple(said), tuple(_paced(rng, said, lasts_s=rng.uniform(0.1, 1.0) * longest_s)))


def answer_id(key: str, turn: int) -> str:
    """What every chunk of an answer calls itself: by it an event is known to be of that ask."""
    return f"chatcmpl-{key}-{turn}"


def is_error(data: bytes) -> bool:
    """Whether this event says that the answer is not complete."""
    return data.startswith(_ERROR)


def has_content(events: Sequence[bytes]) -> bool:
    """Whether the model has said anything in these events."""
    opening = f'"delta":{_OPENING}'.encode()
    return any(opening not in data and not is_error(data) for data in events)


def _chunk(key: str, turn: int, delta: str, *, finish: str = "null") -> str:
    return (
        f'{{"id":"{answer_id(key, turn)}","object":"chat.completion.chunk","created":1700000000,'
        f'"model":"chaos","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}'
    )


def _text(rng: random.Random, number: int) -> str:
    words = " ".join(rng.choices(_WORDS, k=rng.randint(1, 4)))
    if rng.random() < _BIG:
        words += "x" * _BIG_BYTES
    return msgspec.json.encode(f"{number} {words} ").decode()


def _paced(rng: random.Random, said: list[str], *, lasts_s: float) -> Iterator[Step]:
    """Bursts, pauses, and events that come in two pieces, cut anywhere, even within a letter."""
    pause_s = lasts_s / len(said)
    waited_s = rng.random() * 0.2
    left = [f"data: {data}\n\n".encode() for data in said]
    while left:
        count = rng.choice((1, 1, 1, 2, 5))
        burst, left = left[:count], left[count:]
        data = b"".join(burst)
        if rng.random() < 0.3:
            cut = rng.randrange(len(data))
            yield Step(waited_s, data[:cut], data[:cut].count(b"\n\n"))
            waited_s, done = rng.choice((0.001, 0.02, 0.1)), data[:cut].count(b"\n\n")
            yield Step(waited_s, data[cut:], len(burst) - done)
        else:
            yield Step(waited_s, data, len(burst))
        waited_s = pause_s * len(burst) * rng.choice((0.2, 0.8, 1.0, 2.0))


def plan_wish(seed: int, key: str) -> Wish:
    """How the client asks whose idempotency key is `key`."""
    rng = random.Random(f"{seed} wish {key}")
    return Wish(
        is_streamed=rng.random() < 0.5,
        asks_again_s=rng.uniform(0.0, 5.0) if rng.random() < 0.3 else None,
        readers=rng.choice((2, 2, 3)),
    )


def plan_legs(
    seed: int, stream: str, reader: int, workers: int, transports: tuple[Transport, ...]
) -> Iterator[Leg]:
    """The way of one reader, without an end."""
    rng = random.Random(f"{seed} reader {stream} {reader}")
    while True:
        yield Leg(
            transport=rng.choice(transports),
            worker=rng.randrange(workers),
            take=rng.choice((1, 10, 25, 1000)),
            cut_s=rng.choice((0.5, 4.0, 8.0, 1000.0)),
            pause_s=rng.choice((0.1, 0.5, 1.0, 2.0)),
        )


def steady_legs(first: int, workers: int, transport: Transport) -> Iterator[Leg]:
    """The way of a reader that never cuts its line; each time it goes to the next worker."""
    for number in itertools.count(first):
        yield Leg(transport, number % workers, take=1 << 60, cut_s=1000.0, pause_s=0.05)


def plan_blows(
    seed: int, *, workers: int, worker_kills: int, store_kills: int, seconds: float
) -> list[Blow]:
    """All kills, in their order. Workers die at random; the store in turns, never while away."""
    rng = random.Random(f"{seed} blows")
    blows = [
        Blow(rng.uniform(0, seconds), worker=rng.randrange(workers)) for _ in range(worker_kills)
    ]
    turn_s = seconds / max(store_kills, 1)
    blows += [
        Blow(turn_s * (number + rng.uniform(0, 0.3)), worker=None, down_s=rng.uniform(0.1, 1.7))
        for number in range(store_kills)
    ]
    return sorted(blows)
