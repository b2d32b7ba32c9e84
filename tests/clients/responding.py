"""A provider of Responses that says what it was asked: each answer has an id of its own.

Asked for ``words-N`` it says N words, 100 in a second; for ``tool``, it calls a tool until it is told
what that gave. It keeps no response, so it knows no `previous_response_id`.
"""

import asyncio
import itertools
import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

_PACE_S = 0.01
_CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look_up",
    "arguments": '{"city":"Paris"}',
    "status": "completed",
}
_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 10,
}


class Responder:
    """See the module. `running_responder` makes one."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        """The bodies of all requests, in order."""
        self._numbers = itertools.count(1)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(asked)
        if asked.get("previous_response_id"):
            error = {
                "message": "Previous response not found.",
                "type": "invalid_request_error",
                "code": "previous_response_not_found",
                "param": "previous_response_id",
            }
            return web.json_response({"error": error}, status=400)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for number, (kind, said) in enumerate(self._events(asked)):
            data = json.dumps({"type": kind, "sequence_number": number, **said})
            await answer.write(f"event: {kind}\ndata: {data}\n\n".encode())
            if kind.endswith(".delta"):
                await asyncio.sleep(_PACE_S)
        return answer

    def _events(self, asked: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        given = asked["input"] if isinstance(asked["input"], list) else []
        is_told = any(item.get("type") == "function_call_output" for item in given)
        response = {
            "id": f"resp_made{next(self._numbers):04}",
            "object": "response",
            "created_at": 1767225600,
            "model": asked["model"],
            "status": "in_progress",
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        yield "response.created", {"response": response}
        yield "response.in_progress", {"response": response}
        if asked["model"] == "tool" and not is_told:
            item: dict[str, Any] = _CALL
            yield "response.output_item.added", {"output_index": 0, "item": item}
        else:
            item = yield from self._message(int(asked["model"].partition("-")[2] or 3))
        yield "response.output_item.done", {"output_index": 0, "item": item}
        done = {**response, "status": "completed", "output": [item], "usage": _USAGE}
        yield "response.completed", {"response": done}

    def _message(self, words: int) -> Generator[tuple[str, dict[str, Any]], None, dict[str, Any]]:
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
        part = {"type": "output_text", "text": "", "annotations": []}
        yield "response.output_item.added", {"output_index": 0, "item": item}
        yield "response.content_part.added", {**at, "part": part}
        said = [f"word{n} " for n in range(words)]
        for word in said:
            yield "response.output_text.delta", {**at, "delta": word, "logprobs": []}
        part = {**part, "text": "".join(said)}
        yield "response.output_text.done", {**at, "text": part["text"], "logprobs": []}
        yield "response.content_part.done", {**at, "part": part}
        return {**item, "content": [part], "status": "completed"}


@contextmanager
def running_responder() -> Iterator[Responder]:
    """On a thread and a port of its own, until the block is left."""
    loop = asyncio.new_event_loop()
    responder = Responder()
    app = web.Application()
    app.router.add_post("/v1/responses", responder.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def open_it() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        responder.url = f"http://{host}:{port}"

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(open_it(), loop).result(10)
        yield responder
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
