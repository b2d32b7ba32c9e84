"""A conversation, written as the request of an Anthropic message.

Owns which fields it makes, but not `max_tokens` where the client says none: see `bounds`; and not
its messages: see `blocks`. What surprises: how thinking is asked for depends on the model's name.
"""

from collections.abc import Sequence
from typing import TypeAlias

from proxy.wire.bounds import OUTPUT_TOKENS_UNASKED
from proxy.wire.conversation import (
    Choice,
    Conversation,
    Thinking,
    Tool,
)
from proxy.wire.dialect import Ask
from proxy.wire.efforts import BUDGETS
from proxy.wire.json_text import says_nothing
from proxy.wire.messages.blocks import messages_of, not_blank, text_block
from proxy.wire.messages.bounds import BUDGET_MIN
from proxy.wire.messages.models import BEFORE_EFFORTS
from proxy.wire.translation import inexpressible, refuse_settings, written

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
_NO_PARAMETERS = {"type": "object", "properties": {}}
_TEMPERATURE_MAX = 1


def write_conversation(conversation: Conversation) -> Ask:
    """See `Dialect.ask_of`."""
    refuse_settings(conversation, _NAME, _CANNOT)
    said: _Object = {
        "model": conversation.model,
        "max_tokens": conversation.output_tokens_max,
        "system": [text_block(text) for text in not_blank(conversation.system)] or None,
        "messages": messages_of(conversation),
        "temperature": _temperature(conversation),
        "top_p": conversation.top_p,
        "top_k": conversation.top_k,
        "stop_sequences": _stop(conversation),
        "metadata": None if conversation.user is None else {"user_id": conversation.user},
        **_tools(conversation),
        **_output(conversation),
    }
    return written(conversation, said)


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
    if BEFORE_EFFORTS.search(conversation.model):
        said = {"type": "enabled", "budget_tokens": _budget(conversation, thinking)}
    if thinking.is_shown is not None:
        said["display"] = "summarized" if thinking.is_shown else "omitted"
    return said


def _budget(conversation: Conversation, thinking: Thinking) -> int:
    """Half of the answer at most: Anthropic counts both together, and wants room for words."""
    room = (conversation.output_tokens_max or OUTPUT_TOKENS_UNASKED) // 2
    if room < BUDGET_MIN:
        path = conversation.fields["thinking"]
        why = f"a model that thinks needs an answer of at least {2 * BUDGET_MIN} tokens"
        raise inexpressible(path, _NAME, why)
    return min(room, thinking.budget_tokens or BUDGETS[thinking.effort or "medium"])
