"""A conversation, written as the request of a chat completion.

Owns which fields it makes. What surprises: texts of one message become one string, with a blank
line between, because many servers take no other; what tools gave comes first of all that is said
after an answer, because OpenAI takes nothing else there; and what of it is no text follows in a
message of the user's, which is where Chat has pictures.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

import msgspec

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
from proxy.wire.openai_parts import (
    effort_said,
    file_fields,
    text_of,
    url_of,
    user_said,
)
from proxy.wire.translation import inexpressible, refuse_settings, written

_Object: TypeAlias = dict[str, object]

_NAME = "openai.chat"
_CANNOT = {"top_k": None}
_ERROR = "Error:"
"""Before what a tool gave that has failed: Chat has no field for that."""
_STOPS_MAX = 4
"""Documented: OpenAI takes no more."""


def write_conversation(conversation: Conversation) -> Ask:
    """See `Dialect.ask_of`."""
    refuse_settings(conversation, _NAME, _CANNOT)
    said: _Object = {
        "model": conversation.model,
        "messages": list(_messages(conversation)),
        "max_completion_tokens": conversation.output_tokens_max,
        "temperature": conversation.temperature,
        "top_p": conversation.top_p,
        "stop": _stop(conversation),
        "seed": conversation.seed,
        "presence_penalty": conversation.presence_penalty,
        "frequency_penalty": conversation.frequency_penalty,
        "response_format": _format(conversation.format),
        "reasoning_effort": effort_said(conversation.thinking),
        "verbosity": conversation.verbosity,
        "user": user_said(conversation),
        **_tools(conversation),
    }
    return written(conversation, said)


def _stop(conversation: Conversation) -> Sequence[str] | None:
    if len(conversation.stop) > _STOPS_MAX:
        why = f"it takes at most {_STOPS_MAX}"
        raise inexpressible(conversation.fields["stop"], _NAME, why)
    return conversation.stop or None


def _format(found: Format | None) -> _Object | None:
    if found is None:
        return None
    if found.schema is None:
        return {"type": "json_object"}
    schema: _Object = {"name": found.name or "answer", "schema": found.schema}
    if found.description is not None:
        schema["description"] = found.description
    if found.is_strict is not None:
        schema["strict"] = found.is_strict
    return {"type": "json_schema", "json_schema": schema}


def _tools(conversation: Conversation) -> _Object:
    """Without tools nothing is said of how they are chosen, which OpenAI would refuse."""
    if not conversation.tools:
        return {}
    choice = conversation.tool_choice
    return {
        "tools": [_tool(tool) for tool in conversation.tools],
        "tool_choice": None if choice is None else _choice(choice),
        "parallel_tool_calls": conversation.is_parallel,
    }


def _tool(tool: Tool) -> _Object:
    function: _Object = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.is_strict is not None:
        function["strict"] = tool.is_strict
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | _Object:
    if choice.choice is Choice.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return str(choice.choice.value)


def _messages(conversation: Conversation) -> Iterator[_Object]:
    if conversation.system:
        yield {"role": "system", "content": _joined(conversation.system)}
    for is_answer, turns in groupby(conversation.turns, lambda turn: turn.role is Role.ASSISTANT):
        if is_answer:
            for turn in turns:
                yield from _assistant(turn)
        else:
            said = [message for turn in turns for message in _said(turn)]
            yield from sorted(said, key=lambda message: message["role"] != "tool")


def _said(turn: Turn) -> Iterator[_Object]:
    if turn.role is Role.SYSTEM:
        yield {"role": "system", "content": _joined(turn.parts)}
    else:
        yield from _user(turn)


def _joined(parts: Sequence[Part]) -> str:
    return "\n\n".join(part.text for part in parts if isinstance(part, Text))


def _user(turn: Turn) -> Iterator[_Object]:
    """The results of tools, and then what else there is."""
    shown: list[str | _Object] = []
    for part in turn.parts:
        if not isinstance(part, ToolResult):
            continue
        given = [_shown(one) for one in part.parts]
        texts = [one for one in given if isinstance(one, str)]
        content = "\n\n".join([_ERROR, *texts] if part.is_error else texts)
        yield {"role": "tool", "tool_call_id": part.call_id, "content": content}
        pictures = [one for one in given if not isinstance(one, str)]
        if pictures:
            shown += [f"Result of {part.call_id}:", *pictures]
    shown += [_shown(part) for part in turn.parts if not isinstance(part, ToolResult)]
    if shown or not turn.parts:
        yield {"role": "user", "content": _content(shown)}


def _content(shown: Sequence[str | _Object]) -> str | list[_Object]:
    if all(isinstance(one, str) for one in shown):
        return "\n\n".join(str(one) for one in shown)
    return [{"type": "text", "text": one} if isinstance(one, str) else one for one in shown]


def _shown(part: Part) -> str | _Object:
    """A text, or the part that shows what is none."""
    match part:
        case Text(text):
            return text
        case Image():
            image = {"url": url_of(part)}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case File():
            if (words := text_of(part)) is not None:
                return words
            if part.data is None:
                raise inexpressible(part.path, _NAME, "it has no documents by URL")
            return {"type": "file", "file": file_fields(part)}
        case _:
            raise inexpressible(part.path, _NAME)


def _assistant(turn: Turn) -> Iterator[_Object]:
    message: _Object = {"role": "assistant"}
    texts, refusals, calls = [], [], []
    for part in turn.parts:
        match part:
            case Text(text):
                texts.append(text)
            case Refusal(text):
                refusals.append(text)
            case ToolCall():
                calls.append(_call(part))
            case Reasoning():
                _add_reasoning(message, part)
            case _:
                raise inexpressible(part.path, _NAME, "an assistant says no more than text")
    if texts:
        message["content"] = "\n\n".join(texts)
    if refusals:
        message["refusal"] = "\n\n".join(refusals)
    if calls:
        message["tool_calls"] = calls
    if len(message) > 1:
        yield message


def _call(call: ToolCall) -> _Object:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _add_reasoning(message: _Object, part: Reasoning) -> None:
    """Words without a seal, or what the seal holds: the details as they came."""
    if part.seal is None and part.maker in {None, _NAME}:
        before = message.get("reasoning_content")
        message["reasoning_content"] = f"{before}\n\n{part.text}" if before else part.text
    elif part.seal is not None and part.maker == _NAME:
        try:
            details = msgspec.json.decode(part.seal, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            raise inexpressible(part.path, _NAME, "its seal is broken") from error
        before = message.setdefault("reasoning_details", [])
        assert isinstance(before, list), "set here"
        before += details
