"""The nouns of a stream: its id, its events, how it ended, what is known of it.

Pure data. Nothing here knows where a stream is kept or how it is sent.
"""

import enum
import re
from collections.abc import Sequence
from typing import NamedTuple, NewType

import msgspec

StreamId = NewType("StreamId", str)
"""``st_`` and 26 characters of ``[0-9a-z]``: more than 128 random bits (see `new_stream_id`)."""

STREAM_ID_PATTERN = re.compile(r"st_[0-9a-z]{26}")
_PASSAGE = "pass_"
_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_CHARS = 26  # 36**26 > 2**134: cannot be guessed

EVENT_ID_MAX = 2**53 - 1
"""The largest event id: what a JavaScript client can count to."""

DONE = b"[DONE]"
"""The one event data that is not JSON: OpenAI's terminator."""


def new_stream_id(random_bytes: bytes) -> StreamId:
    """A stream id from at least 17 random bytes, which the caller draws."""
    assert len(random_bytes) >= 17, "a stream id takes 134 bits"
    number = int.from_bytes(random_bytes, "big")
    chars = []
    for _ in range(_ID_CHARS):
        number, rest = divmod(number, 36)
        chars.append(_ID_ALPHABET[rest])
    return StreamId("st_" + "".join(chars))


def passage_id(random_bytes: bytes) -> StreamId:
    """What stands in the ledger for a passage: no stream has such an id, so nobody can read it."""
    return StreamId(_PASSAGE + new_stream_id(random_bytes))


def is_passage(stream: StreamId) -> bool:
    """Whether it was made by `passage_id`."""
    return stream.startswith(_PASSAGE)


class Frame(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An SSE event name (may be empty) and data, with no place in a journal yet."""

    name: str
    data: bytes


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One entry of a journal. `data` is one line: JSON, or ``[DONE]``."""

    id: int
    name: str
    data: bytes


class Ending(enum.StrEnum):
    """How a stream ended, exactly once."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The facts of one failure; a dialect makes an HTTP body or a stream's last event of it.

    `status` is the HTTP status it has where one can still be sent, and says its class to a
    dialect; `code` is the exact reason. `body` is the provider's own error, in the stream's
    dialect, to be passed on unchanged.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    is_retryable: bool = False
    body: bytes | None = None
    limited: str | None = None
    """Of what there is no more, where a quota says no: requests, tokens, streams or usd."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens as the provider counted them. `input_tokens` includes cached ones, old and new."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    is_estimate: bool = False
    """Whether some of it is not, or not yet, the provider's own count."""
    cache_write_tokens: int = 0
    """Of the input that was put into a cache, and costs more for that."""


class Particulars(NamedTuple):
    """What a provider calls an answer, and why it says that it stopped. Empty where it did not."""

    id: str = ""
    model: str = ""
    finish_reasons: tuple[str, ...] = ()


class Price(msgspec.Struct, frozen=True, array_like=True):
    """Of a target, in micro-dollars for a million tokens."""

    input: int
    cached_input: int
    output: int
    reasoning: int
    cache_write: int | None = None
    """None if it costs what input does."""


class Leg(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one target did for an answer: from when it was asked until it was given up, or ended.

    A stream has one for each target that was asked, in that order.
    """

    provider: str
    model: str
    """By the provider's own name."""
    dialect: str
    """In which it was asked."""
    began_at: float
    """Unix seconds."""
    after: int = 0
    """The event after which its part begins: where it is not the first to say something, a seam."""
    tries: int = 1
    """How often it was asked."""
    waited_s: float = 0.0
    """Between its tries, and for what it had to wait before the first."""
    resumes: int = 0
    """How often the rest was had from it after the line to it was cut."""
    is_taken_over: bool = False
    """Whether a worker asked that took the stream over from a dead one."""
    failure: str = ""
    """The code for which it was given up; "" of the one that runs, or that ended the answer."""
    usage: Usage | None = None
    """Of its part alone, once it is over; None if it did nothing."""
    price: Price | None = None
    name: str = ""
    """By which its provider knows the answer, where it keeps it; "" where it does not."""


class Detach(msgspec.Struct, frozen=True):
    """What happens when the last reader leaves before the end.

    `grace_s` is None to run on to the end (``finish``), 0 to stop the provider at once
    (``cancel``), or the seconds to wait for a reader to come back.
    """

    grace_s: float | None = None


class Birth(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a stream when it is created, and never changes."""

    id: StreamId
    owner: str
    dialect: str
    model: str
    provider: str
    created_at: float
    """Unix seconds."""
    retention_s: float
    """How long it can be resumed after its end; 0 erases it at the end."""
    detach: Detach = Detach()
    tag: str | None = None
    idempotency_key: str | None = None
    """The claim it holds in the ledger, to be given back if it ends before its first content."""
    price: Price | None = None
    """Of the target that answers; what it costs is reckoned by it, whoever does that."""
    input_tokens_max: int = 0
    """How many tokens its request can be at most."""
    output_tokens_max: int = 0
    """And all that is answered; 0 where nobody had to know."""
    silent_tokens_per_s: int = 0
    """How fast the model may be thinking while it says nothing."""
    trace: str | None = None
    """The span of the call that made it, as a W3C ``traceparent``; None where nothing is traced."""


class State(msgspec.Struct, frozen=True):
    """What is known of a stream now."""

    birth: Birth
    epoch: int
    last_id: int
    ending: Ending | None = None
    problem: Problem | None = None
    usage: Usage | None = None
    has_content: bool = False
    """Whether the model has said anything yet: from then on a failure is part of the answer."""
    ended_at: float | None = None
    expires_at: float | None = None
    """Unix seconds after which it answers 410; None while it runs."""
    is_cancel_asked: bool = False
    was_watched: bool = False
    """Whether anybody has read or watched its journal in the store while it ran, which readers in
    its producer's process do not."""
    is_erased: bool = False
    """Its events are gone: it was deleted, or its retention has passed."""
    legs: Sequence[Leg] = ()
    """Which targets were asked, the newest last. Its usage is what the others' leaves of all."""

    @property
    def provider(self) -> str:
        """Who makes the answer now, or has made the end of it."""
        return self.legs[-1].provider if self.legs else self.birth.provider

    @property
    def has_failed_early(self) -> bool:
        """It ended before its first content, and not well: the same request is a new try."""
        return self.ending not in {None, Ending.COMPLETED} and not self.has_content
