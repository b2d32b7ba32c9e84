"""The fields of an Anthropic message's request that no other dialect can say, and why.

Every field of the SDK's that does not stand here is translated, by `messages.reading`. A test
holds that against the SDK's types.
"""

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
    "[].caller": _CALLER,
    "[].citations": _CITED,
    "[].context": Refused("other dialects have documents without a context"),
    "[].source.content": Refused("only a text is translated, not its blocks"),
    "[].source.file_id": _FILE,
    "[].toolset_name": _TOOLSET,
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
    **{f"messages[].content{field}": rule for field, rule in _PARTS.items()},
    **{f"messages[].content[].content{field}": rule for field, rule in _PARTS.items()},
}
