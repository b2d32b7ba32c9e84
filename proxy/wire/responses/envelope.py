"""The response object around a translated answer, without its items.

Owns what of it the client's own request says, and what OpenAI would say where that is silent: the
SDKs' types want those fields.
"""

from collections.abc import Mapping

from proxy.stream import Usage
from proxy.wire.answer import Making
from proxy.wire.json_text import ABSENT
from proxy.wire.responses.ids import response_id

_SAID_AGAIN: Mapping[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Fields of a request that its response says again, and what stands for silence."""


def envelope(making: Making) -> dict[str, object]:
    """The response as it begins."""
    asked = making.fields
    return {
        "id": response_id(making.stream),
        "object": "response",
        "created_at": int(making.created_at),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": making.model,
        "output": [],
        "usage": None,
        **{
            name: silent if (said := asked.get(name, ABSENT)) == ABSENT else said
            for name, silent in _SAID_AGAIN.items()
        },
    }


def usage_object(usage: Usage) -> dict[str, object]:
    """All counts: those that nobody has told are zero, as the SDKs' types want them."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
