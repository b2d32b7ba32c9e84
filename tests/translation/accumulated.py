"""What the SDKs' own stream helpers make of an answer, and what they read of its fold.

No network: the SDKs' HTTP clients are given a transport that answers a streamed call with an event
stream, and an unstreamed one with JSON.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai

from proxy.wire.seals import is_redacted, opened
from tests.translation.answers import CHAT, MESSAGES, RESPONSES, Part, Usage


class Seen(NamedTuple):
    """An answer as a client sees it."""

    parts: list[Part]
    """In their order. In chat, which has none, first thoughts, then text, refusal and calls."""
    stop: str
    sequence: str | None
    usage: Usage
    maker: str
    """Of all its seals; "" without any."""


class _Transport(httpx2.BaseTransport):
    """Answers every call with the same."""

    stream = b""
    whole = b""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if json.loads(request.content).get("stream"):
            kind = {"content-type": "text/event-stream"}
            return httpx2.Response(200, headers=kind, content=self.stream)
        kind = {"content-type": "application/json"}
        return httpx2.Response(200, headers=kind, content=self.whole)


def _seal(carried: str | None) -> tuple[str, str, bool]:
    """Maker, seal, and whether it is of redacted reasoning. A provider's own names no maker."""
    found = opened(carried or "")
    if found is None:
        return "", carried or "", False
    return *found, is_redacted(carried or "")


class Clients:
    """One client of each SDK."""

    def __init__(self) -> None:
        self._transport = _Transport()
        http = httpx2.Client(transport=self._transport)
        self._openai = openai.OpenAI(api_key="k", base_url="http://test/v1", http_client=http)
        self._anthropic = anthropic.Anthropic(api_key="k", base_url="http://test", http_client=http)

    def close(self) -> None:
        """Both have one connection pool."""
        self._openai.close()

    def accumulate(self, dialect: str, stream: bytes) -> Seen:
        """What the stream helper of the dialect's SDK puts together."""
        self._transport.stream = stream
        return seen(dialect, _HELPERS[dialect](self))

    def read(self, dialect: str, whole: bytes) -> Seen:
        """What the SDK reads of an unstreamed answer."""
        self._transport.whole = whole
        return seen(dialect, _READERS[dialect](self))

    def last_response_event(self, stream: bytes) -> Any:
        """The last event that the helper of Responses gives."""
        self._transport.stream = stream
        with self._openai.responses.stream(model="m", input="") as helper:
            return list(helper)[-1].to_dict()

    def chat_helper(self) -> Any:
        with self._openai.chat.completions.stream(model="m", messages=[]) as helper:
            helper.until_done()
            # Not get_final_completion(), which raises when the answer was cut by length.
            return helper.current_completion_snapshot.to_dict()

    def chat_whole(self) -> Any:
        return self._openai.chat.completions.create(model="m", messages=[]).to_dict()

    def responses_helper(self) -> Any:
        with self._openai.responses.stream(model="m", input="") as helper:
            for event in helper:
                if event.type == "response.incomplete":  # of which it makes no final response
                    return event.response.to_dict()
            return helper.get_final_response().to_dict()

    def responses_whole(self) -> Any:
        return self._openai.responses.create(model="m", input="").to_dict()

    def messages_helper(self) -> Any:
        with self._anthropic.messages.stream(model="m", messages=[], max_tokens=1) as helper:
            return helper.get_final_message().to_dict()

    def messages_whole(self) -> Any:
        return self._anthropic.messages.create(model="m", messages=[], max_tokens=1).to_dict()


_HELPERS: dict[str, Callable[[Clients], Any]] = {
    CHAT: Clients.chat_helper,
    RESPONSES: Clients.responses_helper,
    MESSAGES: Clients.messages_helper,
}
_READERS: dict[str, Callable[[Clients], Any]] = {
    CHAT: Clients.chat_whole,
    RESPONSES: Clients.responses_whole,
    MESSAGES: Clients.messages_whole,
}


