"""What the lists say is adapted, seen; and what a dialect cannot say, refused by its path."""

import hashlib
import json
from typing import Any, NamedTuple

import pytest

from proxy.errors import MalformedRequest
from proxy.wire.dialects import all_dialects
from proxy.wire.seals import carried
from tests.wire.sdk_types import CHAT, MESSAGES, RESPONSES
from tests.wire.translating import BODIES, WRITTEN, Object, reads, translates, writes

PNG = "data:image/png;base64,AAAA"
PDF = "data:application/pdf;base64,AAAA"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
NOTHING = {"type": "object", "properties": {}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
USE = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
FAILED = {"type": "tool_result", "tool_use_id": "c1", "is_error": True, "content": "no"}
DOCUMENT = {
    "type": "document",
    "title": "T",
    "source": {"type": "text", "media_type": "text/plain", "data": "words"},
}
PAGES = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
}
PICTURE: Object = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
}


def user(*parts: Object) -> Object:
    return {"role": "user", "content": list(parts)}


def text(words: str) -> Object:
    return {"type": "text", "text": words}


class Example(NamedTuple):
    """`said` by a client is what of the provider's request has the fields `sent`."""

    theirs: str
    field: str
    ours: str
    said: Object
    sent: Object


EXAMPLES = [
    Example(
        CHAT,
        "messages[].content",
        MESSAGES,
        {
            "messages": [
                {"role": "assistant", "content": [text("a"), USE, text("b")]},
                user(text("c"), text("d")),
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "a\n\nb",
                    "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "user", "content": "c\n\nd"},
            ]
        },
    ),
    Example(
        CHAT,
        "messages[].content[].file.filename",
        MESSAGES,
        {"messages": [user(PAGES)]},
        {
            "messages": [
                user({"type": "file", "file": {"filename": "document.pdf", "file_data": PDF}})
            ]
        },
    ),
    Example(
        CHAT,
        "messages[].content[].text",
        MESSAGES,
        {"messages": [user(DOCUMENT)]},
        {"messages": [{"role": "user", "content": "T\n\nwords"}]},
    ),
    Example(
        CHAT,
        "messages[].role",
        MESSAGES,
        {
            "messages": [
                user(
                    text("now"),
                    {"type": "tool_result", "tool_use_id": "c2", "content": [PICTURE]},
                    FAILED,
                )
            ]
        },
        {
            "messages": [
                {"role": "tool", "tool_call_id": "c2", "content": ""},
                {"role": "tool", "tool_call_id": "c1", "content": "Error:\n\nno"},
                user(
                    text("Result of c2:"),
                    {"type": "image_url", "image_url": {"url": PNG}},
                    text("now"),
                ),
            ]
        },
    ),
    Example(
        CHAT,
        "reasoning_effort",
        MESSAGES,
        {"thinking": {"type": "enabled", "budget_tokens": 8192}},
        {"reasoning_effort": "medium"},
    ),
    Example(
        CHAT,
        "response_format.json_schema.name",
        MESSAGES,
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    Example(
        CHAT,
        "tools",
        MESSAGES,
        {"tools": [], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"tools": None, "tool_choice": None, "parallel_tool_calls": None},
    ),
    Example(
        CHAT,
        "user",
        MESSAGES,
        {"metadata": {"user_id": "u" * 65}},
        {"user": hashlib.sha256(b"u" * 65).hexdigest()},
    ),
    Example(MESSAGES, "max_tokens", CHAT, {}, {"max_tokens": 4096}),
    Example(
        MESSAGES,
        "messages[].content",
        CHAT,
        {
            "messages": [
                {"role": "assistant", "content": " \n", "tool_calls": [CALL]},
                {"role": "user", "content": "well?"},
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
            ]
        },
        {
            "messages": [
                {"role": "assistant", "content": [USE]},
                user(
                    {"type": "tool_result", "tool_use_id": "c1", "content": [text("1")]},
                    text("well?"),
                ),
            ]
        },
    ),
    Example(
        MESSAGES,
        "messages[].content[].input",
        CHAT,
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        {"messages": [{"role": "assistant", "content": [USE]}]},
    ),
    Example(
        MESSAGES,
        "messages[].content[].source",
        CHAT,
        {
            "messages": [
                user(
                    {
                        "type": "file",
                        "file": {"filename": "T", "file_data": "data:text/plain;base64,d29yZHM="},
                    }
                )
            ]
        },
        {"messages": [user(DOCUMENT)]},
    ),
    Example(
        MESSAGES,
        "messages[].content[].text",
        CHAT,
        {"messages": [{"role": "assistant", "refusal": "No."}]},
        {"messages": [{"role": "assistant", "content": [text("No.")]}]},
    ),
    Example(
        MESSAGES,
        "messages[].role",
        CHAT,
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "developer", "content": "b"},
            ]
        },
        {"messages": [user(text("a"), text("<system>\nb\n</system>"))]},
    ),
    Example(
        MESSAGES,
        "output_config.effort",
        CHAT,
        {"reasoning_effort": "minimal"},
        {"output_config": {"effort": "low"}},
    ),
    Example(
        MESSAGES,
        "output_config.format",
        CHAT,
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": False},
            }
        },
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    Example(
        MESSAGES,
        "thinking",
        CHAT,
        {"reasoning_effort": "high"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    Example(
        MESSAGES,
        "tools",
        CHAT,
        {"tools": [], "parallel_tool_calls": False},
        {"tools": None, "tool_choice": None},
    ),
    Example(
        MESSAGES,
        "tools[].input_schema",
        CHAT,
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"name": "f", "input_schema": NOTHING}]},
    ),
    Example(
        RESPONSES,
        "include",
        CHAT,
        {"reasoning_effort": "low"},
        {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low"}},
    ),
    Example(
        RESPONSES,
        "input[].content",
        CHAT,
        {"messages": [{"role": "assistant", "content": "", "refusal": "No."}]},
        {"input": [{"type": "message", "role": "assistant", "content": "No."}]},
    ),
    Example(
        RESPONSES,
        "input[].content[].detail",
        MESSAGES,
        {"messages": [user(PICTURE)]},
        {
            "input": [
                {
                    "type": "message",
                    **user({"type": "input_image", "image_url": PNG, "detail": "auto"}),
                }
            ]
        },
    ),
    Example(
        RESPONSES,
        "input[].content[].filename",
        MESSAGES,
        {"messages": [user(PAGES)]},
        {
            "input": [
                {
                    "type": "message",
                    **user({"type": "input_file", "filename": "document.pdf", "file_data": PDF}),
                }
            ]
        },
    ),
    Example(
        RESPONSES,
        "input[].content[].text",
        MESSAGES,
        {"messages": [user(DOCUMENT)]},
        {
            "input": [
                {"type": "message", **user({"type": "input_text", "text": "T\n\nwords"})},
            ]
        },
    ),
    Example(
        RESPONSES,
        "input[].id",
        MESSAGES,
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "thinking",
                            "thinking": "hm",
                            "signature": carried(RESPONSES, "gAAA/+=:x"),
                        }
                    ],
                }
            ]
        },
        {
            "input": [
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "hm"}],
                    "encrypted_content": "gAAA/+=:x",
                }
            ]
        },
    ),
    Example(
        RESPONSES,
        "input[].output",
        MESSAGES,
        {"messages": [user(FAILED)]},
        {
            "input": [
                {
                    "type": "function_call_output",
                    "call_id": "c1",
                    "output": [
                        {"type": "input_text", "text": "Error:"},
                        {"type": "input_text", "text": "no"},
                    ],
                }
            ]
        },
    ),
    Example(RESPONSES, "max_output_tokens", CHAT, {"max_tokens": 16}, {"max_output_tokens": 16}),
    Example(
        RESPONSES,
        "reasoning.effort",
        MESSAGES,
        {"thinking": {"type": "enabled", "budget_tokens": 31_999}},
        {"reasoning": {"effort": "high"}},
    ),
    Example(
        RESPONSES,
        "reasoning.summary",
        MESSAGES,
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {"reasoning": {"summary": "auto"}},
    ),
    Example(RESPONSES, "store", CHAT, {}, {"store": False}),
    Example(
        RESPONSES,
        "text.format.name",
        MESSAGES,
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "answer",
                    "schema": SCHEMA,
                    "strict": True,
                }
            }
        },
    ),
    Example(RESPONSES, "tools", CHAT, {"tools": [], "tool_choice": "none"}, {"tool_choice": None}),
    Example(
        RESPONSES,
        "tools[].parameters",
        CHAT,
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"type": "function", "name": "f", "parameters": NOTHING, "strict": False}]},
    ),
    Example(
        RESPONSES,
        "tools[].strict",
        CHAT,
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": SCHEMA, "strict": True},
                }
            ]
        },
        {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}]},
    ),
    Example(
        RESPONSES,
        "user",
        CHAT,
        {"safety_identifier": "u" * 65},
        {"user": hashlib.sha256(b"u" * 65).hexdigest()},
    ),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.theirs} {one.field}")
