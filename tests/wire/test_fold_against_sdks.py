"""The recordings through the real SDKs: their accumulators against ours.

No network: the SDKs' HTTP client is given a transport that answers a streamed call with an
event stream, and an unstreamed one with what was folded of it.
"""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from proxy.errors import ProviderTruncated
from proxy.stream import Ending, Event
from proxy.wire.dialects import all_dialects
from proxy.wire.sse import encode, encode_batch, encode_first
from tests.wire import recorded

DIALECTS = all_dialects()
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
"""By the helper of responses, of an item of a type that it does not know."""


def client(stream: bytes, answer: bytes) -> httpx2.Client:
    def respond(request: httpx2.Request) -> httpx2.Response:
        is_streamed = json.loads(request.content).get("stream")
        kind = "text/event-stream" if is_streamed else "application/json"
        body = stream if is_streamed else answer
        return httpx2.Response(200, headers={"content-type": kind}, content=body)

    return httpx2.Client(transport=httpx2.MockTransport(respond))


def dump(model: Any) -> Any:
    return model.model_dump(mode="json", warnings=False)


def chat_by_sdk(stream: bytes, answer: bytes) -> tuple[Any, Any]:
    """What the SDK's stream helper puts together, and what it reads of our fold."""
    with openai.OpenAI(
        api_key="k", base_url="http://test/v1", http_client=client(stream, answer)
    ) as sdk:
        with sdk.chat.completions.stream(model="m", messages=[]) as helper:
            helper.until_done()
            # Not get_final_completion(), which raises when the answer was cut by length.
            streamed = helper.current_completion_snapshot
        return dump(streamed), dump(sdk.chat.completions.create(model="m", messages=[]))


def response_by_sdk(stream: bytes, answer: bytes) -> tuple[Any, Any]:
    """The helper has no final response of one that is incomplete: its last event has it."""
    with openai.OpenAI(
        api_key="k", base_url="http://test/v1", http_client=client(stream, answer)
    ) as sdk:
        with sdk.responses.stream(model="m", input="x") as helper:
            last = list(helper)[-1]
            assert last.type in {"response.completed", "response.incomplete"}
            streamed = last.response
        return dump(streamed), dump(sdk.responses.create(model="m", input="x"))


def message_by_sdk(stream: bytes, answer: bytes) -> tuple[Any, Any]:
    with anthropic.Anthropic(
        api_key="k", base_url="http://test", http_client=client(stream, answer)
    ) as sdk:
        with sdk.messages.stream(model="m", messages=[], max_tokens=1) as helper:
            streamed = helper.get_final_message()
        return dump(streamed), dump(sdk.messages.create(model="m", messages=[], max_tokens=1))


def without_chat_quirks(name: str, streamed: Any, folded: Any) -> None:
    """Take out where the OpenAI helper differs from an unstreamed answer by design or fault."""
    for choice in streamed["choices"]:
        # Fields of the helper's own model, for structured output.
        assert choice["message"].pop("parsed") is None
        for call in choice["message"]["tool_calls"] or ():
            assert call["function"].pop("parsed_arguments") is None
            # An unstreamed answer has no index in its calls, the helper leaves it in.
            del call["index"]
    if name == "azure.chat.sse":
        # The helper skips a chunk whose object is empty, and so Azure's first.
        assert folded.pop("prompt_filter_results")
        # It keeps a choice's unknown fields as they were in the first chunk, here empty.
        streamed["choices"][0].pop("content_filter_results")
        assert folded["choices"][0].pop("content_filter_results")
    if name == "unknown.chat.sse":
        # It adds a role that the server repeats to itself.
        assert streamed["choices"][0]["message"].pop("role") == "assistantassistant"
        assert folded["choices"][0]["message"].pop("role") == "assistant"
        # It keeps a choice's unknown fields as they were in the first chunk,
        assert streamed["choices"][0].pop("native_finish_reason") is None
        assert folded["choices"][0].pop("native_finish_reason") == "end_turn"
        # and of the unknown ones at the top knows only the first chunk's.
        assert folded.pop("x_vendor")


def without_message_quirks(name: str, streamed: Any, folded: Any) -> None:
    """The same for the Anthropic helper."""
    if name == "unknown.messages.sse":
        # It drops a delta of a type that it does not know,
        assert streamed["content"][2].pop("content") is None
        assert folded["content"][2].pop("content") == "Earlier: greetings."
        # and of a message_delta takes only the fields that it knows.
        assert streamed.pop("context_management") is None
        assert folded.pop("context_management")
        assert folded["usage"].pop("iterations")


def without_response_quirks(name: str, streamed: Any, folded: Any) -> None:
    """Take out the fields of the helper's own model, for structured output."""
    del name, folded
    for item in streamed["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)


def compare(name: str, stream: bytes) -> None:
    by_sdk, take_out, dialect = KINDS[name.split(".")[1]]
    answer = DIALECTS[dialect].fold(recorded.events(name))
    streamed, folded = by_sdk(stream, answer)
    take_out(name, streamed, folded)
    assert streamed == folded


KINDS: dict[str, tuple[Callable[[bytes, bytes], Any], Callable[[str, Any, Any], None], str]] = {
    "chat": (chat_by_sdk, without_chat_quirks, "openai.chat"),
    "responses": (response_by_sdk, without_response_quirks, "openai.responses"),
    "messages": (message_by_sdk, without_message_quirks, "anthropic.messages"),
}


@pytest.mark.parametrize("name", recorded.ALL)
def test_the_sdk_reads_of_a_fold_what_its_helper_makes_of_the_recording(name: str) -> None:
    compare(name, recorded.raw(name))


@pytest.mark.parametrize("name", recorded.ALL)
def test_ids_retry_and_heartbeats_between_all_events_change_nothing(name: str) -> None:
    events = recorded.events(name)
    beat = DIALECTS[KINDS[name.split(".")[1]][2]].heartbeat
    rest = b"".join(beat + encode(event) + beat + beat for event in events[1:])
    compare(name, beat + encode_first(events[0], 1000) + rest)


@pytest.mark.parametrize("name", recorded.ALL)
def test_the_sdk_raises_on_an_ending_that_is_not_completed(name: str) -> None:
    by_sdk, _, dialect = KINDS[name.split(".")[1]]
    before = recorded.events(name)[:-1]
    problem = ProviderTruncated().problem()
    frame = recorded.last_frame(DIALECTS[dialect], Ending.FAILED, problem, before)
    stream = encode_batch([*before, Event(len(before) + 1, frame.name, frame.data)])
    if dialect == "openai.responses":
        by_helper_of_responses(stream)
        return
    with pytest.raises((openai.APIError, anthropic.APIStatusError)) as raised:
        by_sdk(stream, b"{}")
    error = raised.value
    assert isinstance(error, openai.APIError | anthropic.APIStatusError)
    assert "provider_truncated" in str(error.body)


def by_helper_of_responses(stream: bytes) -> None:
    """It tells a failure as the last event, and has no final response."""
    with (
        openai.OpenAI(
            api_key="k", base_url="http://test/v1", http_client=client(stream, b"{}")
        ) as sdk,
        sdk.responses.stream(model="m", input="x") as helper,
    ):
        last = list(helper)[-1]
        assert last.type == "response.failed"
        assert last.response.error is not None
        assert str(last.response.error.code) == "provider_truncated"
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            helper.get_final_response()
