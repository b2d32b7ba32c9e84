"""Where a page of a listing ended, as a client carries it: opaque to everybody else."""

import re

from proxy.errors import MalformedRequest
from proxy.stream import StreamId

_PATTERN = re.compile(r"([0-9]{1,16})-([0-9a-z_]{1,64})")


def write_place(created_us: int, stream: StreamId) -> str:
    """The place of a stream in the order of listings."""
    return f"{created_us}-{stream}"


def read_place(cursor: str) -> tuple[int, StreamId]:
    """The place that `write_place` wrote. Raises `MalformedRequest` for anything else."""
    match = _PATTERN.fullmatch(cursor)
    if match is None:
        raise MalformedRequest(
            "This cursor was not made by a listing; leave it out to begin with the newest.",
            param="cursor",
        )
    return int(match[1]), StreamId(match[2])
