"""A client's Responses request, read as a conversation for a provider of another dialect.

Owns what each field means; `responses.fields` says what has no meaning elsewhere. What surprises:
what an assistant said comes as items, one after another, and all in a row are one turn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from proxy.wire import seals
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
from proxy.wire.dialect import Ask
from proxy.wire.given import Given
from proxy.wire.openai_parts import EFFORTS, VERBOSITIES, read_file, read_image
from proxy.wire.responses.fields import RULES

P = TypeVar("P", bound=Part)

_CHOICES = {"auto": Choice.AUTO, "none": Choice.NONE, "required": Choice.REQUIRED}
_OWN = "openai.responses"
_ROLES = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
}
_SUMMARIES = ("auto", "concise", "detailed")
_INCLUDED = frozenset(
    {
        "reasoning.encrypted_content",
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
"""What is always told, or is about tools that nobody can offer here."""
_FIELDS = {
    "output_tokens_max": "max_output_tokens",
    "is_parallel": "parallel_tool_calls",
    "format": "text.format",
    "verbosity": "text.verbosity",
    "thinking": "reasoning",
}
"""Settings whose field has another name."""


def read_conversation(ask: Ask) -> Conversation:
    """See `Dialect.conversation`."""
    given = Given(RULES, ask.fields)
    given.skip("model", "stream")
    given.within("stream_options")
    _check_included(given)
    system, turns = _read_input(given)
    text = given.within("text")
    user_by = "safety_identifier" if given.has("safety_identifier") else "user"
    conversation = Conversation(
        model=ask.model,
        turns=turns,
        system=system,
        tools=[_read_tool(tool) for tool in given.objects("tools")],
        tool_choice=_read_choice(given),
        is_parallel=given.flag("parallel_tool_calls"),
        output_tokens_max=given.count("max_output_tokens", 1),
        temperature=given.number("temperature", 0, 2),
        top_p=given.number("top_p", 0, 1),
        format=_read_format(text) if text else None,
        thinking=_read_thinking(given),
        verbosity=text.choice("verbosity", VERBOSITIES) if text else None,
        user=given.text(user_by),
        fields={
            **{name: name for name in Conversation.__struct_fields__},
            **_FIELDS,
            "user": user_by,
        },
    )
    given.read()
    return conversation


def _check_included(given: Given) -> None:
    for place, name in enumerate(given.texts("include")):
        if name not in _INCLUDED:
            raise given.refusal_within("include", place)


def _read_thinking(given: Given) -> Thinking | None:
    said = given.within("reasoning")
    if said is None:
        return None
    effort = said.choice("effort", EFFORTS)
    summary = said.choice("summary", _SUMMARIES)
    older = said.choice("generate_summary", _SUMMARIES)
    if effort == "none":
        return Thinking(is_on=False)
    if effort is None and summary is None and older is None:
        return None
    return Thinking(is_on=True, effort=effort, is_shown=True if summary or older else None)


def _read_format(text: Given) -> Format | None:
    found = text.within("format")
    if found is None:
        return None
    kind = found.need_choice("type", ("text", "json_object", "json_schema"))
    if kind != "json_schema":
        return Format() if kind == "json_object" else None
    return Format(
        schema=found.need_raw("schema"),
        name=found.need_text("name"),
        description=found.text("description"),
        is_strict=found.flag("strict"),
    )


def _read_tool(tool: Given) -> Tool:
    if tool.kind() != "function":
        raise tool.refusal_of_kind()
    return Tool(
        name=tool.need_text("name"),
        description=tool.text("description"),
        parameters=tool.raw("parameters"),
        is_strict=tool.flag("strict"),
        path=tool.path,
    )


def _read_choice(given: Given) -> ToolChoice | None:
    if not given.is_object("tool_choice"):
        word = given.choice("tool_choice", tuple(_CHOICES))
        return None if word is None else ToolChoice(_CHOICES[word])
    choice = given.need_within("tool_choice")
    if choice.need_text("type") != "function":
        raise given.refusal("tool_choice")
    return ToolChoice(Choice.NAMED, choice.need_text("name"))


def _read_input(given: Given) -> tuple[Sequence[Text], Sequence[Turn]]:
    """The instructions before the first turn, and the turns."""
    system: list[Text] = []
    if (instructions := given.text("instructions")) is not None:
        system.append(Text(instructions, "instructions"))
    words = given.need_words("input")
    if isinstance(words, str):
        return system, [Turn(Role.USER, [Text(words, "input")])]
    turns: list[tuple[Role, list[Part]]] = []
    for item in words:
        role, parts = _read_item(item)
        if role is Role.SYSTEM and not turns:
            system += [part for part in parts if isinstance(part, Text)]
        elif turns and role is Role.ASSISTANT and turns[-1][0] is role:
            turns[-1][1].extend(parts)
        else:
            turns.append((role, parts))
    return system, [Turn(role, parts) for role, parts in turns]


def _read_item(item: Given) -> tuple[Role, list[Part]]:
    match item.kind(default="message" if item.has("role") else "item_reference"):
        case "message":
            role = _ROLES[item.need_choice("role", tuple(_ROLES))]
            return role, list(_read_parts(item, "content", _KINDS[role]))
        case "function_call":
            return Role.ASSISTANT, [_read_call(item)]
        case "function_call_output":
            call_id = item.need_text("call_id")
            parts = list(_read_parts(item, "output", _SHOWN))
            return Role.USER, [ToolResult(call_id, parts, path=item.path)]
        case "reasoning":
            return Role.ASSISTANT, [_read_reasoning(item)]
        case _:
            raise item.refusal_of_kind()


def _read_call(item: Given) -> ToolCall:
    return ToolCall(
        id=item.need_text("call_id"),
        name=item.need_text("name"),
        arguments=item.need_text("arguments"),
        path=item.path,
    )


def _read_parts(
    item: Given, name: str, kinds: Mapping[str, Callable[[Given], P]]
) -> Iterator[P | Text]:
    words = item.need_words(name)
    if isinstance(words, str):
        yield Text(words, item.path_of(name))
        return
    for part in words:
        read = kinds.get(part.kind())
        if read is None:
            raise part.refusal_of_kind()
        yield read(part)


def _read_text(part: Given) -> Text:
    return Text(part.need_text("text"), part.path)


def _read_refusal(part: Given) -> Refusal:
    return Refusal(part.need_text("refusal"), part.path)


def _read_image(part: Given) -> Image:
    if part.has("file_id"):
        raise part.refusal("file_id")
    return read_image(part, "image_url", part.path)


def _read_file(part: Given) -> File:
    if part.has("file_id"):
        raise part.refusal("file_id")
    if part.has("file_url") and part.has("file_data"):
        raise part.wrong("file_url", "left out where there is 'file_data'")
    if (url := part.text("file_url")) is not None:
        return File(name=part.text("filename"), url=url, path=part.path)
    return read_file(part, part.path)


def _read_reasoning(item: Given) -> Reasoning:
    """The summary, which is what its maker tells; without one, all of it."""
    summary = [_read_text(one).text for one in item.objects("summary") if one.kind()]
    whole = [_read_text(one).text for one in item.objects("content") if one.kind()]
    encrypted = item.text("encrypted_content") or ""
    maker, seal = seals.opened(encrypted) or (_OWN if encrypted else None, encrypted or None)
    return Reasoning(
        text="\n\n".join(summary or whole),
        seal=seal,
        maker=maker,
        is_redacted=seals.is_redacted(encrypted),
        path=item.path,
    )


_SHOWN: Mapping[str, Callable[[Given], Text | Image | File]] = {
    "input_text": _read_text,
    "input_image": _read_image,
    "input_file": _read_file,
}
"""What a user says, and a function gives."""
_ANSWERED: Mapping[str, Callable[[Given], Text | Refusal]] = {
    "output_text": _read_text,
    "input_text": _read_text,
    "refusal": _read_refusal,
}
_TOLD: Mapping[str, Callable[[Given], Text]] = {"input_text": _read_text}
_KINDS: Mapping[Role, Mapping[str, Callable[[Given], Part]]] = {
    Role.USER: _SHOWN,
    Role.ASSISTANT: _ANSWERED,
    Role.SYSTEM: _TOLD,
}
"""What each side can say."""
