"""The fields of a chat completion's request that are not simply the same in other dialects.

`RULES` are those that no other dialect can say; `READ` says what is adapted of a client's, and
`WRITTEN` what is adapted for a provider. Every other field of the SDK's is translated as it is:
tests hold that against the SDK's types.
"""

from collections.abc import Mapping

from proxy.wire.given import LeftOut, Refused, Rules

_CACHED = LeftOut("other providers cache by rules of their own")
_AUDIO = Refused("it asks for audio")
_CUSTOM = Refused("it is a custom tool; only functions are translated")
_OLD = Refused("functions are `tools` now, and their results messages of the role `tool`")
_PARSED = LeftOut("the SDK has read it out of the words beside it")
_BESIDE_USER = LeftOut("it names the user again: `safety_identifier` counts")

RULES: Rules = {
    "audio": _AUDIO,
    "function_call": Refused("functions are `tools` now", unless=("none", "auto")),
    "functions": Refused("functions are `tools` now", unless=([],)),
    "logit_bias": Refused("tokens have other numbers there", unless=({},)),
    "logprobs": Refused("log probabilities are not translated", unless=(False,)),
    "metadata": LeftOut("it labels what OpenAI keeps; `Midstream-Tag` labels a stream"),
    "modalities": Refused("answers of other dialects are text", unless=(["text"], [])),
    "moderation": Refused("only OpenAI moderates by request"),
    "n": Refused("an answer of another dialect is one", unless=(1,)),
    "prediction": LeftOut("it makes an answer faster, and no other"),
    "prompt_cache_key": _CACHED,
    "prompt_cache_options": _CACHED,
    "prompt_cache_retention": _CACHED,
    "service_tier": Refused("it is OpenAI's", unless=("auto", "default")),
    "store": Refused("it asks OpenAI to keep the answer", unless=(False,)),
    "stream_options.include_obfuscation": LeftOut("what is translated is never padded"),
    "top_logprobs": Refused("log probabilities are not translated", unless=(0,)),
    "user": _BESIDE_USER,
    "web_search_options": Refused("the search is OpenAI's own"),
    "messages[function]": _OLD,
    "messages[].audio": Refused("only OpenAI knows what it said before"),
    "messages[].function_call": _OLD,
    "messages[].annotations": LeftOut("what a text rested on is not told again"),
    "messages[].parsed": _PARSED,
    "messages[].tool_calls[].function.parsed_arguments": _PARSED,
    "messages[].tool_calls[].index": LeftOut("calls stand in their order"),
    "messages[].name": Refused("other dialects have no names for who speaks"),
    "messages[].content[input_audio]": Refused("other dialects have no audio in a conversation"),
    "messages[].content[].file.file_id": Refused("a file's id is known to its provider alone"),
    "messages[].content[].prompt_cache_breakpoint": _CACHED,
    "messages[].tool_calls[custom]": _CUSTOM,
    "tools[custom]": _CUSTOM,
    "tool_choice.allowed_tools": Refused("offer only these as `tools`"),
    "tool_choice.custom": _CUSTOM,
}

READ: Mapping[str, str] = {
    "max_tokens": "the same as `max_completion_tokens`; refused if both are there and differ",
    "messages[].content[].image_url.detail": "left out for Anthropic, which has none",
    "messages[].reasoning_content": "given back to chat servers; left out for others",
    "messages[].reasoning_details": "what is sealed goes back to its maker; left out for others",
    "messages[].role": "`developer` is `system`; before the first turn it is the system prompt",
    "parallel_tool_calls": "left out where no tool is offered, or none may be called",
    "response_format": "`text` is what is so without it",
    "stream_options.include_usage": "done here, for every provider",
    "tool_choice": "left out where no tool is offered",
    "user": "the same as `safety_identifier`, which counts if both are there",
    "verbosity": "`medium` is left out for Anthropic, and others are refused",
}
"""What is adapted of a client's request."""

WRITTEN: Mapping[str, str] = {
    "messages[].content": "texts of one message are one string, with a blank line between; what an "
    "assistant says between calls of tools stands before them",
    "messages[].content[].file.filename": "`document` or `document.pdf`, if there is none",
    "messages[].content[].text": "a document of plain text is a text, after its title",
    "messages[].role": "tools' results come first after an answer; pictures in one follow all of "
    "them, in a message of the user's; a result that is an error begins with `Error:`",
    "reasoning_effort": "a budget up to 2,048 tokens is `low`, up to 8,192 `medium`, else `high`; "
    "thinking that is adaptive is left to the model; whether it is shown is left to the server",
    "response_format.json_schema.name": "`answer`, if there is none",
    "tools": "without tools nothing is said of how they are chosen",
    "user": "longer than 64 characters: its SHA-256",
}
"""What is adapted for a provider."""
