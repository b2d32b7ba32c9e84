"""What two requests of different dialects have in common, if they mean the same.

Owns the documented adaptations, said once more: what is expected of a conversation after it went
through another dialect and back.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

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
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from tests.wire.sdk_types import CHAT, MESSAGES, RESPONSES

_NOTHING = msgspec.Raw(b'{"type":"object","properties":{}}')


def adapted(asked: Conversation, theirs: str) -> Conversation:
    """`asked`, as a provider that speaks `theirs` is to understand it."""
    tools = [_adapted_tool(tool, theirs) for tool in asked.tools]
    choice, is_parallel = asked.tool_choice, asked.is_parallel
    if not tools:
        choice = is_parallel = None
    elif theirs == MESSAGES:
        is_none = choice is not None and choice.choice is Choice.NONE
        is_parallel = None if is_none else is_parallel
        if choice is None and is_parallel is not None:
            choice = ToolChoice(Choice.AUTO)
    user = asked.user
    if user is not None and theirs != MESSAGES and len(user) > 64:
        user = hashlib.sha256(user.encode()).hexdigest()
    return msgspec.structs.replace(
        asked,
        turns=_adapted_turns(asked.turns, theirs),
        tools=tools,
        tool_choice=choice,
        is_parallel=is_parallel,
        output_tokens_max=asked.output_tokens_max or (4096 if theirs == MESSAGES else None),
        format=_adapted_format(asked.format, theirs),
        thinking=_adapted_thinking(asked.thinking, theirs),
        verbosity=None if theirs == MESSAGES else asked.verbosity,
        presence_penalty=asked.presence_penalty if theirs == CHAT else None,
        frequency_penalty=asked.frequency_penalty if theirs == CHAT else None,
        user=user,
    )


def _adapted_tool(tool: Tool, theirs: str) -> Tool:
    parameters = tool.parameters
    if parameters is None and theirs != CHAT:
        parameters = _NOTHING
    is_strict = tool.is_strict
    if theirs == RESPONSES:
        is_strict = is_strict or False
    return msgspec.structs.replace(tool, parameters=parameters, is_strict=is_strict)


def _adapted_format(found: Format | None, theirs: str) -> Format | None:
    if found is None or found.schema is None:
        return found
    if theirs == MESSAGES:
        return Format(schema=found.schema, is_strict=True)
    return msgspec.structs.replace(found, name=found.name or "answer")


def _adapted_thinking(found: Thinking | None, theirs: str) -> Thinking | None:
    if found is None or not found.is_on:
        return found
    if theirs == MESSAGES:
        effort = "low" if found.effort == "minimal" else found.effort
        return msgspec.structs.replace(found, effort=effort)
    effort, budget = found.effort, found.budget_tokens
    if budget is not None:
        effort = "low" if budget <= 2048 else "medium" if budget <= 8192 else "high"
    is_shown = found.is_shown or None if theirs == RESPONSES else None
    if effort is None and is_shown is None:
        return None
    return Thinking(is_on=True, effort=effort, is_shown=is_shown)


def _adapted_turns(turns: Sequence[Turn], theirs: str) -> list[Turn]:
    """For Chat, results stand before all else that is said between two answers."""
    told = [_adapted_turn(turn, theirs) for turn in turns]
    if theirs != CHAT:
        return told
    found: list[Turn] = []
    for is_answer, group in groupby(told, lambda turn: turn.role is Role.ASSISTANT):
        between = list(group)
        if not is_answer:
            results = [part for turn in between for part in turn.parts if _is_result(part)]
            others = [
                Turn(turn.role, [part for part in turn.parts if not _is_result(part)])
                for turn in between
            ]
            between = [Turn(Role.USER, results)] if results else []
            between += [turn for turn in others if turn.parts]
        found += between
    return found


def _is_result(part: Part) -> bool:
    return isinstance(part, ToolResult)


def _adapted_turn(turn: Turn, theirs: str) -> Turn:
    parts = [one for part in turn.parts for one in _adapted_part(part, theirs)]
    if turn.role is Role.SYSTEM and theirs == MESSAGES:
        words = "".join(part.text for part in parts if isinstance(part, Text))
        return Turn(Role.USER, [Text(f"<system>{words}</system>")])
    if theirs == CHAT:
        shown: list[Part] = []
        for part in parts:
            others = [] if not isinstance(part, ToolResult) else _not_texts(part.parts)
            if isinstance(part, ToolResult) and others:
                shown += [Text(f"Result of {part.call_id}:"), *others]
        parts = [*shown, *(_texts_alone(part) for part in parts)]
    return Turn(turn.role, parts)


def _not_texts(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if not isinstance(part, Text)]


def _texts_alone(part: Part) -> Part:
    if not isinstance(part, ToolResult):
        return part
    texts = [one for one in part.parts if isinstance(one, Text)]
    return ToolResult(part.call_id, texts, part.is_error)


def _adapted_part(part: Part, theirs: str) -> Iterable[Part]:
    match part:
        case Refusal(text) if theirs != CHAT:
            yield Text(text)
        case File(name, None, _, text) if text is not None and theirs != MESSAGES:
            yield Text(f"{name}\n\n{text}" if name else text)
        case File(name, None, data, None, "text/plain") if theirs == MESSAGES and data:
            text = base64.b64decode(data).decode()
            yield File(name=name, text=text, media_type="text/plain")
        case File(None, None, media_type="application/pdf") if theirs != MESSAGES:
            yield msgspec.structs.replace(part, name="document.pdf")
        case File(None, None) if theirs != MESSAGES:
            yield msgspec.structs.replace(part, name="document")
        case Image(detail=detail):
            kept = None if theirs == MESSAGES else detail
            yield msgspec.structs.replace(
                part, detail="auto" if kept is None and theirs == RESPONSES else kept
            )
        case Reasoning(_, None):
            if theirs == CHAT:
                yield part
        case Reasoning(maker=maker):
            if maker == theirs:
                yield part
        case ToolResult(call_id, parts, is_error):
            within: list[Any] = [one for inner in parts for one in _adapted_part(inner, theirs)]
            if is_error and theirs != MESSAGES:
                within.insert(0, Text("Error:"))
            yield ToolResult(call_id, within, is_error and theirs == MESSAGES)
        case _:
            yield part


def meaning(asked: Conversation) -> dict[str, Any]:
    """What it says, without where it says it: turns of one side in a row are one, and in a turn
    only things of one kind have an order.
    """
    found = {
        name: getattr(asked, name)
        for name in asked.__struct_fields__
        if name not in {"turns", "system", "fields", "tools", "tool_choice", "format"}
    }
    turns: list[tuple[Role, list[Part]]] = []
    for turn in asked.turns:
        parts = [part for part in turn.parts if _says(part)]
        if parts and turns and turns[-1][0] is turn.role:
            turns[-1][1].extend(parts)
        elif parts:
            turns.append((turn.role, parts))
    system = list(asked.system)
    while turns and turns[0][0] is Role.SYSTEM:
        system += [part for part in turns.pop(0)[1] if isinstance(part, Text)]
    return {
        **{
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
        },
        "system": _words(system),
        "turns": [(role, _kinds(parts)) for role, parts in turns],
        "tools": [
            (tool.name, tool.description, _json(tool.parameters), tool.is_strict)
            for tool in asked.tools
        ],
        "tool_choice": asked.tool_choice and (asked.tool_choice.choice, asked.tool_choice.name),
        "format": asked.format
        and (
            asked.format.name,
            asked.format.description,
            _json(asked.format.schema),
            asked.format.is_strict,
        ),
    }


def _says(part: Part) -> bool:
    if isinstance(part, Text | Refusal):
        return bool(part.text.strip())
    return True


def _json(raw: msgspec.Raw | None) -> object:
    return None if raw is None else json.loads(bytes(raw))


def _words(parts: Iterable[Part]) -> str:
    """Without white space, which joins them."""
    texts = [part.text for part in parts if isinstance(part, Text)]
    return "".join("".join(texts).split())


def _kinds(parts: Sequence[Part]) -> dict[str, Any]:
    return {
        "words": _words(parts),
        "refusals": "".join(
            "".join(part.text.split()) for part in parts if isinstance(part, Refusal)
        ),
        "shown": [_bare(part) for part in parts if isinstance(part, Image | File)],
        "calls": [
            (part.id, part.name, json.loads(part.arguments or "{}"))
            for part in parts
            if isinstance(part, ToolCall)
        ],
        "results": [
            (
                part.call_id,
                part.is_error,
                _words(part.parts),
                [_bare(one) for one in _not_texts(part.parts)],
            )
            for part in parts
            if isinstance(part, ToolResult)
        ],
        "thoughts": [
            _bare(part) for part in parts if isinstance(part, Reasoning) and part.seal is not None
        ],
        "unsealed": "".join(
            "".join(part.text.split())
            for part in parts
            if isinstance(part, Reasoning) and part.seal is None
        ),
    }


def _bare(part: Part) -> Part:
    return msgspec.structs.replace(part, path="")
