"""Server-sent events: a bounded parser of what a provider sends, an encoder of what we send.

Owns the bytes between events, never what is inside the data. The parser gives the same frames
for every split of the same bytes, holds at most one event, and costs about a microsecond for
an event. Where it differs from the HTML standard (9.2): an event whose data is blank is no
event, as no dialect could read it; lines of data are joined by a space, as data is one line.

What surprises: a name or data can never break out of its field. Names are of a closed alphabet
when they come in, data is one line because lines are what it is cut from, and the encoder
asserts both.
"""

import re
from collections.abc import Sequence

from proxy.errors import ProviderGarbled
from proxy.stream import Event, Frame

_BOM = b"\xef\xbb\xbf"
_NAME = re.compile(rb"[A-Za-z0-9._:-]{0,64}")
_LF, _CR = b"\n"[0], b"\r"[0]
"""As numbers: looking for those is seven times as fast as for bytes of length one."""
_NAMES_MAX = 64
"""Names a parser remembers. Chosen: dialects have about ten."""


def read_name(raw: bytes) -> str:
    """An event name as it came, checked. Raises `ProviderGarbled`."""
    if _NAME.fullmatch(raw) is None:
        raise ProviderGarbled("the name of an event holds other than letters, digits and ._:-")
    return raw.decode("ascii")


class Parser:
    """Bytes in, frames out. One for each answer.

    `event_bytes_max` bounds one event, its field names and comments included, each line end
    counted as one byte. A stream that passes it, or that names an event wrongly, has failed:
    what is fed later fails too.
    """

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._held = bytearray()
        """The event that is not finished yet, its line ends made LF."""
        self._start: bytes | None = b""
        """The first bytes, while they could still be a byte order mark."""
        self._ended_in_cr = False
        """An LF that comes next belongs to that line end."""
        self._is_plain = False
        """Neither of the two: a chunk without CR can be cut as it is."""
        self.last_id = b""
        """The id of the newest event that had one, as it came."""
        self._names: dict[bytes, str] = {}
        self.failure: ProviderGarbled | None = None
        """What `feed` still owes, or has raised: no more frames will come."""

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` finishes.

        Raises `ProviderGarbled`; if the same chunk has finished frames before that point,
        returns those, and raises when next called.
        """
        if self.failure is not None:
            raise self.failure
        frames: list[Frame] = []
        try:
            self._cut(chunk, frames)
        except ProviderGarbled as failure:
            self.failure = failure
            self._held.clear()
            if not frames:
                raise
        return frames

    def finish(self) -> Sequence[Frame]:
        """The bytes have ended, and finish no frame: an event without its blank line is none.

        Raises the `ProviderGarbled` that `feed` still owes.
        """
        self._held.clear()
        if self.failure is not None:
            raise self.failure
        return ()

    def _cut(self, chunk: bytes, frames: list[Frame]) -> None:
        if not self._is_plain or _CR in chunk:
            chunk = self._straighten(chunk)
        held = self._held
        if held and held[-1] == _LF and chunk.startswith(b"\n"):  # a blank line, torn in two
            del held[-1]
            blocks = [b"", *chunk[1:].split(b"\n\n")]
        else:
            blocks = chunk.split(b"\n\n")
        rest = blocks.pop()
        if held and blocks:
            blocks[0] = bytes(held + blocks[0])
            held.clear()
        for block in blocks:
            self._check_size(len(block))
            if block.startswith(b"data: ") and _LF not in block:  # as most events are
                name, data = "", block[6:]
            else:
                name, data = self._read(block)
            if data and not data.isspace():
                frames.append(Frame(name, data))
        if rest:
            # An LF at the end may be the first of a blank line, which is not the event's.
            self._check_size(len(held) + len(rest) - rest.endswith(b"\n"))
            held += rest

    def _check_size(self, size: int) -> None:
        if size > self._event_bytes_max:
            raise ProviderGarbled(f"an event larger than {self._event_bytes_max} bytes")

    def _straighten(self, chunk: bytes) -> bytes:
        """Without byte order mark, every line end an LF. A CR at the end is one at once."""
        if self._start is not None:
            chunk = self._start + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._start = chunk
                return b""
            self._start = None
            chunk = chunk.removeprefix(_BOM)
        if self._ended_in_cr:
            if not chunk:
                return b""
            chunk = chunk.removeprefix(b"\n")
        self._ended_in_cr = chunk.endswith(b"\r")
        self._is_plain = not self._ended_in_cr
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, block: bytes) -> tuple[str, bytes]:
        """Name and data of one event. Comments, `retry` and unknown fields say nothing."""
        name = b""
        data = []
        for line in block.split(b"\n"):
            if line.startswith(b"data: "):
                data.append(line[6:])
            elif line.startswith(b"event: "):
                name = line[7:]
            elif line.startswith(b"id: "):
                self.last_id = line[4:]
            else:
                field, _, value = line.partition(b":")
                if field == b"data":
                    data.append(value)
                elif field == b"event":
                    name = value
                elif field == b"id":
                    self.last_id = value
        return self._known_name(name), data[0] if len(data) == 1 else b" ".join(data)

    def _known_name(self, raw: bytes) -> str:
        name = self._names.get(raw)
        if name is None:
            name = read_name(raw)
            if len(self._names) < _NAMES_MAX:
                self._names[raw] = name
        return name


def encode(event: Event) -> bytes:
    """One event on the wire."""
    name, data = event.name, event.data
    assert b"\n" not in data, "data is one line"
    assert b"\r" not in data, "data is one line"
    if not name:
        return b"id: %d\ndata: %b\n\n" % (event.id, data)
    raw_name = name.encode("ascii")
    assert _NAME.fullmatch(raw_name), "names are checked when they come in"
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, raw_name, data)


def encode_batch(events: Sequence[Event]) -> bytes:
    """Events on the wire, one after the other."""
    return b"".join([encode(event) for event in events])


def encode_first(event: Event, retry_ms: int) -> bytes:
    """An event that also says how long a browser waits before it comes back.

    It rides in the event: alone between blank lines, it would break the OpenAI SDK.
    """
    return b"retry: %d\n%b" % (retry_ms, encode(event))
