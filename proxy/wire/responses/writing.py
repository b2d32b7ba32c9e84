"""A conversation, written as a Responses request.

Owns which fields it makes. What surprises: it asks that nothing is kept, as in the other dialects
nobody expects it; so where a model reasons, its reasoning is asked for sealed, to be given back.
A reasoning item goes back without the id that it had: a seal is held to an id only if there is one.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from proxy.wire.conversation import (
    Choice,
    Conversation,
    File,
    Format,
    Image,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from proxy.wire.dialect import Ask
from proxy.wire.openai_parts import effort_said, file_fields, text_of, url_of, user_said
from proxy.wire.translation import inexpressible, refuse_settings, written

_Object: TypeAlias = dict[str, object]

_NAME = "openai.responses"
_CANNOT = {
    "top_k": None,
    "stop": None,
    "seed": None,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}
_ERROR = "Error:"
"""Before what a tool gave that has failed: Responses has no field for that."""
_OUTPUT_TOKENS_MIN = 16
"""Documented."""
_NO_PARAMETERS = {"type": "object", "properties": {}}
_SEALED = ["reasoning.encrypted_content"]


def write_conversation(conversation: Conversation) -> Ask:
    """See `Dialect.ask_of`."""
    refuse_settings(conversation, _NAME, _CANNOT)
    items = [item for turn in conversation.turns for item in _items(turn)]
    instructions = None
    if len(conversation.system) == 1:
        instructions = conversation.system[0].text
    elif conversation.system:
        items.insert(0, _message("system", conversation.system))
    said: _Object = {
        "model": conversation.model,
        "instructions": instructions,
        "input": items,
        "max_output_tokens": _bound(conversation),
        "temperature": conversation.temperature,
        "top_p": conversation.top_p,
        "text": _text(conversation),
        "user": user_said(conversation),
        "store": False,
        **_reasoning(conversation),
        **_tools(conversation),
    }
    return written(conversation, said)


def _bound(conversation: Conversation) -> int | None:
    bound = conversation.output_tokens_max
    if bound is not None and bound < _OUTPUT_TOKENS_MIN:
        path = conversation.fields["output_tokens_max"]
        raise inexpressible(path, _NAME, f"it wants at least {_OUTPUT_TOKENS_MIN}")
    return bound


def _text(conversation: Conversation) -> _Object | None:
    said: _Object = {}
    if conversation.format is not None:
        said["format"] = _format(conversation.format)
    if conversation.verbosity is not None:
        said["verbosity"] = conversation.verbosity
    return said or None


def _format(found: Format) -> _Object:
    if found.schema is None:
        return {"type": "json_object"}
    said: _Object = {
        "type": "json_schema",
        "name": found.name or "answer",
        "schema": found.schema,
    }
    if found.description is not None:
        said["description"] = found.description
    if found.is_strict is not None:
        said["strict"] = found.is_strict
    return said


def _reasoning(conversation: Conversation) -> _Object:
    thinking = conversation.thinking
    said: _Object = {}
    if (effort := effort_said(thinking)) is not None:
        said["effort"] = effort
    if thinking is not None and thinking.is_shown:
        said["summary"] = "auto"
    is_on = thinking is not None and thinking.is_on
    return {"reasoning": said or None, "include": _SEALED if is_on else None}


def _tools(conversation: Conversation) -> _Object:
    """Without tools nothing is said of how they are chosen."""
    if not conversation.tools:
        return {}
    choice = conversation.tool_choice
    return {
        "tools": [_tool(tool) for tool in conversation.tools],
        "tool_choice": None if choice is None else _choice(choice),
        "parallel_tool_calls": conversation.is_parallel,
    }


def _tool(tool: Tool) -> _Object:
    """Strict only if the client says so: elsewhere that is not what is so without a word."""
    said: _Object = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters or _NO_PARAMETERS,
        "strict": tool.is_strict or False,
    }
    if tool.description is not None:
        said["description"] = tool.description
    return said


def _choice(choice: ToolChoice) -> str | _Object:
    if choice.choice is Choice.NAMED:
        return {"type": "function", "name": choice.name}
    return str(choice.choice.value)


def _items(turn: Turn) -> Iterator[_Object]:
    """The items of a turn, in its order. What a user says between results is one message."""
    if turn.role is Role.ASSISTANT:
        for part in turn.parts:
            yield from _answered(part)
        return
    role = "developer" if turn.role is Role.SYSTEM else "user"
    said: list[Part] = []
    for part in turn.parts:
        if not isinstance(part, ToolResult):
            said.append(part)
            continue
        if said:
            yield _message(role, said)
            said = []
        yield _result(part)
    if said or not turn.parts:
        yield _message(role, said)


def _message(role: str, parts: Sequence[Part]) -> _Object:
    content = [_shown(part) for part in parts]
    return {"type": "message", "role": role, "content": content}


def _shown(part: Part) -> _Object:
    match part:
        case Text(text):
            return {"type": "input_text", "text": text}
        case Image():
            said = {"type": "input_image", "image_url": url_of(part)}
            return {**said, "detail": part.detail or "auto"}
        case File():
            if (words := text_of(part)) is not None:
                return {"type": "input_text", "text": words}
            if part.url is None:
                return {"type": "input_file", **file_fields(part)}
            named = {} if part.name is None else {"filename": part.name}
            return {"type": "input_file", "file_url": part.url, **named}
        case _:
            raise inexpressible(part.path, _NAME)


def _answered(part: Part) -> Iterator[_Object]:
    match part:
        case Text(text) | Refusal(text):
            if text:
                yield {"type": "message", "role": "assistant", "content": text}
        case ToolCall():
            yield {
                "type": "function_call",
                "call_id": part.id,
                "name": part.name,
                "arguments": part.arguments,
            }
        case Reasoning():
            if part.maker == _NAME and part.seal is not None:
                summary = [{"type": "summary_text", "text": part.text}] if part.text else []
                yield {"type": "reasoning", "summary": summary, "encrypted_content": part.seal}
        case _:
            raise inexpressible(part.path, _NAME, "an assistant says no more than text")


def _result(result: ToolResult) -> _Object:
    parts = [Text(_ERROR), *result.parts] if result.is_error else result.parts
    output: object = [_shown(part) for part in parts]
    if len(parts) == 1 and isinstance(parts[0], Text):
        output = parts[0].text
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}
