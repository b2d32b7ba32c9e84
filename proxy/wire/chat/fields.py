"""The fields of a chat completion's request that no other dialect can say, and why.

Every field of the SDK's that does not stand here is translated, by `chat.reading`. A test holds
that against the SDK's types.
"""

from proxy.wire.given import LeftOut, Refused, Rules

_CACHED = LeftOut("other providers cache by rules of their own")
_AUDIO = Refused("it asks for audio")
_CUSTOM = Refused("it is a custom tool; only functions are translated")
_OLD = Refused("functions are `tools` now, and their results messages of the role `tool`")
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
    "messages[].name": Refused("other dialects have no names for who speaks"),
    "messages[].content[input_audio]": Refused("other dialects have no audio in a conversation"),
    "messages[].content[].file.file_id": Refused("a file's id is known to its provider alone"),
    "messages[].content[].prompt_cache_breakpoint": _CACHED,
    "messages[].tool_calls[custom]": _CUSTOM,
    "tools[custom]": _CUSTOM,
    "tool_choice.allowed_tools": Refused("offer only these as `tools`"),
    "tool_choice.custom": _CUSTOM,
}
