"""An answer, whatever the dialect: the steps in which it is said.

What one dialect hears of a provider, as steps, another tells its client. Owns the vocabulary and
its grammar, which every `Hearing` keeps and every `Telling` may rely on:

* `Began` once, first. Then parts; `Counted` at any place between; `Stopped` once, last.
* A part is `Opened`, then `Said` and `Cited` any number of times, `Sealed` at most once, then
  `Closed`. Parts are numbered from 0 as they open. Only calls of tools overlap (chat's parallel
  ones): a part of any other kind is closed before the next one opens.

What surprises: a tool's arguments are said as pieces of JSON text, which together may be no JSON,
or nothing at all, which is a call without arguments.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from proxy.stream import Frame, StreamId, Usage


class PartKind(enum.StrEnum):
    """What a part is. A string, because its hash is taken for each token."""

    TEXT = "text"
    REFUSAL = "refusal"
    REASONING = "reasoning"
    TOOL = "tool"
    """A call of one of the client's tools."""


class Stop(enum.Enum):
    """Why a model stopped."""

    END = "end"
    LENGTH = "length"
    SEQUENCE = "sequence"
    """A stop sequence of the client's."""
    TOOL = "tool"
    """It waits for the results of tools."""
    REFUSAL = "refusal"
    """It, or a filter, will not say more."""
    PAUSE = "pause"
    """The provider wants to be asked to go on."""


class Began(msgspec.Struct, frozen=True, gc=False):
    """The answer begins. `model` is what the provider calls itself; "" if it does not say."""

    model: str = ""


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A part begins. `call_id` and `name` are those of a call of a tool."""

    part: int
    kind: PartKind
    call_id: str = ""
    name: str = ""


class Said(msgspec.Struct, frozen=True, gc=False):
    """More of a part: its words, or a piece of its arguments. May hold half a surrogate pair."""

    part: int
    text: str


class Cited(msgspec.Struct, frozen=True, gc=False):
    """What the text of a part rests on. Places are characters of the part's text."""

    part: int
    url: str
    title: str = ""
    quoted: str = ""
    start: int | None = None
    end: int | None = None


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """What proves reasoning to its maker, byte for byte: a signature, or the encrypted whole."""

    part: int
    seal: str
    is_redacted: bool = False
    """It stands for reasoning that nobody but the maker may read."""


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A part is whole."""

    part: int


class Counted(msgspec.Struct, frozen=True, gc=False):
    """All that is counted so far: it replaces what was counted before.

    No `Hearing` says it: it is what the provider's own translator counts.
    """

    usage: Usage


class Stopped(msgspec.Struct, frozen=True, gc=False):
    """The model has stopped. `sequence` is the stop sequence that it said, where it is told."""

    reason: Stop
    sequence: str | None = None


Step: TypeAlias = Began | Opened | Said | Cited | Sealed | Closed | Counted | Stopped


class Hearing(Protocol):
    """Hears one answer of a provider, frame by frame, but not its terminator and its errors."""

    def hear(self, frame: Frame) -> Sequence[Step]:
        """The steps in it. Raises `ProviderGarbled`, `ProviderUntranslatable`."""
        ...

    def finish(self) -> Sequence[Step]:
        """The provider's terminator was heard: the steps that it alone makes certain."""
        ...


class Making(NamedTuple):
    """What an answer needs to be told that no provider says."""

    stream: StreamId
    model: str
    """As the client asked for it."""
    created_at: float
    """Unix seconds."""
    maker: str
    """The dialect of the provider, to which its seals go back: see `seals`."""
    wants_usage: bool
    fields: Mapping[str, msgspec.Raw] = {}
    """The client's own request: the Responses dialect says it again in each answer."""


class Telling(Protocol):
    """Tells one answer to a client, step by step."""

    def tell(self, step: Step) -> Sequence[Frame]:
        """The frames that it makes, perhaps none yet."""
        ...

    def finish(self) -> Sequence[Frame]:
        """What is left to be said of an answer that is whole, the terminator last."""
        ...
