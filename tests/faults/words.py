"""A short answer in each dialect, cut where faults happen, and the errors that it can end with.

Written by hand, after the recordings: it has all that a whole answer must have, and no more.
"""

import json
from collections.abc import Mapping, Sequence

import msgspec


class Words(msgspec.Struct, frozen=True):
    """One provider's answer. Every item is a whole event as bytes."""

    dialect: str
    path: str
    """Where it is asked for, at a provider as at Midstream."""
    start: Sequence[bytes]
    """What announces the answer."""
    content: Sequence[bytes]
    finish: Sequence[bytes]
    """All that is left, but the terminator."""
    terminator: bytes
    errors: Mapping[str, bytes]
    """Error events: overloaded, limited, invalid, broken."""

    @property
    def events(self) -> list[bytes]:
        """The whole answer."""
        return [*self.start, *self.content, *self.finish, self.terminator]


TEXT = {"bad": ("Ein ", "schönes ", "Wort."), "good": ("The ", "whole ", "answer.")}
"""What each side says. The umlaut is two bytes."""
INPUT_TOKENS = 20
OUTPUT_TOKENS = {"bad": 7, "good": 9}


def words(dialect: str, side: str) -> Words:
    """What the `bad` side says if nothing goes wrong, or the `good` one."""
    return {"chat": _chat, "messages": _messages, "responses": _responses}[dialect](side)


def _event(data: object, name: str = "") -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def _chat(side: str) -> Words:
    def piece(delta: object, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event({**head, "choices": [choice]})

    def error(kind: str, code: str) -> bytes:
        return _event({"error": {"message": "Not now.", "type": kind, "code": code}})

    head = {"id": f"c-{side}", "object": "chat.completion.chunk", "created": 1, "model": side}
    output = OUTPUT_TOKENS[side]
    usage = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": output,
        "total_tokens": INPUT_TOKENS + output,
    }
    return Words(
        "chat",
        "/v1/chat/completions",
        start=[piece({"role": "assistant", "content": ""})],
        content=[piece({"content": text}) for text in TEXT[side]],
        finish=[piece({}, "stop"), _event({**head, "choices": [], "usage": usage})],
        terminator=b"data: [DONE]\n\n",
        errors={
            "overloaded": error("service_unavailable_error", "overloaded_error"),
            "limited": error("tokens", "rate_limit_exceeded"),
            "invalid": error("invalid_request_error", "invalid_request_error"),
            "broken": error("server_error", "server_error"),
        },
    )


def _messages(side: str) -> Words:
    def event(kind: str, **fields: object) -> bytes:
        return _event({"type": kind, **fields}, kind)

    def error(kind: str) -> bytes:
        return event("error", error={"type": kind, "message": "Not now."})

    def delta(text: str) -> bytes:
        said = {"type": "text_delta", "text": text}
        return event("content_block_delta", index=0, delta=said)

    message: dict[str, object] = {
        "id": f"msg_{side}",
        "type": "message",
        "role": "assistant",
        "model": side,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
    }
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    block = {"type": "text", "text": ""}
    return Words(
        "messages",
        "/v1/messages",
        start=[
            event("message_start", message=message),
            event("ping"),
            event("content_block_start", index=0, content_block=block),
        ],
        content=[delta(text) for text in TEXT[side]],
        finish=[
            event("content_block_stop", index=0),
            event("message_delta", delta=stop, usage={"output_tokens": OUTPUT_TOKENS[side]}),
        ],
        terminator=event("message_stop"),
        errors={
            "overloaded": error("overloaded_error"),
            "limited": error("rate_limit_error"),
            "invalid": error("invalid_request_error"),
            "broken": error("api_error"),
        },
    )


def _responses(side: str) -> Words:
    numbers = iter(range(100))
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}

    def event(kind: str, **fields: object) -> bytes:
        return _event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    def response(status: str, **fields: object) -> dict[str, object]:
        known = {"id": f"resp_{side}", "object": "response", "created_at": 1, "model": side}
        return {**known, "status": status, "output": [], "usage": None, **fields}

    def part(text: str) -> dict[str, object]:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def item(status: str, content: list[object]) -> dict[str, object]:
        known = {"id": "msg_1", "type": "message", "role": "assistant"}
        return {**known, "status": status, "content": content}

    def failed(code: str) -> bytes:
        error = {"code": code, "message": "Not now."}
        kind = "response.failed"
        told = {"type": kind, "sequence_number": 0, "response": response("failed", error=error)}
        return _event(told, kind)

    text, output = "".join(TEXT[side]), OUTPUT_TOKENS[side]
    usage = {
        "input_tokens": INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": INPUT_TOKENS + output,
    }
    whole = item("completed", [part(text)])
    return Words(
        "responses",
        "/v1/responses",
        start=[
            event("response.created", response=response("in_progress")),
            event("response.in_progress", response=response("in_progress")),
            event("response.output_item.added", output_index=0, item=item("in_progress", [])),
            event("response.content_part.added", **place, part=part("")),
        ],
        content=[event("response.output_text.delta", **place, delta=each) for each in TEXT[side]],
        finish=[
            event("response.output_text.done", **place, text=text),
            event("response.content_part.done", **place, part=part(text)),
            event("response.output_item.done", output_index=0, item=whole),
        ],
        terminator=event(
            "response.completed", response=response("completed", output=[whole], usage=usage)
        ),
        errors={
            "overloaded": failed("server_is_overloaded"),
            "limited": failed("rate_limit_exceeded"),
            "invalid": failed("invalid_prompt"),
            "broken": failed("server_error"),
        },
    )
