"""An SDK asks a provider that speaks another dialect: what reaches it, and how it is refused."""

import base64

import anthropic
import openai
import pytest

from tests.clients.aimock import Aimock
from tests.clients.conftest import APP_KEY
from tests.server import Served

_PNG = base64.b64encode(bytes(100)).decode()
_SCHEMA: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
_SAID = {"content": "Sunny."}


def test_the_openai_sdk_reaches_an_anthropic_provider(mocked: Served, aimock: Aimock) -> None:
    aimock.answers("across.anthropic", _SAID)
    client = openai.OpenAI(base_url=f"{mocked.url}/v1", api_key=APP_KEY, max_retries=0)
    answer = client.chat.completions.create(
        model="mock.anthropic/across.anthropic",
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Like this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}},
                ],
            },
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
        ],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": _SCHEMA}}],
        temperature=0.5,
    )
    assert answer.choices[0].message.content == "Sunny."
    (sent,) = aimock.calls("across.anthropic")
    assert sent["path"] == "/v1/messages"
    assert sent["headers"]["anthropic-version"] == "2023-06-01"
    body = sent["body"]  # in aimock's words, which are those of Chat
    assert body["max_tokens"] == 4096
    assert body["temperature"] == 0.5
    assert [one["role"] for one in body["messages"]] == ["system", "user", "assistant", "tool"]
    (called,) = body["messages"][2]["tool_calls"]
    assert called["id"] == body["messages"][3]["tool_call_id"] == "call_1"


def test_the_responses_sdk_reaches_an_anthropic_provider(mocked: Served, aimock: Aimock) -> None:
    aimock.answers("items.anthropic", _SAID)
    client = openai.OpenAI(base_url=f"{mocked.url}/v1", api_key=APP_KEY, max_retries=0)
    answer = client.responses.create(
        model="mock.anthropic/items.anthropic",
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "Weather?"},
            {
                "type": "function_call",
                "call_id": "call_1",
                "name": "weather",
                "arguments": '{"city": "Oslo"}',
            },
            {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
        ],
        max_output_tokens=300,
    )
    assert answer.output_text == "Sunny."
    (sent,) = aimock.calls("items.anthropic")
    assert sent["path"] == "/v1/messages"
    assert sent["body"]["max_tokens"] == 300
    roles = [one["role"] for one in sent["body"]["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]


def test_the_anthropic_sdk_reaches_an_openai_provider(mocked: Served, aimock: Aimock) -> None:
    aimock.answers("across.openai", _SAID)
    client = anthropic.Anthropic(base_url=mocked.url, api_key=APP_KEY, max_retries=0)
    answer = client.messages.create(
        model="mock.openai/across.openai",
        max_tokens=500,
        system="Be brief.",
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[{"name": "weather", "input_schema": _SCHEMA}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    (said,) = answer.content
    assert said.type == "text"
    assert said.text == "Sunny."
    (sent,) = aimock.calls("across.openai")
    assert sent["path"] == "/v1/chat/completions"
    body = sent["body"]
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
    ]
    assert body["max_completion_tokens"] == 500
    assert body["tool_choice"] == "auto"
    assert body["parallel_tool_calls"] is False


def test_what_cannot_be_said_is_a_400_of_the_clients_own_sdk(
    mocked: Served, aimock: Aimock
) -> None:
    client = openai.OpenAI(base_url=f"{mocked.url}/v1", api_key=APP_KEY, max_retries=0)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="mock.anthropic/refused",
            messages=[{"role": "user", "content": "x"}],
            n=2,
        )
    assert refused.value.param == "n"
    assert not aimock.calls("refused")
