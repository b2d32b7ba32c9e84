"""The fields of an Anthropic message's request that are not simply the same in other dialects.

See `chat.fields`: what stands in `RULES`, `READ` and `WRITTEN` is of the same kinds.
"""

from collections.abc import Mapping

from proxy.wire.given import LeftOut, Refused, Rules

_CACHED = LeftOut("other providers cache by rules of their own")
_CITED = LeftOut("what a text rested on is not told again")
_CITE = Refused(
    "answers of other dialects cite nothing of the request", unless=({"enabled": False},)
)
_CALLER = Refused("only Anthropic's own tools call tools", unless=(["direct"], {"type": "direct"}))
_FILE = Refused("a file's id is known to its provider alone")
_LATE = Refused("other dialects offer all tools at once", unless=(False,))
_SERVER = Refused("it is of a tool that Anthropic runs")
_TOOLSET = Refused("it is of a set of tools that Anthropic has trained its models for")

_PARTS: Rules = {
    "[]": _SERVER,
    "[container_upload]": _FILE,
    "[search_result]": Refused("other dialects have no search results in a conversation"),
    "[].cache_control": _CACHED,
    "[].citations": _CITED,
    "[].context": Refused("other dialects have documents without a context"),
    "[].source.content": Refused("only a text is translated, not its blocks"),
    "[].source.file_id": _FILE,
    "[].transformations": Refused("other dialects do not say how to scale a picture"),
    "[document].citations": _CITE,
}
"""Of what a message holds, and a tool's result."""

RULES: Rules = {
    "cache_control": _CACHED,
    "container": Refused("containers are Anthropic's own"),
    "context_management": Refused("other providers do not edit a conversation"),
    "diagnostics": Refused("other providers do not say why a cache was missed"),
    "inference_geo": Refused("other providers are not told where to work"),
    "mcp_servers": _SERVER,
    "service_tier": LeftOut("other providers have no capacity that was bought before"),
    "thinking.type": Refused("other models do not say where they think"),
    "speed": Refused("it is Anthropic's", unless=("standard",)),
    "thread": Refused("only Anthropic holds a conversation; its SDKs go on without"),
    "user_profile_id": Refused("it is of an account at Anthropic"),
    "workspace_id": Refused("it is of an account at Anthropic"),
    "system[].cache_control": _CACHED,
    "system[].citations": _CITED,
    "tools[]": _TOOLSET,
    "tools[].allowed_callers": _CALLER,
    "tools[].cache_control": _CACHED,
    "tools[].defer_loading": _LATE,
    "tools[].eager_input_streaming": LeftOut("it changes when arguments come, not what they are"),
    "tools[].input_examples": Refused("other dialects have no examples of a tool's input"),
    "messages[].content[].caller": _CALLER,
    "messages[].content[].toolset_name": _TOOLSET,
    **{f"messages[].content{field}": rule for field, rule in _PARTS.items()},
    **{f"messages[].content[].content{field}": rule for field, rule in _PARTS.items()},
}

READ: Mapping[str, str] = {
    "messages[].content[].signature": "thinking goes back to its maker; left out for others",
    "messages[].content[].data": "thinking goes back to its maker; left out for others",
    "messages[].content[].thinking": "given back to chat servers if it has no signature",
    "messages[].role": "`system` before the first turn is part of the system prompt; an "
    "assistant's turn at the end is told as one, but few other models go on with it",
    "output_config.format": "a schema is always strict",
    "thinking": "an effort in `output_config` counts for more than a budget",
    "thinking.budget_tokens": "up to 2,048 it is the effort `low`, up to 8,192 `medium`, else "
    "`high`; left out beside an effort",
    "thinking.display": "`summarized` asks Responses for a summary; else left out",
    "tool_choice": "left out where no tool is offered",
    "tool_choice.disable_parallel_tool_use": "left out where no tool is offered",
    "tools[].type": "`custom` is what is so without it",
}
"""What is adapted of a client's request."""

WRITTEN: Mapping[str, str] = {
    "max_tokens": "4,096, if the client and its quota say none",
    "messages[].content": "texts of nothing but white space are left out; tools' results come "
    "first in a turn; turns of one side in a row are one message",
    "messages[].content[].input": "no arguments are an empty object",
    "messages[].content[].source": "a document that is plain text in base64 is told as the text",
    "messages[].content[].text": "a refusal is told as its words",
    "messages[].role": "an instruction in the middle is told by the user, in `<system>` tags; an "
    "assistant's turn at the end is one that older models go on with, and newer ones refuse",
    "output_config.effort": "`minimal` is `low`",
    "output_config.format": "a schema's name is left out; it is strict whatever is asked",
    "thinking": "`adaptive`, with an effort; of models that know budgets alone (Claude 2 to 4.5) "
    "1,024 tokens for `minimal`, 2,048 for `low`, 8,192 for `medium`, 16,384 for `high`, 32,768 "
    "for `xhigh`, 65,536 for `max`, but never more than half of `max_tokens`",
    "tools": "without tools nothing is said of how they are chosen",
    "tools[].input_schema": "an object without properties, if there is none",
}
"""What is adapted for a provider."""
