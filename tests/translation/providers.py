"""The bytes in which a provider of each dialect gives an answer.

All that may vary does, by chance: how texts are cut, which calls of chat overlap, what says nothing
and comes between.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.translation.answers import CHAT, MESSAGES, RESPONSES, Answer, Part

_Event = dict[str, Any]


def _cut(text: str, chance: random.Random) -> list[str]:
    """Pieces of it, sometimes empty ones among them."""
    pieces = []
    while text:
        count = chance.randrange(0, 12)
        pieces.append(text[:count])
        text = text[count:]
    return pieces


def _sse(event: _Event, name: str, chance: random.Random) -> bytes:
    data = json.dumps(event, ensure_ascii=chance.random() < 0.5)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


# --- chat -----------------------------------------------------------------------------------------

_CHAT_STOPS = {"end": "stop", "length": "length", "refusal": "content_filter"}
_CHAT_FIELDS = {"text": "content", "refusal": "refusal", "thinking": "reasoning_content"}


def _chat_deltas(answer: Answer, chance: random.Random) -> Iterator[_Event]:
    begun: list[_Event] = []
    index = 0
    for part in answer.parts:
        if part.kind == "call":
            function = {"name": part.name, "arguments": ""}
            first = {"index": index, "id": part.call_id, "type": "function", "function": function}
            yield {"tool_calls": [first]}
            begun += [
                {"index": index, "function": {"arguments": piece}}
                for piece in _cut(part.text, chance)
            ]
            index += 1
        else:
            for piece in _cut(part.text, chance):
                yield {_CHAT_FIELDS[part.kind]: piece}
        yield from _some(begun, chance.randrange(len(begun) + 1), chance)
    yield from _some(begun, len(begun), chance)


def _some(begun: list[_Event], count: int, chance: random.Random) -> Iterator[_Event]:
    """Takes so many pieces of calls, each call's in their order, sometimes several at once."""
    while count:
        index = chance.choice(begun)["index"]
        pieces = [piece for piece in begun if piece["index"] == index][: chance.randrange(1, 3)]
        pieces = pieces[:count]
        count -= len(pieces)
        for piece in pieces:
            begun.remove(piece)
        yield {"tool_calls": pieces}


