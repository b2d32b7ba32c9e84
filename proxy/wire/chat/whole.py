"""A `chat.completion` that was not streamed, in the words of a stream."""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderGarbled
from proxy.stream import Frame
from proxy.wire.json_text import ABSENT, read, says_nothing


class _Choice(msgspec.Struct, gc=False):
    message: msgspec.Raw = ABSENT


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    error: msgspec.Raw = ABSENT


_decoder = msgspec.json.Decoder(_Answer)


def as_events(data: bytes) -> Sequence[Frame]:
    """It is heard like a chunk that has the reason to stop and the usage. See `WholeTranslator`.

    Raises `ProviderGarbled` for what is neither an answer nor an error.
    """
    answer = read(_decoder, data)
    if not _has_message(answer) and says_nothing(answer.error):
        raise ProviderGarbled("an answer that is no chat completion")
    return (Frame("", data),)


def is_whole(data: bytes) -> bool:
    """Whether data of the journal is an answer in one piece. Of a chunk, its choices have none."""
    try:
        return _has_message(read(_decoder, data))
    except ProviderGarbled:
        return False


def _has_message(answer: _Answer) -> bool:
    return any(not says_nothing(choice.message) for choice in answer.choices or ())
