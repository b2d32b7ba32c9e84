"""What was said in a conversation, as the messages of an Anthropic request.

Owns the blocks of each part. What surprises: turns of one side that follow each other are one
message, in which the results of tools come first, because Anthropic wants all results of a turn's
calls there. Instructions in the middle are said in the user's turn, marked, because few models
take them as their own.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from proxy.wire.conversation import (
    Conversation,
    File,
    Image,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from proxy.wire.json_text import Fields
from proxy.wire.translation import inexpressible

_Object: TypeAlias = dict[str, object]

_NAME = "anthropic.messages"
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
"""Documented, as the media types."""
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_ALSO_CALLED = {"image/jpg": "image/jpeg"}
"""By OpenAI's clients, and OpenAI takes it."""
_PDF = "application/pdf"
_PLAIN = "text/plain"


def messages_of(conversation: Conversation) -> list[_Object]:
    """One for all turns of a side that follow each other; none for what says nothing."""
    merged: list[tuple[str, list[_Object]]] = []
    for turn in conversation.turns:
        role = "assistant" if turn.role is Role.ASSISTANT else "user"
        blocks = list(_blocks(turn))
        if blocks and merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        elif blocks:
            merged.append((role, blocks))
    for _, blocks in merged:
        blocks.sort(key=lambda block: block["type"] != "tool_result")
    return [{"role": role, "content": blocks} for role, blocks in merged]


def _blocks(turn: Turn) -> Iterator[_Object]:
    if turn.role is Role.SYSTEM:
        words = "\n\n".join(text.text for text in not_blank(turn.parts))
        if words:
            yield {"type": "text", "text": f"<system>\n{words}\n</system>"}
        return
    for part in turn.parts:
        yield from _block(part)


def not_blank(parts: Sequence[Part]) -> list[Text]:
    """Anthropic refuses texts of nothing but white space, which others take."""
    return [part for part in parts if isinstance(part, Text) and part.text.strip()]


def _block(part: Part) -> Iterator[_Object]:
    match part:
        case Text():
            yield from map(text_block, not_blank([part]))
        case Refusal(text, path):
            yield from map(text_block, not_blank([Text(text, path)]))
        case Image():
            yield {"type": "image", "source": _image_source(part)}
        case File():
            yield _document(part)
        case Reasoning():
            yield from _thought(part)
        case ToolCall():
            yield _call(part)
        case ToolResult():
            yield _result(part)


def text_block(text: Text) -> _Object:
    """Words, as a block."""
    return {"type": "text", "text": text.text}


def _image_source(image: Image) -> _Object:
    if image.url is not None:
        return {"type": "url", "url": image.url}
    media_type = (image.media_type or "").lower()
    media_type = _ALSO_CALLED.get(media_type, media_type)
    if media_type not in _IMAGES:
        raise inexpressible(image.path, _NAME, "it takes JPEG, PNG, GIF and WebP alone")
    return {"type": "base64", "media_type": media_type, "data": image.data}


def _document(file: File) -> _Object:
    said: _Object = {"type": "document", "source": _file_source(file)}
    if file.name is not None:
        said["title"] = file.name
    return said


def _file_source(file: File) -> _Object:
    if file.url is not None:
        return {"type": "url", "url": file.url}
    if file.media_type == _PDF:
        return {"type": "base64", "media_type": _PDF, "data": file.data}
    text = _plain_text(file)
    if text is None:
        why = "it takes PDF and plain text alone, as a data: URL that says so"
        raise inexpressible(file.path, _NAME, why)
    return {"type": "text", "media_type": _PLAIN, "data": text}


def _plain_text(file: File) -> str | None:
    if file.text is not None or file.data is None or file.media_type != _PLAIN:
        return file.text
    try:
        return base64.b64decode(file.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _thought(part: Reasoning) -> Iterator[_Object]:
    """Given back to its maker alone: any other refuses a seal that it has not made."""
    if part.maker != _NAME or part.seal is None:
        return
    if part.is_redacted:
        yield {"type": "redacted_thinking", "data": part.seal}
    else:
        yield {"type": "thinking", "thinking": part.text, "signature": part.seal}


def _call(call: ToolCall) -> _Object:
    return {
        "type": "tool_use",
        "id": _call_id(call.id, call.path),
        "name": call.name,
        "input": _input(call),
    }


def _call_id(text: str, path: str) -> str:
    if not _CALL_ID.fullmatch(text):
        raise inexpressible(path, _NAME, "ids of calls are letters, digits, '_' and '-'")
    return text


def _input(call: ToolCall) -> object:
    """The arguments, as they were written; none are an empty object."""
    if not call.arguments.strip():
        return {}
    try:
        msgspec.json.decode(call.arguments, type=Fields)
    except (msgspec.DecodeError, RecursionError) as error:
        raise inexpressible(call.path, _NAME, "its arguments are no JSON object") from error
    return msgspec.Raw(call.arguments.strip().encode())


def _result(result: ToolResult) -> _Object:
    blocks = [block for part in result.parts for block in _block(part)]
    said: _Object = {
        "type": "tool_result",
        "tool_use_id": _call_id(result.call_id, result.path),
        "content": blocks,
    }
    if result.is_error:
        said["is_error"] = True
    return said
