"""A client's chat completion, read as a conversation for a provider of another dialect.

Owns what each field means; `chat.fields` says what has no meaning elsewhere. What surprises:
reasoning comes back in fields that OpenAI never had, as other servers tell it.
"""

from collections.abc import Iterator, Sequence

from proxy.wire import seals
from proxy.wire.chat.fields import RULES
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
from proxy.wire.given import Given, wrong
from proxy.wire.openai_parts import EFFORTS, VERBOSITIES, read_file, read_image

_CHOICES = {"auto": Choice.AUTO, "none": Choice.NONE, "required": Choice.REQUIRED}
_NAMED_OTHERWISE = {"format": "response_format", "thinking": "reasoning_effort"}
"""Settings whose field has another name."""


def read_conversation(ask: Ask) -> Conversation:
    """See `Dialect.conversation`."""
    given = Given(RULES, ask.fields)
    given.skip("model", "stream")
    if options := given.within("stream_options"):
        options.skip("include_usage")
    system, turns = _read_messages(given)
    bound, bound_by = _read_bound(given)
    user_by = "safety_identifier" if given.has("safety_identifier") else "user"
    settings = Conversation.__struct_fields__
    conversation = Conversation(
        model=ask.model,
        turns=turns,
        system=system,
        tools=[_read_tool(tool) for tool in given.objects("tools")],
        tool_choice=_read_choice(given),
        is_parallel=given.flag("parallel_tool_calls"),
        output_tokens_max=bound,
        temperature=given.number("temperature", 0, 2),
        top_p=given.number("top_p", 0, 1),
        stop=_read_stop(given),
        seed=given.take("seed", int, "a whole number"),
        presence_penalty=given.number("presence_penalty", -2, 2),
        frequency_penalty=given.number("frequency_penalty", -2, 2),
        format=_read_format(given),
        thinking=_read_thinking(given),
        verbosity=given.choice("verbosity", VERBOSITIES),
        user=given.text(user_by),
        fields={
            **{name: name for name in settings},
            **_NAMED_OTHERWISE,
            "is_parallel": "parallel_tool_calls",
            "output_tokens_max": bound_by,
            "user": user_by,
        },
    )
    given.read()
    return conversation


def _read_bound(given: Given) -> tuple[int | None, str]:
    """The bound of an answer, and the field that says it: the newer one, if both say the same."""
    newer = given.count("max_completion_tokens", 1)
    older = given.count("max_tokens", 1)
    if newer is None:
        return older, "max_tokens"
    if older not in {None, newer}:
        raise wrong("max_tokens", "left out, or the same as 'max_completion_tokens'")
    return newer, "max_completion_tokens"


def _read_stop(given: Given) -> Sequence[str]:
    stop = given.take("stop", str | list[str], "a string or an array of strings")  # type: ignore[arg-type]
    return [stop] if isinstance(stop, str) else stop or ()


def _read_thinking(given: Given) -> Thinking | None:
    effort = given.choice("reasoning_effort", EFFORTS)
    if effort is None:
        return None
    return Thinking(is_on=False) if effort == "none" else Thinking(is_on=True, effort=effort)


def _read_format(given: Given) -> Format | None:
    found = given.within("response_format")
    if found is None:
        return None
    kind = found.need_choice("type", ("text", "json_object", "json_schema"))
    if kind != "json_schema":
        return Format() if kind == "json_object" else None
    schema = found.need_within("json_schema")
    return Format(
        schema=schema.need_raw("schema"),
        name=schema.need_text("name"),
        description=schema.text("description"),
        is_strict=schema.flag("strict"),
    )


def _read_tool(tool: Given) -> Tool:
    if tool.kind() != "function":
        raise tool.refusal_of_kind()
    function = tool.need_within("function")
    return Tool(
        name=function.need_text("name"),
        description=function.text("description"),
        parameters=function.raw("parameters"),
        is_strict=function.flag("strict"),
        path=tool.path,
    )


