"""What a chat completion can use at most: its text as in `bounds`, and what is not text.

| part       | held                                                                           |
| image      | 85 tokens in low detail, else 4,000; more (some small models' tiles) is a debt |
| audio      | a token for 100 characters of base64: 10 a second, at 8 kbit/s or more         |
| file       | 10,000 tokens; what its pages are more is a debt                               |
| web search | nothing; what it reads is a debt                                               |

A predicted output counts as output, because what of it is rejected is paid for as that.
"""

import msgspec

from proxy.wire.bounds import (
    FILE_TOKENS,
    OUTPUT_TOKENS_UNASKED,
    TOKENS_MAX,
    count_in,
    parts,
    text_tokens,
)
from proxy.wire.dialect import Ask, Bounded
from proxy.wire.json_text import ABSENT, Fields

_CHOICES_MAX = 1000
"""Chosen: OpenAI takes 128."""
_FIELDS = ("max_completion_tokens", "max_tokens")
"""The newer one first."""
_OVERRIDING = "n_predict"
"""llama.cpp's own, which goes before the others there, and is nothing elsewhere."""
_LOW_DETAIL_TOKENS = 85
_IMAGE_TOKENS = 4000
"""Documented: 1,536 patches times 2.46, or 8 tiles of 170 and 85."""
_AUDIO_CHARS = 100
"""Of base64 for a token. Documented: a token is 100 ms of input, which is 133 at 8 kbit/s."""


class _Image(msgspec.Struct):
    url: msgspec.Raw = ABSENT
    detail: str | None = None


class _Audio(msgspec.Struct):
    data: msgspec.Raw = ABSENT


class _File(msgspec.Struct):
    file_data: msgspec.Raw = ABSENT


class _Part(msgspec.Struct):
    type: str = ""
    image_url: _Image | None = None
    input_audio: _Audio | None = None
    file: _File | None = None


class _Message(msgspec.Struct):
    content: msgspec.Raw = ABSENT


def bounded(ask: Ask, at_most: int | None) -> Bounded:
    """See `Dialect.bounded`. Each of its `n` answers is bounded, and all of them are held."""
    fields = dict(ask.fields)
    choices = count_in(fields, "n", _CHOICES_MAX) or 1
    named = {name: count_in(fields, name, TOKENS_MAX) for name in (*_FIELDS, _OVERRIDING)}
    said = {name: count for name, count in named.items() if count is not None}
    if not said.keys() & _FIELDS:
        said[_FIELDS[0]] = at_most or OUTPUT_TOKENS_UNASKED
    for name, count in said.items():
        said[name] = count if at_most is None else min(count, at_most)
        if said[name] != named[name]:
            fields[name] = msgspec.Raw(b"%d" % said[name])
    output = choices * (max(said.values()) + len(fields.get("prediction", ABSENT)))
    sent = msgspec.structs.replace(ask, fields=fields)
    return Bounded(sent, _input_tokens(fields), output, choices)


def _input_tokens(fields: Fields) -> int:
    tokens = text_tokens(fields)
    for message in parts(fields["messages"]):
        try:
            content = msgspec.json.decode(message, type=_Message).content
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if bytes(content).startswith(b"["):
            tokens += sum(map(_more_than_text, parts(content)))
    return tokens


def _more_than_text(raw: msgspec.Raw) -> int:
    """How many tokens a part is more, or fewer, than its bytes."""
    try:
        part = msgspec.json.decode(raw, type=_Part)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
    if part.type == "image_url" and part.image_url is not None:
        url = bytes(part.image_url.url)
        tokens = _LOW_DETAIL_TOKENS if part.image_url.detail == "low" else _IMAGE_TOKENS
        return tokens - (len(url) if url.startswith(b'"data:') else 0)
    if part.type == "input_audio" and part.input_audio is not None:
        chars = len(part.input_audio.data)
        return 1 + chars // _AUDIO_CHARS - chars
    if part.type == "file" and part.file is not None:
        return FILE_TOKENS - len(part.file.file_data)
    return 0
