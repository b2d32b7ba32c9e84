"""Answers in one piece: a bounded parser of what a provider sends when it is not asked to stream.

Owns the bytes around the one JSON value, never what is in it: that is the dialect's. They pass as
they came, but for line ends between tokens, which become spaces, because the data of an event is
one line. What surprises: there is no frame before the last byte is here.
"""

from collections.abc import Callable, Sequence

from proxy.errors import ProviderGarbled, ProviderTruncated
from proxy.stream import Event, Frame, Usage
from proxy.wire.dialect import Translator

_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


class Whole:
    """Bytes in, one frame out. For one answer, in the place of `sse.Parser`.

    `answer_bytes_max` bounds it.
    """

    def __init__(self, answer_bytes_max: int) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._held = bytearray()
        self.failure: ProviderGarbled | None = None
        """As of `sse.Parser`; a piece owes none."""

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Nothing, until the end. Raises `ProviderGarbled`."""
        self._held += chunk
        if len(self._held) > self._answer_bytes_max:
            raise ProviderGarbled(f"an answer of more than {self._answer_bytes_max} bytes")
        return ()

    def finish(self) -> Sequence[Frame]:
        """The answer as the data of one event; nothing of an empty body."""
        data = bytes(self._held.strip())
        self._held.clear()
        if b"\n" in data or b"\r" in data:
            data = data.translate(_ONE_LINE)
        return (Frame("", data),) if data else ()


def only(events: Sequence[Event]) -> bytes:
    """The data of the one event that there is, which may be an answer in one piece; else empty."""
    return events[0].data if len(events) == 1 else b""


class WholeTranslator:
    """A `Translator` of one answer in one piece. The identity.

    `as_events` says it in the words of a stream, as far as they tell of an error, of usage and of
    the end; `heard` listens to those.
    """

    def __init__(self, heard: Translator, as_events: Callable[[bytes], Sequence[Frame]]) -> None:
        self.has_content = False
        self.is_complete = False
        self.usage: Usage | None = None
        self._heard = heard
        self._as_events = as_events

    def hear(self, frame: Frame) -> Sequence[Frame]:
        """See `Translator`."""
        assert not self.is_complete, "there is one frame"
        try:
            for event in self._as_events(frame.data):
                self._heard.hear(event)
        finally:
            self.usage = self._heard.usage
        self.has_content = self.is_complete = True
        return (frame,)

    def end_of_body(self) -> Sequence[Frame]:
        """See `Translator`: an empty body is no answer."""
        raise ProviderTruncated