def _of_chat(answer: Any) -> Seen:
    (choice,) = answer["choices"]
    message = choice["message"]
    # The helper joins what a server says twice.
    assert message["role"] in {"assistant", "assistantassistant"}
    parts, makers = [], set()
    if thought := message.get("reasoning_content"):
        parts.append(Part("thinking", thought))
    for detail in message.get("reasoning_details", ()):
        is_encrypted = detail["type"] == "reasoning.encrypted"
        maker, seal, redacted = _seal(detail["data" if is_encrypted else "signature"])
        assert redacted == is_encrypted
        makers.add(maker)
        parts.append(Part("thinking", detail.get("text", ""), seal=seal, is_redacted=redacted))
    if text := message.get("content"):
        parts.append(Part("text", text))
    if text := message.get("refusal"):
        parts.append(Part("refusal", text))
    for call in message.get("tool_calls") or ():
        said = call["function"]
        parts.append(Part("call", said["arguments"], call["id"], said["name"]))
    usage = answer.get("usage") or {}
    given = usage.get("prompt_tokens_details") or {}
    made = usage.get("completion_tokens_details") or {}
    used = Usage(
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        given.get("cached_tokens", 0),
        given.get("cache_write_tokens", 0),
        made.get("reasoning_tokens", 0),
    )
    assert usage.get("total_tokens", 0) == used.input + used.output
    return Seen(parts, choice["finish_reason"], None, used, "".join(makers))


def _of_responses(answer: Any) -> Seen:
    parts, makers = [], set()
    for item in answer["output"]:
        if item["type"] == "reasoning":
            maker, seal, redacted = _seal(item.get("encrypted_content"))
            makers.add(maker)
            said = item["summary"] or item.get("content") or ()
            text = "\n\n".join(paragraph["text"] for paragraph in said)
            parts.append(Part("thinking", text, seal=seal, is_redacted=redacted))
        elif item["type"] == "function_call":
            parts.append(Part("call", item["arguments"], item["call_id"], item["name"]))
        else:
            for content in item["content"]:
                if content["type"] == "refusal":
                    parts.append(Part("refusal", content["refusal"]))
                else:
                    parts.append(Part("text", content["text"]))
    usage = answer["usage"]
    used = Usage(
        usage["input_tokens"],
        usage["output_tokens"],
        usage["input_tokens_details"]["cached_tokens"],
        usage["input_tokens_details"].get("cache_write_tokens", 0),
        usage["output_tokens_details"]["reasoning_tokens"],
    )
    stop = answer["status"]
    if stop == "incomplete":
        stop = answer["incomplete_details"]["reason"]
    return Seen(parts, stop, None, used, "".join(makers - {""}))


def _of_messages(answer: Any) -> Seen:
    parts, makers = [], set()
    for block in answer["content"]:
        match block["type"]:
            case "text":
                parts.append(Part("text", block["text"]))
            case "tool_use":
                arguments = json.dumps(block["input"])
                parts.append(Part("call", arguments, block["id"], block["name"]))
            case "thinking":
                maker, seal, redacted = _seal(block["signature"])
                assert not redacted
                makers.add(maker)
                parts.append(Part("thinking", block["thinking"], seal=seal))
            case "redacted_thinking":
                maker, seal, redacted = _seal(block["data"])
                assert redacted == bool(maker)
                makers.add(maker)
                parts.append(Part("thinking", "", seal=seal, is_redacted=True))
            case other:
                raise AssertionError(other)
    usage = answer["usage"]
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    used = Usage(
        usage["input_tokens"] + read + written,
        usage["output_tokens"],
        read,
        written,
        (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
    )
    return Seen(parts, answer["stop_reason"], answer["stop_sequence"], used, "".join(makers - {""}))


_SEEN: dict[str, Callable[[Any], Seen]] = {
    CHAT: _of_chat,
    RESPONSES: _of_responses,
    MESSAGES: _of_messages,
}


def seen(dialect: str, answer: Any) -> Seen:
    """An SDK's object of this dialect, as data."""
    return _SEEN[dialect](answer)
