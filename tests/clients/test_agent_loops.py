"""The SDKs' own loops of a model and its tools, with a provider that speaks another dialect.

Two steps: the model calls two tools at once, gets what they gave, and answers.
"""

import json
from collections.abc import Sequence
from typing import Any

import anthropic
import openai
import pytest
from anthropic import beta_tool

from tests.clients.aimock import Aimock, fixture
from tests.clients.conftest import APP_KEY
from tests.clients.hearing import Question
from tests.clients.sdks import Sdks
from tests.server import Served

ANSWER = "In Zürich it is 21 °C, and noon."
CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city":"Zürich"}'},
    {"id": "call_2", "name": "clock", "arguments": "{}"},
]
GIVEN = {"weather": "21 °C in Zürich", "clock": "noon"}
QUESTION = "How is it in Zürich?"


class Room:
    """The proxy, and a model behind it that plays its two steps."""

    def __init__(self, served: Served, aimock: Aimock, provider: str, name: str) -> None:
        self.url = served.url
        self.model = f"mock.{provider}/{name}"
        self._aimock = aimock
        self._name = name
        aimock.answers_all(
            [
                fixture(name, {"toolCalls": CALLS}, turn=0, chunkSize=7),
                fixture(name, {"content": ANSWER}, turn=1, chunkSize=7),
            ]
        )

    def results(self) -> dict[str, str]:
        """What the provider was given back, as aimock understands its dialect: by the call."""
        first, second = self._aimock.calls(self._name)
        assert first["response"]["status"] == second["response"]["status"] == 200
        messages: Sequence[Any] = second["body"]["messages"]
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
        assert [call["function"]["name"] for call in calls] == ["weather", "clock"]
        assert [json.loads(call["function"]["arguments"]) for call in calls] == [
            {"city": "Zürich"},
            {},
        ]
        return {
            message["tool_call_id"]: message["content"]
            for message in messages
            if message["role"] == "tool"
        }


EXPECTED = {call["id"]: GIVEN[call["name"]] for call in CALLS}


@beta_tool
def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: Its name.
    """
    return f"21 °C in {city}"


@beta_tool
def clock() -> str:
    """The time."""
    return "noon"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_anthropics_tool_runner_with_an_openai(
    is_streamed: bool, mocked: Served, aimock: Aimock
) -> None:
    room = Room(mocked, aimock, "openai", f"loop.anthropic.{is_streamed}")
    with anthropic.Anthropic(base_url=room.url, api_key=APP_KEY, max_retries=0) as client:
        asked: Any = {
            "model": room.model,
            "max_tokens": 1024,
            "tools": [weather, clock],
            "messages": [{"role": "user", "content": QUESTION}],
        }
        if is_streamed:
            streams = client.beta.messages.tool_runner(**asked, stream=True)
            finals = [stream.get_final_message() for stream in streams]
        else:
            finals = list(client.beta.messages.tool_runner(**asked))
    assert [final.stop_reason for final in finals] == ["tool_use", "end_turn"]
    assert [block.text for block in finals[-1].content if block.type == "text"] == [ANSWER]
    assert room.results() == EXPECTED


def test_a_loop_of_openais_chat_with_an_anthropic(mocked: Served, aimock: Aimock) -> None:
    room = Room(mocked, aimock, "anthropic", "loop.chat")
    tools: Any = [
        openai.pydantic_function_tool(kind, name=name)
        for kind, name in ((Weather, "weather"), (Clock, "clock"))
    ]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    with openai.OpenAI(base_url=f"{room.url}/v1", api_key=APP_KEY, max_retries=0) as client:
        for _ in range(3):
            with client.chat.completions.stream(
                model=room.model, messages=messages, tools=tools
            ) as stream:
                choice = stream.get_final_completion().choices[0]
            messages.append(choice.message)
            if choice.finish_reason != "tool_calls":
                break
            for call in choice.message.tool_calls or ():
                assert isinstance(call.function.parsed_arguments, Weather | Clock)
                given = GIVEN[call.function.name]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": given})
    assert choice.message.content == ANSWER
    assert len(messages) == 5
    assert room.results() == EXPECTED


class Weather(openai.BaseModel):
    city: str


class Clock(openai.BaseModel):
    pass


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_loop_of_openais_responses_with_either(
    provider: str, mocked: Served, aimock: Aimock
) -> None:
    room = Room(mocked, aimock, provider, f"loop.responses.{provider}")
    tools: Any = [
        {"type": "function", "name": name, "parameters": kind.model_json_schema(), "strict": False}
        for kind, name in ((Weather, "weather"), (Clock, "clock"))
    ]
    said: list[Any] = [{"role": "user", "content": QUESTION}]
    with openai.OpenAI(base_url=f"{room.url}/v1", api_key=APP_KEY, max_retries=0) as client:
        for _ in range(3):
            with client.responses.stream(
                model=room.model, input=said, tools=tools, store=False
            ) as stream:
                for _event in stream:
                    pass
                response = stream.get_final_response()
            said += response.output
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                break
            said += [
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": GIVEN[call.name],
                }
                for call in calls
            ]
    assert response.output_text == ANSWER
    assert room.results() == EXPECTED


@pytest.mark.parametrize(("kind", "provider"), [("openai", "anthropic"), ("anthropic", "openai")])
def test_the_node_sdks_runners_with_the_other_provider(
    kind: Any, provider: str, sdks: Sdks, mocked: Served, aimock: Aimock
) -> None:
    room = Room(mocked, aimock, provider, f"loop.node.{kind}")
    body = {"model": room.model, "text": QUESTION, "given": GIVEN}
    (heard,) = sdks["node"](kind, mocked.url, [Question("agent", body)], key=APP_KEY)
    assert heard.error is None, heard.error
    assert heard.final == ANSWER
    assert room.results() == EXPECTED
