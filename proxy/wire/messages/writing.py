"""A conversation, written as the request of an Anthropic message.

Owns which fields it makes, but not `max_tokens` where the client says none: see `bounds`. What
surprises: turns of one side that follow each other are one message, in which the results of tools
come first, because Anthropic wants all results of a turn's calls there. Instructions in the middle
are said in the user's turn, marked, because few models take them as their own.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from proxy.wire.bounds import OUTPUT_TOKENS_UNASKED
from proxy.wire.conversation import (
    Choice,
    Conversation,
    File,
    Image,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from proxy.wire.dialect import Ask
from proxy.wire.efforts import BUDGETS
from proxy.wire.json_text import Fields, says_nothing
from proxy.wire.translation import inexpressible, refuse_settings

_Object: TypeAlias = dict[str, object]

_NAME = "anthropic.messages"
_CANNOT = {
    "seed": None,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "verbosity": "medium",
}
_CHOICES = {
    Choice.AUTO: "auto",
    Choice.REQUIRED: "any",
    Choice.NAMED: "tool",
    Choice.NONE: "none",
}
_EFFORTS = {"minimal": "low"}
"""Those that it calls otherwise."""
_BUDGETS_ALONE = re.compile(
    r"claude-(2|3|instant|(opus|sonnet|haiku)-4([-.][015])?(-\d{8})?(@|:|-v\d|-latest|$))"
)
"""The models that know thinking by budgets alone; later ones know efforts, and the newest nothing
else. It is a list of the past: no model will come to it."""
_BUDGET_MIN = 1024
"""Documented."""
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
"""Documented, as the media types."""
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_PLAIN = "text/plain"
_NO_PARAMETERS = {"type": "object", "properties": {}}
_TEMPERATURE_MAX = 1


def write_conversation(conversation: Conversation) -> Ask:
    """See `Dialect.ask_of`."""
    refuse_settings(conversation, _NAME, _CANNOT)
    said: _Object = {
        "model": conversation.model,
        "max_tokens": conversation.output_tokens_max,
        "system": [_text(text) for text in _not_blank(conversation.system)] or None,
        "messages": _messages(conversation),
        "temperature": _temperature(conversation),
        "top_p": conversation.top_p,
        "top_k": conversation.top_k,
        "stop_sequences": _stop(conversation),
        "metadata": None if conversation.user is None else {"user_id": conversation.user},
        **_tools(conversation),
        **_output(conversation),
    }
    fields = {
        name: msgspec.Raw(msgspec.json.encode(value))
        for name, value in said.items()
        if value is not None
    }
    return Ask(model=conversation.model, is_streamed=True, wants_usage=True, fields=fields)


def _temperature(conversation: Conversation) -> float | None:
    found = conversation.temperature
    if found is not None and found > _TEMPERATURE_MAX:
        raise inexpressible(conversation.fields["temperature"], _NAME, "it goes from 0 to 1")
    return found


def _stop(conversation: Conversation) -> Sequence[str] | None:
    if not all(text.strip() for text in conversation.stop):
        why = "each must be more than white space"
        raise inexpressible(conversation.fields["stop"], _NAME, why)
    return conversation.stop or None


# --- tools ------------------------------------------------------------------------------------


def _tools(conversation: Conversation) -> _Object:
    """Without tools nothing is said of how they are chosen, which Anthropic would refuse."""
    if not conversation.tools:
        return {}
    return {
        "tools": [_tool(tool) for tool in conversation.tools],
        "tool_choice": _choice(conversation),
    }


def _tool(tool: Tool) -> _Object:
    said: _Object = {"name": tool.name, "input_schema": _schema(tool)}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.is_strict is not None:
        said["strict"] = tool.is_strict
    return said


def _schema(tool: Tool) -> object:
    nothing = tool.parameters is None or says_nothing(tool.parameters)
    return _NO_PARAMETERS if nothing else tool.parameters


def _choice(conversation: Conversation) -> _Object | None:
    """Whether calls may be parallel is said with how they are chosen."""
    choice = conversation.tool_choice
    if choice is None and conversation.is_parallel is None:
        return None
    said: _Object = {"type": _CHOICES[choice.choice if choice else Choice.AUTO]}
    if choice is not None and choice.choice is Choice.NAMED:
        said["name"] = choice.name
    if conversation.is_parallel is not None and said["type"] != "none":
        said["disable_parallel_tool_use"] = not conversation.is_parallel
    return said


# --- thinking and schemas ---------------------------------------------------------------------


def _output(conversation: Conversation) -> _Object:
    config: _Object = {}
    found, thinking = conversation.format, conversation.thinking
    if found is not None:
        path = conversation.fields["format"]
        if found.schema is None:
            raise inexpressible(path, _NAME, "it makes JSON by a schema alone; give it one")
        if found.description is not None:
            raise inexpressible(path, _NAME, "it has schemas without a description")
        config["format"] = {"type": "json_schema", "schema": found.schema}
    said = None
    if thinking is not None:
        said = _thinking(conversation, thinking)
        if thinking.effort is not None and said["type"] == "adaptive":
            config["effort"] = _EFFORTS.get(thinking.effort, thinking.effort)
    return {"thinking": said, "output_config": config or None}


def _thinking(conversation: Conversation, thinking: Thinking) -> _Object:
    if not thinking.is_on:
        return {"type": "disabled"}
    said: _Object = {"type": "adaptive"}
    if _BUDGETS_ALONE.search(conversation.model):
        said = {"type": "enabled", "budget_tokens": _budget(conversation, thinking)}
    if thinking.is_shown is not None:
        said["display"] = "summarized" if thinking.is_shown else "omitted"
    return said


def _budget(conversation: Conversation, thinking: Thinking) -> int:
    """Half of the answer at most: Anthropic counts both together, and wants room for words."""
    room = (conversation.output_tokens_max or OUTPUT_TOKENS_UNASKED) // 2
    if room < _BUDGET_MIN:
        path = conversation.fields["output_tokens_max"]
        why = f"a model that thinks needs at least {2 * _BUDGET_MIN}"
        raise inexpressible(path, _NAME, why)
    return min(room, thinking.budget_tokens or BUDGETS[thinking.effort or "medium"])


# --- messages ---------------------------------------------------------------------------------


def _messages(conversation: Conversation) -> list[_Object]:
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
        words = "\n\n".join(text.text for text in _not_blank(turn.parts))
        if words:
            yield {"type": "text", "text": f"<system>\n{words}\n</system>"}
        return
    for part in turn.parts:
        yield from _block(part)


def _not_blank(parts: Sequence[Part]) -> list[Text]:
    """Anthropic refuses texts of nothing but white space, which others take."""
    return [part for part in parts if isinstance(part, Text) and part.text.strip()]


def _block(part: Part) -> Iterator[_Object]:
    match part:
        case Text():
            yield from map(_text, _not_blank([part]))
        case Refusal(text, path):
            yield from map(_text, _not_blank([Text(text, path)]))
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


def _text(text: Text) -> _Object:
    return {"type": "text", "text": text.text}


def _image_source(image: Image) -> _Object:
    if image.url is not None:
        return {"type": "url", "url": image.url}
    if image.media_type not in _IMAGES:
        raise inexpressible(image.path, _NAME, "it takes JPEG, PNG, GIF and WebP alone")
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


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
