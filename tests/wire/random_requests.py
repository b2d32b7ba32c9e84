"""Random requests of each SDK, built to its own types, of what can be translated."""

import json
from typing import Any, Literal, get_args, get_origin

import typing_extensions
from hypothesis import strategies as st

from proxy.wire.given import Refused
from proxy.wire.seals import carried
from tests.wire.sdk_types import (
    CHAT,
    MESSAGES,
    REQUESTS,
    RESPONSES,
    element_of,
    fields_of,
    is_array,
    members_of,
    required_of,
)
from tests.wire.translating import RULES, Object

_BOTH = {"text", "image", "document", "input_text", "input_image", "input_file"}
_KINDS = {
    "user": {*_BOTH, "image_url", "file", "tool_result"},
    "assistant": {"text", "refusal", "tool_use", "thinking", "redacted_thinking"}
    | {"output_text", "url_citation"},
    "system": {"text", "input_text"},
    "developer": {"text", "input_text"},
    "tool": {"text"},
    "": {*_BOTH, "function", "custom", "message", "function_call", "function_call_output"}
    | {"reasoning", "json_object", "json_schema", "summary_text", "reasoning_text", "file"},
}
"""Which kinds of objects are translated, in what each side says and elsewhere."""
_TEXTS = st.text('ab é\n"\\\U0001f600', max_size=6)
_IDS = st.from_regex(r"[a-z0-9_]{1,6}", fullmatch=True)
_SCHEMAS = st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"a": {}}}])
_SEALS = st.sampled_from(
    ["own", carried(MESSAGES, "sig/+="), carried(RESPONSES, "enc/+="), carried("ai-sdk", "x")]
)
_WEB = st.just("https://example.com/a.png")
_URLS = st.sampled_from(["https://example.com/a.png", "data:image/png;base64,AAAA"])
_NAMED: dict[str, st.SearchStrategy[Any]] = {
    "arguments": st.dictionaries(_TEXTS, _TEXTS, max_size=2).map(json.dumps),
    "budget_tokens": st.integers(1024, 99_999),
    "call_id": _IDS,
    "data": st.sampled_from(["AAAA", "YWJj"]),
    "encrypted_content": _SEALS,
    "file_data": st.sampled_from(
        ["data:application/pdf;base64,AAAA", "data:text/plain;base64,YWJj"]
    ),
    "file_url": st.just("https://example.com/a.pdf"),
    "frequency_penalty": st.just(0),
    "id": _IDS,
    "image_url": _URLS,
    "function_call": st.just("auto"),
    "include": st.just(["reasoning.encrypted_content"]),
    "input_schema": _SCHEMAS,
    "max_completion_tokens": st.integers(16, 9000),
    "max_output_tokens": st.integers(16, 9000),
    "max_tokens": st.integers(16, 9000),
    "model": st.just("m"),
    "n": st.just(1),
    "parameters": _SCHEMAS,
    "presence_penalty": st.just(0),
    "schema": _SCHEMAS,
    "signature": _SEALS,
    "stop_sequences": st.just([]),
    "temperature": st.floats(0, 1),
    "tool_call_id": _IDS,
    "tool_use_id": _IDS,
    "top_p": st.floats(0, 1),
    "url": _URLS,
    "user": st.sampled_from(["u", "u" * 65]),
    "user_id": st.sampled_from(["u", "u" * 65]),
    "verbosity": st.just("medium"),
}
"""By the name of a field: what makes sense in it, and can be said everywhere."""
_NEVER = {
    CHAT: {"max_tokens", "seed", "stop", "detail"},
    MESSAGES: {"context", "title", "citations", "caller", "allowed_callers", "speed"},
    RESPONSES: {
        "file_id",
        "file_url",
        "user",
        "generate_summary",
        "caller",
        "allowed_callers",
    },
}
"""What not everybody can say, or says twice; `test_adaptations` has it."""
_NEEDED = {"call_id", "file_data", "image_url", "input", "model", "schema", "type"}


@st.composite
def requests(draw: st.DrawFn, name: str) -> Object:
    """A valid request of the SDK `name`."""
    found: Object = draw(_objects(name, REQUESTS[name], "", ""))
    return found


def _values(name: str, kind: Any, field: str, pattern: str, role: str) -> st.SearchStrategy[Any]:
    if field in _NAMED and not any(map(typing_extensions.is_typeddict, members_of(kind))):
        return _WEB if name == MESSAGES and field == "url" else _NAMED[field]
    options: list[st.SearchStrategy[Any]] = []
    for member in members_of(kind):
        if typing_extensions.is_typeddict(member):
            if _is_translated(name, member, pattern, role):
                options.append(_objects(name, member, pattern, role))
        elif is_array(member):
            one = _values(name, element_of(member), "", f"{pattern}[]", role)
            if not one.is_empty:
                options.append(st.lists(one, min_size=1, max_size=4))
        elif get_origin(member) is Literal:
            options.append(st.sampled_from(get_args(member)))
        elif member is str:
            options.append(_TEXTS.filter(str.strip))
        elif member is bool:
            options.append(st.booleans())
        elif member is float:
            options.append(st.floats(0, 1))
        elif member is int:
            options.append(st.integers(1, 99))
        elif get_origin(member) is dict or member is object:
            options.append(st.dictionaries(_TEXTS, _TEXTS, max_size=2))
    return st.one_of(options)


def _is_translated(name: str, kind: Any, pattern: str, role: str) -> bool:
    fields = fields_of(kind)
    words = [one for member in members_of(fields.get("type")) for one in get_args(member)]
    roles = [one for member in members_of(fields.get("role")) for one in get_args(member)]
    if "function" in roles or "allowed_tools" in words or "mode" in fields:
        return False
    if pattern == "tool_choice" and name != MESSAGES:
        return words == ["function"]
    rules = RULES[name]
    if any(isinstance(rules.get(f"{pattern.removesuffix('[]')}[{one}]"), Refused) for one in words):
        return False
    if pattern.endswith("[]") and words and (not roles or name == RESPONSES):
        return bool(_KINDS[role] & set(words))
    return words not in (["file"], ["content"], ["between_tools"])


@st.composite
def _objects(draw: st.DrawFn, name: str, kind: Any, pattern: str, role: str) -> Object:
    found: Object = {}
    hints = fields_of(kind)
    if "role" in hints:
        role = draw(_values(name, hints["role"], "", "", ""))
        found["role"] = role
    for field, hint in hints.items():
        within = f"{pattern}.{field}" if pattern else field
        rule = RULES[name].get(within)
        if field in found or field in _NEVER[name]:
            continue
        if isinstance(rule, Refused) and field != "type":
            if rule.unless and draw(st.integers(0, 9)) == 0:
                found[field] = draw(st.sampled_from(rule.unless))
            continue
        if field in required_of(kind) or field in _NEEDED or draw(st.integers(0, 2)) == 0:
            values = _values(name, hint, field, within, role)
            if not values.is_empty:
                found[field] = draw(values)
    return found
