"""Ids of responses: names of streams, by which clients ask for them again.

An answer that passes keeps the id that its provider gave it; the ledger knows whose it is. One
that was translated is named after its stream, and so is one that has said no name yet: such an
id is read back without the ledger.
"""

import re

from proxy.stream import STREAM_ID_PATTERN, StreamId

_STREAM, _RESPONSE = "st_", "resp_"
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""Chosen: OpenAI's have 55 characters, those of others fewer."""


def response_id(stream: StreamId) -> str:
    """The id of the response that is told in a stream, where no provider has given one."""
    return _RESPONSE + stream.removeprefix(_STREAM)


def stream_of(name: str) -> StreamId | None:
    """The stream that `response_id` made this name of; None for any other name."""
    if not name.startswith(_RESPONSE):
        return None
    stream = _STREAM + name.removeprefix(_RESPONSE)
    return StreamId(stream) if STREAM_ID_PATTERN.fullmatch(stream) else None


def is_name(text: str) -> bool:
    """Whether this can be the id of a response."""
    return _NAME.fullmatch(text) is not None
