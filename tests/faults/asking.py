"""Asks as a client does, reads over every transport at once, and says what came of it."""

import asyncio
import json
from typing import Any

import aiohttp
import msgspec

from tests.faults.words import TEXT, words
from tests.reading import READERS, Seen, lower, parse_sse

LONGEST_S = 25.0
"""Nothing may take longer: tries that fall silent, and a slow machine."""


class Met(msgspec.Struct, frozen=True):
    """What clients saw of one answer."""

    status: int
    """Of the streamed POST."""
    error: Any
    """Its body's error; None if it was answered with events."""
    lanes: dict[str, list[Seen]]
    """The events by transport, read from the first on; `post` is the POST's own."""
    state: Any
    """The stream, as `GET /v1/streams/{id}` says."""

    @property
    def events(self) -> list[Seen]:
        """What all of them saw."""
        return self.lanes["poll"]


async def meet(http: aiohttp.ClientSession, url: str, dialect: str, model: str) -> Met:
    """Ask for `model`, and read the answer to its end by every transport, at the same time."""
    said = [{"role": "user", "content": "hi"}]
    asked = {"input": said} if dialect == "responses" else {"messages": said, "max_tokens": 10}
    body = {"model": model, "stream": True, **asked}
    async with (
        asyncio.timeout(LONGEST_S),
        http.post(url + words(dialect, "bad").path, json=body) as answer,
        asyncio.TaskGroup() as tasks,
    ):
        stream = lower(answer.headers)["midstream-stream"]
        reading = {
            name: tasks.create_task(read(http, url, stream, 0, None))
            for name, read in READERS.items()
        }
        raw = await answer.read()
    lanes = {name: task.result() for name, task in reading.items()}
    is_stream = answer.status == 200
    if is_stream:
        lanes["post"] = parse_sse(raw)
    async with http.get(f"{url}/v1/streams/{stream}") as told:
        state = await told.json()
    error = None if is_stream else json.loads(raw)["error"]
    return Met(answer.status, error, lanes, state)


def text_of(dialect: str, events: list[Seen]) -> str:
    """What was said, by its deltas."""
    said = ""
    for event in events:
        data = json.loads(event.data) if event.data != "[DONE]" else {}
        match dialect:
            case "chat":
                for choice in data.get("choices", ()):
                    said += choice["delta"].get("content") or ""
            case "messages":
                said += data.get("delta", {}).get("text", "")
            case _:
                said += data["delta"] if data["type"] == "response.output_text.delta" else ""
    return said


def ends_of(dialect: str, events: list[Seen]) -> int:
    """How often a client would take it for whole."""
    ends = {"chat": "[DONE]", "messages": "message_stop", "responses": "response.completed"}
    return sum(ends[dialect] in (event.data, event.name) for event in events)


def whole_text(side: str) -> str:
    """All that it says."""
    return "".join(TEXT[side])
