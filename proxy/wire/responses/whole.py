"""A response that was not streamed, in the words of a stream."""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled
from proxy.stream import Frame
from proxy.wire.json_text import ABSENT, read, says_nothing

_RESPONSE = "response"
_ENDS = frozenset({"completed", "incomplete", "failed"})


class _Answer(msgspec.Struct, gc=False):
    object: str = ""
    type: str = ""
    status: str = ""
    error: msgspec.Raw = ABSENT


_decoder = msgspec.json.Decoder(_Answer)


def as_events(data: bytes) -> Sequence[Frame]:
    """It is heard like the event that would have ended the stream. See `WholeTranslator`.

    Raises `ProviderGarbled` for what is neither an answer nor an error.
    """
    answer = read(_decoder, data)
    if answer.object == _RESPONSE and answer.status in _ENDS:
        kind = answer.status.encode()
        said = b'{"type":"response.%b","sequence_number":0,"response":%b}' % (kind, data)
        return (Frame("", said),)
    if says_nothing(answer.error):
        raise ProviderGarbled("an answer that is no response, or is not over")
    return (Frame("", b'{"type":"error","sequence_number":0,"error":%b}' % bytes(answer.error)),)


def is_whole(data: bytes) -> bool:
    """Whether data of the journal is an answer in one piece; an event has a type."""
    try:
        answer = read(_decoder, data)
    except ProviderGarbled:
        return False
    return answer.object == _RESPONSE and not answer.type