def _chat(answer: Answer, chance: random.Random) -> Iterator[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "theirs"}

    def chunk(delta: _Event, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _sse({**head, "choices": [choice], "usage": None}, "", chance)

    yield chunk({"role": "assistant", "content": ""})
    for delta in _chat_deltas(answer, chance):
        yield chunk(delta)
    has_called = any(part.kind == "call" for part in answer.parts)
    reason = _CHAT_STOPS[answer.stop]
    if reason == "stop" and has_called and chance.random() < 0.5:
        reason = "tool_calls"
    yield chunk({}, reason)
    used = answer.usage
    usage = {
        "prompt_tokens": used.input,
        "completion_tokens": used.output,
        "total_tokens": used.input + used.output,
        "prompt_tokens_details": {
            "cached_tokens": used.cached,
            "cache_write_tokens": used.written,
        },
        "completion_tokens_details": {"reasoning_tokens": used.reasoning},
    }
    yield _sse({**head, "choices": [], "usage": usage}, "", chance)
    yield b"data: [DONE]\n\n"


# --- messages -------------------------------------------------------------------------------------

_MESSAGES_STOPS = {
    "end": "end_turn",
    "length": "max_tokens",
    "refusal": "refusal",
    "sequence": "stop_sequence",
    "pause": "pause_turn",
}


def _block(part: Part, chance: random.Random) -> tuple[_Event, list[_Event]]:
    """How it starts, and its deltas."""
    if part.kind == "call":
        start = {"type": "tool_use", "id": part.call_id, "name": part.name, "input": {}}
        field, kind = "partial_json", "input_json_delta"
    elif part.is_redacted:
        return {"type": "redacted_thinking", "data": part.seal}, []
    elif part.kind == "thinking":
        start = {"type": "thinking", "thinking": "", "signature": ""}
        field, kind = "thinking", "thinking_delta"
    else:
        start = {"type": "text", "text": ""}
        field, kind = "text", "text_delta"
    deltas: list[_Event] = [{"type": kind, field: piece} for piece in _cut(part.text, chance)]
    if part.seal:
        deltas.append({"type": "signature_delta", "signature": part.seal})
    return start, deltas


def _messages(answer: Answer, chance: random.Random) -> Iterator[bytes]:
    def event(kind: str, **fields: object) -> bytes:
        return _sse({"type": kind, **fields}, kind, chance)

    used = answer.usage
    usage = {
        "input_tokens": used.input - used.cached - used.written,
        "cache_creation_input_tokens": used.written,
        "cache_read_input_tokens": used.cached,
        "output_tokens": 1,
    }
    message: _Event = {"id": "msg_1", "type": "message", "role": "assistant", "model": "theirs"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield event("message_start", message=message)
    for index, part in enumerate(answer.parts):
        start, deltas = _block(part, chance)
        yield event("content_block_start", index=index, content_block=start)
        for delta in deltas:
            if chance.random() < 0.1:
                yield event("ping")
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    reason = _MESSAGES_STOPS[answer.stop]
    if reason == "end_turn" and any(part.kind == "call" for part in answer.parts):
        reason = "tool_use"
    end: _Event = {"stop_reason": reason, "stop_sequence": answer.sequence}
    if answer.stop == "refusal":
        end["stop_details"] = {"type": "refusal", "explanation": answer.explanation or None}
    counted = {
        "output_tokens": used.output,
        "output_tokens_details": {"thinking_tokens": used.reasoning},
    }
    yield event("message_delta", delta=end, usage=counted)
    yield event("message_stop")


# --- responses ------------------------------------------------------------------------------------


class _Responses:
    def __init__(self, answer: Answer, chance: random.Random) -> None:
        self._answer = answer
        self._chance = chance
        self._numbers = 0
        self._output: list[_Event] = []

    def _event(self, kind: str, **fields: object) -> bytes:
        number, self._numbers = self._numbers, self._numbers + 1
        return _sse({"type": kind, "sequence_number": number, **fields}, kind, self._chance)

    def _response(self, status: str, **fields: object) -> _Event:
        head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "theirs"}
        return {**head, "status": status, "output": self._output, "tools": [], **fields}

    def say(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))
        message: list[Part] = []
        for part in self._answer.parts:
            if part.kind in {"text", "refusal"}:
                message.append(part)
                if self._chance.random() < 0.5:
                    continue
            if message:
                yield from self._message(message)
                message = []
            if part.kind == "thinking":
                yield from self._reasoning(part)
            elif part.kind == "call":
                yield from self._call(part)
        if message:
            yield from self._message(message)
        yield self._end()

    def _begin(self, item: _Event) -> tuple[_Event, bytes]:
        index = len(self._output)
        item["id"] = f"item_{index}"
        place = {"item_id": item["id"], "output_index": index}
        added = self._event("response.output_item.added", output_index=index, item=item)
        return place, added

    def _finish(self, item: _Event) -> bytes:
        self._output.append(item)
        index = len(self._output) - 1
        return self._event("response.output_item.done", output_index=index, item=item)

    def _words(self, event: str, field: str, text: str, place: _Event) -> Iterator[bytes]:
        """In pieces and whole; some servers give only the whole."""
        if self._chance.random() < 0.8:
            for piece in _cut(text, self._chance):
                yield self._event(f"{event}.delta", **place, delta=piece, obfuscation="x")
        yield self._event(f"{event}.done", **place, **{field: text})

    def _message(self, parts: list[Part]) -> Iterator[bytes]:
        contents: list[_Event] = []
        item = {"type": "message", "role": "assistant", "content": []}
        place, added = self._begin(item)
        yield added
        for index, part in enumerate(parts):
            field = "text" if part.kind == "text" else "refusal"
            kind = "output_text" if part.kind == "text" else "refusal"
            here = {**place, "content_index": index}
            content = {"type": kind, field: part.text}
            yield self._event("response.content_part.added", **here, part={**content, field: ""})
            yield from self._words(f"response.{kind}", field, part.text, here)
            yield self._event("response.content_part.done", **here, part=content)
            contents.append(content)
        yield self._finish({**item, "content": contents})

    def _reasoning(self, part: Part) -> Iterator[bytes]:
        item: _Event = {"type": "reasoning", "summary": []}
        place, added = self._begin(item)
        yield added
        if part.text:
            here = {**place, "summary_index": 0}
            event = "response.reasoning_summary_text"
            summary = {"type": "summary_text", "text": part.text}
            empty = {**summary, "text": ""}
            yield self._event("response.reasoning_summary_part.added", **here, part=empty)
            yield from self._words(event, "text", part.text, here)
            yield self._event("response.reasoning_summary_part.done", **here, part=summary)
            item["summary"] = [summary]
        if part.seal:
            item["encrypted_content"] = part.seal
        yield self._finish(item)

    def _call(self, part: Part) -> Iterator[bytes]:
        item = {"type": "function_call", "call_id": part.call_id, "name": part.name}
        place, added = self._begin({**item, "arguments": ""})
        yield added
        event = "response.function_call_arguments"
        yield from self._words(event, "arguments", part.text, place)
        yield self._finish({**item, "id": place["item_id"], "arguments": part.text})

    def _end(self) -> bytes:
        used = self._answer.usage
        usage = {
            "input_tokens": used.input,
            "input_tokens_details": {
                "cached_tokens": used.cached,
                "cache_write_tokens": used.written,
            },
            "output_tokens": used.output,
            "output_tokens_details": {"reasoning_tokens": used.reasoning},
            "total_tokens": used.input + used.output,
        }
        reason = {"length": "max_output_tokens", "refusal": "content_filter"}.get(self._answer.stop)
        status = "incomplete" if reason else "completed"
        details = {"reason": reason} if reason else None
        response = self._response(status, usage=usage, incomplete_details=details)
        return self._event(f"response.{status}", response=response)


def _responses(answer: Answer, chance: random.Random) -> Iterator[bytes]:
    return _Responses(answer, chance).say()


_SAID: dict[str, Callable[[Answer, random.Random], Iterator[bytes]]] = {
    CHAT: _chat,
    RESPONSES: _responses,
    MESSAGES: _messages,
}


def said(dialect: str, answer: Answer, chance: random.Random) -> bytes:
    """The answer of a provider that speaks `dialect`."""
    return b"".join(_SAID[dialect](answer, chance))