def _read_choice(given: Given) -> ToolChoice | None:
    if not given.is_object("tool_choice"):
        word = given.choice("tool_choice", tuple(_CHOICES))
        return None if word is None else ToolChoice(_CHOICES[word])
    choice = given.need_within("tool_choice")
    kind = choice.need_choice("type", ("function", "allowed_tools", "custom"))
    if kind != "function":
        raise choice.refusal(kind)
    return ToolChoice(Choice.NAMED, choice.need_within("function").need_text("name"))


def _read_messages(given: Given) -> tuple[Sequence[Text], Sequence[Turn]]:
    """The instructions before the first turn, and the turns."""
    system: list[Text] = []
    turns: list[Turn] = []
    for message in given.objects("messages"):
        match message.kind("role"):
            case "system" | "developer":
                texts = list(_read_texts(message))
                if turns:
                    turns.append(Turn(Role.SYSTEM, texts))
                else:
                    system += texts
            case "user":
                turns.append(Turn(Role.USER, list(_read_parts(message))))
            case "assistant":
                turns.append(Turn(Role.ASSISTANT, list(_read_answer(message))))
            case "tool":
                result = ToolResult(
                    call_id=message.need_text("tool_call_id"),
                    parts=list(_read_texts(message)),
                    path=message.path,
                )
                turns.append(Turn(Role.USER, [result]))
            case _:
                raise message.refusal_of_kind("role")
    return system, turns


def _read_texts(message: Given) -> Iterator[Text]:
    words = message.need_words("content")
    if isinstance(words, str):
        yield Text(words, message.path_of("content"))
        return
    for part in words:
        if part.kind() != "text":
            raise part.refusal_of_kind()
        yield Text(part.need_text("text"), part.path)


def _read_parts(message: Given) -> Iterator[Part]:
    words = message.need_words("content")
    if isinstance(words, str):
        yield Text(words, message.path_of("content"))
        return
    for part in words:
        match part.kind():
            case "text":
                yield Text(part.need_text("text"), part.path)
            case "image_url":
                yield _read_image(part)
            case "file":
                yield _read_file(part)
            case _:
                raise part.refusal_of_kind()


def _read_image(part: Given) -> Image:
    return read_image(part.need_within("image_url"), "url", part.path)


def _read_file(part: Given) -> File:
    said = part.need_within("file")
    if said.has("file_id"):
        raise said.refusal("file_id")
    return read_file(said, part.path)


def _read_answer(message: Given) -> Iterator[Part]:
    """What an assistant said before, in the order in which it is always told."""
    yield from _read_reasoning(message)
    words = message.words("content")
    if isinstance(words, str):
        yield Text(words, message.path_of("content"))
    else:
        for part in words or ():
            match part.kind():
                case "text":
                    yield Text(part.need_text("text"), part.path)
                case "refusal":
                    yield Refusal(part.need_text("refusal"), part.path)
                case _:
                    raise part.refusal_of_kind()
    if refusal := message.text("refusal"):
        yield Refusal(refusal, message.path_of("refusal"))
    for call in message.objects("tool_calls"):
        if call.kind() != "function":
            raise call.refusal_of_kind()
        function = call.need_within("function")
        yield ToolCall(
            id=call.need_text("id"),
            name=function.need_text("name"),
            arguments=function.need_text("arguments"),
            path=call.path,
        )


def _read_reasoning(message: Given) -> Iterator[Reasoning]:
    """In details, if there are any: the words beside them say the same again."""
    words = message.text("reasoning_content") or message.text("reasoning")
    message.skip("reasoning")
    details = message.objects("reasoning_details")
    if words and not details:
        yield Reasoning(words, path=message.path)
    for detail in details:
        seal = detail.text("signature") or detail.text("data") or ""
        maker, seal_of_maker = seals.opened(seal) or ("openai.chat", seal)
        yield Reasoning(
            text=detail.text("text") or "",
            seal=seal_of_maker,
            maker=maker,
            is_redacted=seals.is_redacted(seal),
            path=detail.path,
        )
        detail.skip("type", "id", "index", "format", "summary", "data", "signature")