def test_an_adaptation_is_as_the_list_says(example: Example) -> None:
    sent = translates(example.ours, example.theirs, {**BODIES[example.ours], **example.said})
    assert {field: sent.get(field) for field in example.sent} == example.sent


def test_every_adaptation_on_the_lists_is_seen() -> None:
    listed = {(name, field) for name, fields in WRITTEN.items() for field in fields}
    assert {(one.theirs, one.field) for one in EXAMPLES} == listed


@pytest.mark.parametrize(
    ("ours", "theirs", "said", "param"),
    [
        (CHAT, MESSAGES, {"temperature": 1.5}, "temperature"),
        (CHAT, MESSAGES, {"temperature": 3}, "temperature"),
        (CHAT, MESSAGES, {"seed": 0}, "seed"),
        (CHAT, MESSAGES, {"presence_penalty": 0.5}, "presence_penalty"),
        (CHAT, MESSAGES, {"verbosity": "low"}, "verbosity"),
        (CHAT, MESSAGES, {"stop": ["\n"]}, "stop"),
        (CHAT, MESSAGES, {"response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, MESSAGES, {"n": 2}, "n"),
        (CHAT, MESSAGES, {"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        (CHAT, RESPONSES, {"stop": "x"}, "stop"),
        (CHAT, RESPONSES, {"max_tokens": 15}, "max_tokens"),
        (MESSAGES, CHAT, {"top_k": 5}, "top_k"),
        (MESSAGES, CHAT, {"stop_sequences": list("abcde")}, "stop_sequences"),
        (MESSAGES, CHAT, {"container": "x"}, "container"),
        (MESSAGES, CHAT, {"mcp_servers": []}, "mcp_servers"),
        (RESPONSES, CHAT, {"previous_response_id": "resp_1"}, "previous_response_id"),
        (RESPONSES, CHAT, {"include": ["message.output_text.logprobs"]}, "include[0]"),
        (RESPONSES, CHAT, {"tools": [{"type": "web_search"}]}, "tools[0]"),
    ],
)
def test_what_cannot_be_said_is_refused_by_the_clients_field(
    ours: str, theirs: str, said: Object, param: str
) -> None:
    with pytest.raises(MalformedRequest) as refused:
        translates(ours, theirs, {**BODIES[ours], **said})
    assert refused.value.param == param
    assert param in str(refused.value)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[0].content[0]"),
        (
            user({"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}}),
            "messages[0].content[0].image_url.url",
        ),
        (
            user({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}),
            "messages[0].content[0]",
        ),
        (
            user({"type": "file", "file": {"file_id": "file-1"}}),
            "messages[0].content[0].file.file_id",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[1"}}],
            },
            "messages[0].tool_calls[0]",
        ),
        ({"role": "assistant", "tool_calls": [{**CALL, "id": "a b"}]}, "messages[0].tool_calls[0]"),
        ({"role": "robot", "content": "x"}, "messages[0].role"),
    ],
)
def test_a_part_that_cannot_be_said_is_refused_by_its_path(message: Object, param: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        translates(CHAT, MESSAGES, {**BODIES[CHAT], "messages": [message]})
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-sonnet-4-5-20250929", {"type": "enabled", "budget_tokens": 4000}),
        ("claude-opus-4-1", {"type": "enabled", "budget_tokens": 4000}),
        ("claude-3-7-sonnet-latest", {"type": "enabled", "budget_tokens": 4000}),
        ("anthropic.claude-sonnet-4-20250514-v1:0", {"type": "enabled", "budget_tokens": 4000}),
        ("claude-sonnet-4-6", {"type": "adaptive"}),
        ("claude-opus-5-5", {"type": "adaptive"}),
        ("some-other-model", {"type": "adaptive"}),
    ],
)
def test_models_that_know_budgets_alone_get_one_that_leaves_room(
    model: str, thinking: Object
) -> None:
    body = {**BODIES[CHAT], "model": model, "reasoning_effort": "medium", "max_tokens": 8000}
    assert translates(CHAT, MESSAGES, body)["thinking"] == thinking


def test_a_seal_comes_back_to_its_maker_byte_for_byte() -> None:
    seal = 'EqQB+/=\u00e9":x'
    thinking = {"type": "thinking", "thinking": "hm", "signature": seal}
    redacted = {"type": "redacted_thinking", "data": seal}
    detail = {"type": "reasoning.text", "text": "hm", "signature": carried(MESSAGES, seal)}
    hidden = {
        "type": "reasoning.encrypted",
        "data": carried(MESSAGES, seal, is_redacted=True),
    }
    message = {"role": "assistant", "content": "a", "reasoning_details": [detail, hidden]}
    sent = translates(CHAT, MESSAGES, {**BODIES[CHAT], "messages": [message]})
    assert sent["messages"][0]["content"] == [thinking, redacted, text("a")]
    items = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": carried(MESSAGES, seal),
        },
        {"role": "assistant", "content": "a"},
    ]
    sent = translates(RESPONSES, MESSAGES, {**BODIES[RESPONSES], "input": items})
    assert sent["messages"][0]["content"] == [thinking, text("a")]


def test_details_of_a_chat_server_come_back_to_it_as_they_were() -> None:
    details = '[{"type":"reasoning.text","text":"hm","signature":"s","format":"x","n":1.0}]'
    part = {"type": "thinking", "thinking": "hm", "signature": carried(CHAT, details)}
    body = {**BODIES[MESSAGES], "messages": [{"role": "assistant", "content": [part]}]}
    assert translates(MESSAGES, CHAT, body)["messages"] == [
        {"role": "assistant", "reasoning_details": json.loads(details)}
    ]
    part["signature"] = carried(CHAT, details[:-1])
    with pytest.raises(MalformedRequest) as refused:
        translates(MESSAGES, CHAT, body)
    assert refused.value.param == "messages[0].content[0]"


@pytest.mark.parametrize("other", [MESSAGES, RESPONSES])
def test_reasoning_of_another_maker_is_left_out(other: str) -> None:
    detail = {"type": "reasoning.text", "text": "hm", "signature": carried("ai-sdk", "x")}
    message = {"role": "assistant", "content": "a", "reasoning_details": [detail]}
    sent = translates(CHAT, other, {**BODIES[CHAT], "messages": [message]})
    assert "hm" not in json.dumps(sent)


@pytest.mark.parametrize(("ours", "theirs"), [(CHAT, MESSAGES), (MESSAGES, CHAT)])
def test_pictures_are_held_as_pictures_after_translation(ours: str, theirs: str) -> None:
    data = "A" * 400_000
    parts: dict[str, Any] = {
        CHAT: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        MESSAGES: {"type": "image", "source": {**PICTURE["source"], "data": data}},
    }
    body = {**BODIES[ours], "messages": [user(parts[ours])]}
    dialect = all_dialects()[theirs]
    asked = reads(ours, json.dumps(body).encode())
    bounded = dialect.bounded(dialect.ask_of(asked), 500)
    assert bounded.input_tokens < 10_000
    assert bounded.output_tokens == 500
    assert writes(theirs, asked)["model"] == "m"
