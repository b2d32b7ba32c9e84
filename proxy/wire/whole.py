"""Answers in one piece: a bounded parser of what a provider sends when it is not asked to stream.

Owns the bytes around the one JSON value, never what is in it: that is the dialect's. They pass as
they came, but for line ends between tokens, which become spaces, because the data of an event is
one line. What surprises: there is no frame before the last byte is here.
"""

from collections.abc import Sequence

from proxy.errors import ProviderGarbled
from proxy.stream import Event, Frame

_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


class Whole:
    """Bytes in, one frame out. For one answer, in the place of `sse.Parser`.

    `answer_bytes_max` bounds it.
    """

    def __init__(self, answer_bytes_max: int) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._held = bytearray()

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
