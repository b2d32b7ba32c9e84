"""Server-sent events with their ids, as a client of Midstream reads them.

`proxy.wire.sse` parses what providers send, where an id means nothing. Here it is the place in
the journal, and an event without one is a heartbeat and passed over.
"""

from collections.abc import Iterator

from proxy.errors import PromiseBroken
from proxy.stream import Event


class EventSource:
    """Bytes in, events out. One for each connection. Holds at most one event."""

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._held = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that `chunk` finishes. Raises `PromiseBroken`."""
        *blocks, self._held = (self._held + chunk).split(b"\n\n")
        if len(self._held) > self._event_bytes_max:
            raise PromiseBroken(f"an event of more than {self._event_bytes_max} bytes")
        for block in blocks:
            event = _read(block)
            if event is not None:
                yield event


def _read(block: bytes) -> Event | None:
    """Of a field that comes twice the last counts; Midstream sends each once."""
    fields = {}
    for line in block.split(b"\n"):
        name, _, value = line.rstrip(b"\r").partition(b":")
        fields[name] = value.removeprefix(b" ")
    if b"id" not in fields or b"data" not in fields:
        return None
    place = fields[b"id"]
    if not place.isdigit() or len(place) > 16:
        raise PromiseBroken("an event whose id is no number")
    return Event(int(place), fields.get(b"event", b"").decode("utf-8", "replace"), fields[b"data"])
