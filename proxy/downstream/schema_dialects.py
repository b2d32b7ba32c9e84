"""What belongs to a dialect, as JSON Schemas of the OpenAPI document: requests, answers, errors.

Described as far as the proxy reads or writes it. All else is open, because it passes unchanged.
"""

from proxy.downstream.schema_bodies import Json, record


def dialect_schemas() -> Json:
    """All of them, by name."""
    return {**_requests(), **_answers(), **_errors()}


def _open(properties: Json, *required: str, of: str) -> Json:
    """An object of somebody else's, which may have any field besides."""
    return {
        "type": "object",
        "description": f"As {of} has it; fields that are not named here pass unchanged.",
        "properties": properties,
        "required": list(required),
        "additionalProperties": True,
    }


# --- asking and answering -------------------------------------------------------------------------


def _requests() -> Json:
    """Bodies of asking, as far as the proxy reads them. What else there is is the provider's."""
    options = {
        "type": ["object", "null"],
        "properties": {
            "include_usage": {
                "type": ["boolean", "null"],
                "description": "Whether the last event before `[DONE]` tells the tokens used.",
            }
        },
    }
    tokens = {"type": "integer", "minimum": 1, "description": "The most tokens of the answer."}
    chat = _asked() | {"stream_options": options}
    messages = _asked() | {"max_tokens": tokens}
    asked = {name: shape for name, shape in _asked().items() if name != "messages"}
    response = asked | {
        "input": {"type": ["string", "array", "null"], "description": "What to answer."},
        "max_output_tokens": tokens | {"type": ["integer", "null"]},
        "background": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Whether to answer at once, with the response as it begins: the rest is "
            "there at `GET /v1/responses/{name}`. Never passed on; every answer is made without "
            "its reader. It goes on when its reader leaves, unless `Midstream-Detach` says else.",
        },
        "previous_response_id": {
            "type": ["string", "null"],
            "description": "Go on from this response of the caller's, which its provider keeps. It "
            "must still be kept here too, and the model be one of that provider's.",
        },
    }
    return {
        "ChatRequest": _open(chat, "model", "messages", of="OpenAI's Chat Completions"),
        "ResponsesRequest": _open(response, "model", of="OpenAI's Responses"),
        "MessagesRequest": _open(
            messages, "model", "messages", "max_tokens", of="Anthropic's Messages"
        ),
    }


def _asked() -> Json:
    return {
        "model": {
            "type": "string",
            "minLength": 1,
            "description": "A model of `GET /v1/models`.",
        },
        "messages": {"type": "array", "description": "The conversation so far."},
        "stream": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Whether to answer event by event, or once, with the whole answer.",
        },
    }


def _answers() -> Json:
    """Answers. Every field is the provider's, so nearly nothing is promised of them."""
    chat: Json = {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "model": {"type": "string"},
        "choices": {"type": "array"},
        "usage": {"type": ["object", "null"]},
    }
    response: Json = {
        "id": {"type": "string"},
        "object": {"const": "response"},
        "model": {"type": "string"},
        "status": {"type": "string"},
        "output": {"type": "array"},
        "error": {"type": ["object", "null"]},
        "usage": {"type": ["object", "null"]},
    }
    message: Json = {
        "id": {"type": "string"},
        "type": {"const": "message"},
        "model": {"type": "string"},
        "content": {"type": "array"},
        "stop_reason": {"type": ["string", "null"]},
        "usage": {"type": "object"},
    }
    return {
        "ChatCompletion": _open(chat, "choices", of="OpenAI's Chat Completions"),
        "Response": _open(response, "id", "status", "output", of="OpenAI's Responses"),
        "Message": _open(message, "content", of="Anthropic's Messages"),
    }


# --- errors ---------------------------------------------------------------------------------------


def _errors() -> Json:
    """The proxy's own, and what both dialects of providers have in common."""
    text: Json = {"type": "string"}
    maybe: Json = {"type": ["string", "null"]}
    openai = record({"message": text, "type": text, "param": maybe, "code": text})
    details = record({"error_code": text})
    anthropic = record({"type": text, "message": text, "details": details})
    whole = {"type": {"const": "error"}, "error": anthropic, "request_id": text}
    passed_on = record({"error": {"type": ["object", "string"]}})
    return {
        "OpenAIError": record({"error": openai}) | {"description": "`code` is the exact reason."},
        "AnthropicError": record(whole) | {"description": "`error_code` is the exact reason."},
        "ProviderError": passed_on | {"description": "What the provider said, unchanged."},
    }
