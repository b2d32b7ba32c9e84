"""What a response can use at most: its text as in `bounds`, and what is not text.

| part                 | held                                                                    |
| image, screenshot    | 85 tokens in low detail, else 4,000; more (some models' tiles) is a debt |
| file                 | 10,000 tokens; what its pages are more is a debt                         |
| earlier turns        | nothing, where `previous_response_id`, `conversation` or `prompt` name    |
|                      | them: a debt                                                             |
| the provider's tools | nothing; what they read, and each further turn, is a debt                |
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
from proxy.wire.json_text import ABSENT, NULL, Fields

_FIELD = "max_output_tokens"
_LOW_DETAIL_TOKENS = 85
_IMAGE_TOKENS = 4000
"""Documented: 1,536 patches times 2.46, or 8 tiles of 170 and 85."""
_IN_AN_ITEM = 1
"""How deep is looked: an item has parts, in its content or its output, and these have none."""
_IMAGES = frozenset({"input_image", "computer_screenshot", "image_generation_call"})


class _Item(msgspec.Struct):
    """An item of the input, or a part of one."""

    type: str = ""
    content: msgspec.Raw = ABSENT
    output: msgspec.Raw = ABSENT
    detail: str | None = None
    image_url: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    file_data: msgspec.Raw = ABSENT


def bounded(ask: Ask, at_most: int | None) -> Bounded:
    """See `Dialect.bounded`. The bound counts reasoning too."""
    fields = dict(ask.fields)
    asked = count_in(fields, _FIELD, TOKENS_MAX)
    output = asked or at_most or OUTPUT_TOKENS_UNASKED
    if at_most is not None:
        output = min(output, at_most)
    if output != asked:
        fields[_FIELD] = msgspec.Raw(b"%d" % output)
    return Bounded(msgspec.structs.replace(ask, fields=fields), _input_tokens(fields), output)


def _input_tokens(fields: Fields) -> int:
    return text_tokens(fields) + _more_than_text(fields.get("input", NULL), _IN_AN_ITEM)


def _more_than_text(raw: msgspec.Raw, depth: int) -> int:
    """How many tokens the items in `raw` are more, or fewer, than their bytes."""
    if bytes(raw).startswith(b"{"):
        return _of_item(raw, depth)
    if not bytes(raw).startswith(b"["):
        return 0
    return sum(_of_item(one, depth) for one in parts(raw))


def _of_item(raw: msgspec.Raw, depth: int) -> int:
    try:
        item = msgspec.json.decode(raw, type=_Item)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
    if item.type in _IMAGES:
        url = bytes(item.image_url)
        tokens = _LOW_DETAIL_TOKENS if item.detail == "low" else _IMAGE_TOKENS
        return tokens - (len(url) if url.startswith(b'"data:') else 0) - len(item.result)
    if item.type == "input_file":
        return FILE_TOKENS - len(item.file_data)
    if depth:
        return _more_than_text(item.content, depth - 1) + _more_than_text(item.output, depth - 1)
    return 0
