"""Requests of one dialect, as a provider of another gets them."""

import json
from collections.abc import Mapping
from typing import Any

import proxy.wire.chat.fields
import proxy.wire.messages.fields
import proxy.wire.responses.fields
from proxy.errors import MalformedRequest
from proxy.wire.conversation import Conversation
from proxy.wire.dialects import all_dialects
from proxy.wire.given import Rules
from tests.wire.sdk_types import CHAT, MESSAGES, REQUESTS, RESPONSES, problems

Object = dict[str, Any]
PAIRS = [(ours, theirs) for ours in REQUESTS for theirs in REQUESTS if ours != theirs]
RULES: Mapping[str, Rules] = {
    CHAT: proxy.wire.chat.fields.RULES,
    MESSAGES: proxy.wire.messages.fields.RULES,
    RESPONSES: proxy.wire.responses.fields.RULES,
}
READ = {
    CHAT: proxy.wire.chat.fields.READ,
    MESSAGES: proxy.wire.messages.fields.READ,
    RESPONSES: proxy.wire.responses.fields.READ,
}
WRITTEN = {
    CHAT: proxy.wire.chat.fields.WRITTEN,
    MESSAGES: proxy.wire.messages.fields.WRITTEN,
    RESPONSES: proxy.wire.responses.fields.WRITTEN,
}
_SAID = {"role": "user", "content": "Say something."}
_SCHEMA = {"type": "object"}
BODIES: Mapping[str, Object] = {
    CHAT: {
        "model": "m",
        "stream": True,
        "messages": [_SAID],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}],
    },
    MESSAGES: {
        "model": "m",
        "stream": True,
        "max_tokens": 2000,
        "messages": [_SAID],
        "tools": [{"name": "f", "input_schema": _SCHEMA}],
    },
    RESPONSES: {
        "model": "m",
        "stream": True,
        "input": [_SAID],
        "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA, "strict": False}],
    },
}
"""A small request of each dialect, with a tool, so that what is said of tools has a meaning."""
_BEYOND = {
    CHAT: {"reasoning_content", "reasoning_details"},
    MESSAGES: {"temperature", "top_p", "top_k"},
    RESPONSES: set(),
}


def reads(name: str, body: bytes) -> Conversation:
    """What a client asks in the dialect `name`."""
    dialect = all_dialects()[name]
    return dialect.conversation(dialect.read_ask(body))


def writes(name: str, conversation: Conversation) -> Object:
    """What a provider that speaks `name` is asked, without what is asked of it in any dialect."""
    dialect = all_dialects()[name]
    body = dialect.upstream_body(dialect.ask_of(conversation), conversation.model)
    found: Object = json.loads(body)
    found.pop("stream_options", None)
    return found


def translates(ours: str, theirs: str, body: Object) -> Object:
    """A client's request, as the provider gets it: checked to be what its SDK's types say."""
    found = writes(theirs, reads(ours, json.dumps(body).encode()))
    wrong = problems(_as_typed(theirs, found), REQUESTS[theirs])
    assert not wrong, (wrong, found)
    return found


def outcome(ours: str, theirs: str, body: Object) -> Object | MalformedRequest:
    """The same, or how it is refused."""
    try:
        return translates(ours, theirs, body)
    except MalformedRequest as error:
        return error


def _as_typed(name: str, body: Object) -> Object:
    """Without what other servers of a dialect have, or its older version, in which we ask; and
    with the ids of reasoning, which OpenAI's own clients do not give back either.
    """
    typed = {key: value for key, value in body.items() if key not in _BEYOND[name]}
    if name == RESPONSES and isinstance(body["input"], list):
        typed["input"] = [
            {"id": "", **item} if item["type"] == "reasoning" else item for item in body["input"]
        ]
    if name == CHAT:
        typed["messages"] = [
            {key: value for key, value in message.items() if key not in _BEYOND[name]}
            for message in body["messages"]
        ]
    return typed
