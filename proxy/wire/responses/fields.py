"""The fields of a Responses request that are not simply the same in other dialects.

See `chat.fields`: what stands in `RULES`, `READ` and `WRITTEN` is of the same kinds.
"""

from collections.abc import Mapping

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
    "tool_choice": Refused("only functions are translated"),
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

READ: Mapping[str, str] = {
    "include": "sealed reasoning is told always; what is of OpenAI's own tools is never there",
    "input[].content": "the words of reasoning are told where there is no summary of it",
    "input[].content[].detail": "left out for Anthropic, which has none",
    "input[].encrypted_content": "reasoning goes back to its maker; left out for others",
    "input[].output[].detail": "left out for Anthropic, which has none",
    "input[].role": "`developer` is `system`; before the first turn it is the system prompt",
    "input[].summary": "given back to chat servers if it has no seal; left out for others",
    "input[].type": "an item with a role is a message",
    "parallel_tool_calls": "left out where no tool is offered, or none may be called",
    "reasoning.generate_summary": "the same as `summary`",
    "reasoning.summary": "every word for it asks Anthropic for a summary; left out for Chat",
    "text.format": "`text` is what is so without it",
    "text.format.strict": "a schema is always strict with Anthropic",
    "text.verbosity": "`medium` is left out for Anthropic, and others are refused",
    "tool_choice": "left out where no tool is offered",
    "user": "the same as `safety_identifier`, which counts if both are there",
}
"""What is adapted of a client's request."""

WRITTEN: Mapping[str, str] = {
    "include": "`reasoning.encrypted_content`, where the model is to reason",
    "input[].content": "a refusal is told as its words; an assistant's empty texts are left out",
    "input[].content[].detail": "`auto`, if nothing is said of a picture",
    "input[].content[].filename": "`document` or `document.pdf`, if there is none",
    "input[].content[].text": "a document of plain text is a text, after its title",
    "input[].id": "reasoning goes back without the id that it had",
    "input[].output": "a result that is an error begins with `Error:`",
    "max_output_tokens": "less than 16 is refused",
    "reasoning.effort": "a budget up to 2,048 tokens is `low`, up to 8,192 `medium`, else `high`; "
    "thinking that is adaptive is left to the model",
    "reasoning.summary": "`auto`, if thinking is to be shown",
    "store": "false: in the other dialects nobody asks for it",
    "text.format.name": "`answer`, if there is none",
    "tools": "without tools nothing is said of how they are chosen",
    "tools[].parameters": "an object without properties, if there is none",
    "tools[].strict": "false, if nothing is said: elsewhere that is what is so without a word",
    "user": "longer than 64 characters: its SHA-256",
}
"""What is adapted for a provider."""
