"""What of the proxy is traced, and by whom: the seam that spans hang on.

Nothing here knows who makes spans (`spans` does, where they are wanted); everybody else knows
only this. A trace holds no prompt, no answer, no credential, no header's value and no query
string. What surprises: the span of an answer is made when the answer has ended, all at once,
by whoever wrote the ending, so a stream whose worker was killed has one too (D20).
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from proxy.stream import Birth, Ending, Particulars, Usage

TRACE_HEADERS = ("traceparent", "tracestate")
"""W3C Trace Context, level 2."""


class Peer(NamedTuple):
    """Who is behind a provider of the config: its kind, and where requests go; "" for nowhere."""

    kind: str
    address: str = ""
    port: int = 0


class Course(msgspec.Struct, frozen=True):
    """How an answer came, as only its producer knows. Times are those of `Counts.clock`."""

    peer: Peer
    model: str
    """What the provider was asked for."""
    particulars: Particulars
    began_ns: int
    first_read_ns: int
    """When the first events came; 0 if none did."""
    first_content_ns: int
    """When the store had the first content; 0 if it never had."""


class Ended(msgspec.Struct, frozen=True):
    """An answer that has ended."""

    birth: Birth
    provider: str
    """That was asked last."""
    ending: Ending
    code: str
    """Of what went wrong; empty if nothing did."""
    events: int
    lasted_s: float
    usage: Usage | None
    course: Course | None = None
    """None of an answer whose worker is dead."""


class Span(Protocol):
    """One call of a client that makes or follows a stream, while it is served."""

    @property
    def traceparent(self) -> str:
        """What a `Birth` keeps of it."""
        ...

    def passed_on(self, birth: Birth) -> list[tuple[str, str]]:
        """The headers by which a provider's own spans become part of the trace."""
        ...

    def concerns(self, birth: Birth) -> None:
        """This is the stream. If another call has made it, the span is linked to its answer's."""
        ...

    def reads(self, transport: str, after: int) -> None:
        """Its events go out this way, from after this one."""
        ...

    def end(self, status: int | None) -> None:
        """The call has been answered; with None it was left."""
        ...


class Traces(Protocol):
    """What makes spans."""

    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Span:
        """An HTTP request has come. End the span."""
        ...

    def message(self, kind: str, route: str, headers: Mapping[str, str]) -> Span:
        """A message of this kind has come on a WebSocket with this handshake. End the span."""
        ...

    def wants(self, birth: Birth) -> bool:
        """Whether an answer has a span: as the call that made it has one, or has none."""
        ...

    def ended(self, ended: Ended, now_ns: int) -> None:
        """An answer that is wanted has ended; `now_ns` is that of `Counts.clock`."""
        ...
