"""The fields of a Responses request that no other dialect can say, and why.

Every field of the SDK's that does not stand here is translated, by `responses.reading`, or done
here for every provider (`background`). A test holds that against the SDK's types.
"""

from proxy.wire.given import LeftOut, Refused, Rules

_ALWAYS = LeftOut("it is done here, for every provider")
_BESIDE_USER = LeftOut("it names the user again: `safety_identifier` counts")
_CACHED = LeftOut("other providers cache by rules of their own")
_CALLER = Refused("only OpenAI's own programs call tools", unless=(["direct"], {"type": "direct"}))
_CUSTOM = Refused("it is a custom tool; only functions are translated")
_FILE = Refused("a file's id is known to its provider alone")
_HOSTED = Refused("it is of a tool that is no function")
_ID = LeftOut("it names what only OpenAI keeps")
_KEPT = Refused("it names what only OpenAI keeps")
_STATUS = LeftOut("what is given back is as it is")

_WORDS: Rules = {
    "[].prompt_cache_breakpoint": _CACHED,
    "[].detail": LeftOut("no other dialect says how closely to look at a document"),
    "[].file_id": _FILE,
}
"""Of what a message holds, and a function's result."""

RULES: Rules = {
    "access_programs": _KEPT,
    "background": _ALWAYS,
    "background_options": Refused("other providers answer at once", unless=({},)),
    "context_management": Refused("other providers do not shorten a conversation", unless=([],)),
    "conversation": _KEPT,
    "image": Refused("it is OpenAI's"),
    "include[]": Refused("answers of other dialects do not have it"),
    "max_tool_calls": LeftOut("it counts calls of OpenAI's own tools, of which there are none"),
    "metadata": LeftOut("it labels what OpenAI keeps; `Midstream-Tag` labels a stream"),
    "moderation": Refused("only OpenAI moderates by request"),
    "previous_response_id": Refused("only OpenAI keeps what was said before; send it again"),
    "prompt": _KEPT,
    "prompt_cache_key": _CACHED,
    "prompt_cache_options": _CACHED,
    "prompt_cache_retention": _CACHED,
    "reasoning.context": Refused("it is OpenAI's", unless=("auto",)),
    "reasoning.mode": Refused("it is OpenAI's", unless=("standard",)),
    "service_tier": Refused("it is OpenAI's", unless=("auto", "default")),
    "store": LeftOut("every answer is kept here for as long as its stream is"),
    "stream_options.include_obfuscation": LeftOut("what is translated is never padded"),
    "top_logprobs": Refused("log probabilities are not translated", unless=(0,)),
    "truncation": Refused("other providers do not shorten a conversation", unless=("disabled",)),
    "user": _BESIDE_USER,
    "tool_choice.type": Refused("only functions are translated"),
    "tools[]": _HOSTED,
    "tools[custom]": _CUSTOM,
    "tools[].allowed_callers": _CALLER,
    "tools[].async": Refused("other models wait for their tools", unless=(False,)),
    "tools[].defer_loading": Refused("other dialects offer all tools at once", unless=(False,)),
    "tools[].output_schema": Refused("other dialects do not say what a tool gives"),
    "input[]": _HOSTED,
    "input[item_reference]": _KEPT,
    "input[custom_tool_call]": _CUSTOM,
    "input[custom_tool_call_output]": _CUSTOM,
    "input[].async": Refused("other models wait for their tools", unless=(False,)),
    "input[].caller": _CALLER,
    "input[].id": _ID,
    "input[].name": LeftOut("the call that is answered has the name"),
    "input[].namespace": Refused("other dialects have no namespaces of tools"),
    "input[].phase": LeftOut("other dialects do not say which part of an answer is the last"),
    "input[].status": _STATUS,
    "input[].content[].annotations": LeftOut("what a text rested on is not told again"),
    "input[].content[].logprobs": LeftOut("how likely a text was is not told again"),
    **{f"input[].content{field}": rule for field, rule in _WORDS.items()},
    **{f"input[].output{field}": rule for field, rule in _WORDS.items()},
}
