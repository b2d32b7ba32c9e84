"""What another provider is asked that goes on with a chat completion.

Owns which requests are for one model alone. What surprises: a prefill is marked ``prefix``, as
DeepSeek and Mistral want it; servers that know no prefill take it for an answer that is whole.
"""

import msgspec

from proxy.wire.asks import GO_ON, appended, ends_with_an_answer, value_of
from proxy.wire.assembly import object_at, objects_at
from proxy.wire.dialect import Ask, Continuing

_UNLESS_EMPTY = (
    "logprobs",
    "top_logprobs",
    "audio",
    "web_search_options",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "json_schema",
    "structured_outputs",
)
"""OpenAI's, and what llama.cpp and vLLM have for the form of an answer."""


def indivisible(ask: Ask) -> str | None:
    """See `Dialect.indivisible`."""
    fields = ask.fields
    if value_of(fields, "n") not in (None, 1):
        return "n"
    if object_at(value_of(fields, "response_format")).get("type", "text") != "text":
        return "response_format"
    modalities = value_of(fields, "modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        return "modalities"
    tools = objects_at(value_of(fields, "tools"))
    if any(tool.get("type", "function") != "function" for tool in tools):
        return "tools"
    return next((name for name in _UNLESS_EMPTY if value_of(fields, name)), None)


def continuing(ask: Ask, said: str, *, prefill: bool) -> Continuing:
    """See `Dialect.continuing`. Most servers know no prefill, so by default there is none."""
    messages = ask.fields["messages"]
    is_prefilled = prefill and not ends_with_an_answer(messages)
    answer: dict[str, object] = {"role": "assistant", "content": said}
    if is_prefilled:
        more = [{**answer, "prefix": True}]
    else:
        more = [answer, {"role": "user", "content": GO_ON}]
    fields = {**ask.fields, "messages": appended(messages, *more)}
    return Continuing(msgspec.structs.replace(ask, fields=fields), is_prefilled)
