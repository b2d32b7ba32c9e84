"""A message that was not streamed, in the words of a stream."""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled
from proxy.stream import Frame
from proxy.wire.json_text import ABSENT, read, says_nothing


class _Answer(msgspec.Struct, gc=False):
    type: str = ""
    usage: msgspec.Raw = ABSENT


_decoder = msgspec.json.Decoder(_Answer)
_ERROR = "error"
_MESSAGE = "message"


def as_events(data: bytes) -> Sequence[Frame]:
    """It is heard like the last `message_delta`, which counts everything. See `WholeTranslator`.

    Raises `ProviderGarbled` for what is neither an answer nor an error.
    """
    answer = read(_decoder, data)
    if answer.type == _ERROR:
        return (Frame(_ERROR, data),)
    if answer.type != _MESSAGE:
        raise ProviderGarbled("an answer that is no message")
    if says_nothing(answer.usage):
        return ()
    return (Frame("", b'{"type":"message_delta","usage":%b}' % bytes(answer.usage)),)


def is_whole(data: bytes) -> bool:
    """Whether data of the journal is an answer in one piece."""
    try:
        return read(_decoder, data).type == _MESSAGE
    except ProviderGarbled:
        return False
