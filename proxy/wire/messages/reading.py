"""A client's Anthropic message, read as a conversation for a provider of another dialect.

Owns what each field means; `messages.fields` says what has no meaning elsewhere. What surprises:
`temperature`, `top_p` and `top_k` are read, which the newest version of the API has no more; and
a schema, of an answer or a tool, is always a promise here, which others call strict.
"""

from collections.abc import Callable, Iterator, Sequence

from proxy.errors import ThreadUnsupported
from proxy.wire import seals
from proxy.wire.conversation import (
    Choice,
    Conversation,
    File,
    Format,
    Image,
    Part,
    Reasoning,
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
from proxy.wire.messages.fields import RULES

_CHOICES = {
    "auto": Choice.AUTO,
    "any": Choice.REQUIRED,
    "tool": Choice.NAMED,
    "none": Choice.NONE,
}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_OWN = "anthropic.messages"
_FIELDS = {
    "output_tokens_max": "max_tokens",
    "stop": "stop_sequences",
    "format": "output_config.format",
    "is_parallel": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
}
"""Settings whose field has another name."""


def read_conversation(ask: Ask) -> Conversation:
    """See `Dialect.conversation`."""
    given = Given(RULES, ask.fields)
    if given.has("thread"):
        raise ThreadUnsupported
    given.skip("model", "stream")
    config = given.within("output_config")
    effort = config.choice("effort", _EFFORTS) if config else None
    choice, is_parallel = _read_choice(given)
    metadata = given.within("metadata")
    system, turns = _read_messages(given)
    conversation = Conversation(
        model=ask.model,
        turns=turns,
        system=system,
        tools=[_read_tool(tool) for tool in given.objects("tools")],
        tool_choice=choice,
        is_parallel=is_parallel,
        output_tokens_max=given.count("max_tokens", 1),
        temperature=given.number("temperature", 0, 1),
        top_p=given.number("top_p", 0, 1),
        top_k=given.count("top_k", 0),
        stop=given.texts("stop_sequences"),
        format=_read_format(config) if config else None,
        thinking=_read_thinking(given, effort),
        user=metadata.text("user_id") if metadata else None,
        fields={
            **{name: name for name in Conversation.__struct_fields__},
            **_FIELDS,
            "thinking": "output_config.effort" if effort else "thinking",
        },
    )
    given.read()
    return conversation


def _read_thinking(given: Given, effort: str | None) -> Thinking | None:
    """An effort counts for more than a budget beside it."""
    said = given.within("thinking")
    if said is None:
        return Thinking(is_on=True, effort=effort) if effort else None
    kind = said.need_choice("type", ("enabled", "adaptive", "disabled", "between_tools"))
    if kind == "between_tools":
        raise said.refusal("type")
    display = said.choice("display", ("summarized", "omitted"))
    budget = said.need_count("budget_tokens", 1) if kind == "enabled" else None
    if kind == "disabled":
        return Thinking(is_on=False)
    return Thinking(
        is_on=True,
        effort=effort,
        budget_tokens=None if effort else budget,
        is_shown=None if display is None else display == "summarized",
    )


def _read_format(config: Given) -> Format | None:
    found = config.within("format")
    if found is None:
        return None
    found.need_choice("type", ("json_schema",))
    return Format(schema=found.need_raw("schema"), is_strict=True)


def _read_tool(tool: Given) -> Tool:
    if tool.kind(default="custom") != "custom":
        raise tool.refusal_of_kind()
    return Tool(
        name=tool.need_text("name"),
        description=tool.text("description"),
        parameters=tool.need_raw("input_schema"),
        is_strict=tool.flag("strict"),
        path=tool.path,
    )


def _read_choice(given: Given) -> tuple[ToolChoice | None, bool | None]:
    """How tools are chosen, and whether several may be called at once."""
    said = given.within("tool_choice")
    if said is None:
        return None, None
    word = said.need_choice("type", tuple(_CHOICES))
    is_single = said.flag("disable_parallel_tool_use")
    name = said.need_text("name") if word == "tool" else None
    return ToolChoice(_CHOICES[word], name), None if is_single is None else not is_single


def _read_messages(given: Given) -> tuple[Sequence[Text], Sequence[Turn]]:
    """The instructions before the first turn, and the turns."""
    system = list(_read_texts(given, "system"))
    turns: list[Turn] = []
    for message in given.objects("messages"):
        match message.kind("role"):
            case "user":
                turns.append(Turn(Role.USER, list(_read_parts(message, Role.USER))))
            case "assistant":
                turns.append(Turn(Role.ASSISTANT, list(_read_parts(message, Role.ASSISTANT))))
            case "system":
                texts = list(_read_texts(message, "content"))
                if turns:
                    turns.append(Turn(Role.SYSTEM, texts))
                else:
                    system += texts
            case _:
                raise message.refusal_of_kind("role")
    return system, turns


def _read_texts(given: Given, name: str) -> Iterator[Text]:
    words = given.words(name)
    if isinstance(words, str):
        yield Text(words, given.path_of(name))
        return
    for part in words or ():
        if part.kind() != "text":
            raise part.refusal_of_kind()
        yield _read_text(part)


def _read_parts(message: Given, role: Role) -> Iterator[Part]:
    words = message.need_words("content")
    if isinstance(words, str):
        yield Text(words, message.path_of("content"))
        return
    for part in words:
        kind = part.kind()
        if kind in _PARTS:
            yield _PARTS[kind](part)
        elif role is Role.ASSISTANT and kind in _ANSWERED:
            yield _ANSWERED[kind](part)
        elif role is Role.USER and kind == "tool_result":
            yield _read_result(part)
        else:
            raise part.refusal_of_kind()


def _read_text(part: Given) -> Text:
    return Text(part.need_text("text"), part.path)


def _read_image(part: Given) -> Image:
    source = part.need_within("source")
    match source.need_choice("type", ("base64", "url", "file")):
        case "base64":
            return Image(
                data=source.need_text("data"),
                media_type=source.need_text("media_type"),
                path=part.path,
            )
        case "url":
            return Image(url=source.need_text("url"), path=part.path)
        case _:
            raise source.refusal("file_id")


def _read_document(part: Given) -> File:
    source = part.need_within("source")
    name = part.text("title")
    match source.need_choice("type", ("base64", "text", "content", "url", "file")):
        case "base64":
            data, media_type = source.need_text("data"), source.need_text("media_type")
            return File(name=name, data=data, media_type=media_type, path=part.path)
        case "text":
            media_type = source.choice("media_type", ("text/plain",)) or "text/plain"
            text = source.need_text("data")
            return File(name=name, text=text, media_type=media_type, path=part.path)
        case "content":
            words = source.need_words("content")
            if not isinstance(words, str):
                raise source.refusal("content")
            return File(name=name, text=words, media_type="text/plain", path=part.path)
        case "url":
            return File(name=name, url=source.need_text("url"), path=part.path)
        case _:
            raise source.refusal("file_id")


def _read_thought(part: Given) -> Reasoning:
    signature = part.text("signature") or ""
    maker, seal = seals.opened(signature) or (_OWN if signature else None, signature or None)
    return Reasoning(part.need_text("thinking"), seal, maker, path=part.path)


def _read_redacted(part: Given) -> Reasoning:
    data = part.need_text("data")
    maker, seal = seals.opened(data) or (_OWN, data)
    return Reasoning(seal=seal, maker=maker, is_redacted=True, path=part.path)


def _read_call(part: Given) -> ToolCall:
    return ToolCall(
        id=part.need_text("id"),
        name=part.need_text("name"),
        arguments=bytes(part.need_raw("input")).decode(),
        path=part.path,
    )


def _read_result(part: Given) -> ToolResult:
    return ToolResult(
        call_id=part.need_text("tool_use_id"),
        parts=list(_read_result_parts(part)),
        is_error=part.flag("is_error") or False,
        path=part.path,
    )


def _read_result_parts(result: Given) -> Iterator[Text | Image | File]:
    words = result.words("content")
    if isinstance(words, str):
        yield Text(words, result.path_of("content"))
        return
    for part in words or ():
        read = _PARTS.get(part.kind())
        if read is None:
            raise part.refusal_of_kind()
        yield read(part)


_PARTS: dict[str, Callable[[Given], Text | Image | File]] = {
    "text": _read_text,
    "image": _read_image,
    "document": _read_document,
}
"""What both sides say, and a tool gives."""
_ANSWERED: dict[str, Callable[[Given], Part]] = {
    "thinking": _read_thought,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_call,
}
"""What only an assistant says."""
