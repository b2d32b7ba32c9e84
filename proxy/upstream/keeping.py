"""Answers that a provider over HTTP keeps, so that a cut costs nothing: which ones, and where.

Pure. There are two: whatever another Midstream makes, which says its stream's id in a header, and
a response that OpenAI makes in the background. The form of the name tells which of them it is.
What surprises: both are followed by the provider's own numbers, and not by how many frames came,
because a heartbeat may look like an event.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from proxy.relay.ports import Place
from proxy.stream import STREAM_ID_PATTERN, Frame
from proxy.wire.responses import OpenAIResponses

_STREAM = "midstream-stream"
"""The header in which a Midstream names the stream that answers."""
_RESPONSES = OpenAIResponses()


class _Asked(msgspec.Struct):
    background: bool | None = None
    store: bool | None = None


class _Numbered(msgspec.Struct):
    sequence_number: int


class Where(NamedTuple):
    """What is to be got to hear the rest: beneath the address under which answers are asked for."""

    path: str
    headers: Mapping[str, str]


def stream_named(headers: Mapping[str, str]) -> str | None:
    """The id of the Midstream's stream that answers, if one does."""
    name = headers.get(_STREAM, "")
    return name if STREAM_ID_PATTERN.fullmatch(name) else None


def is_background(dialect: str, content: bytes) -> bool:
    """Whether OpenAI is asked to make the answer even if nobody listens."""
    if dialect != OpenAIResponses.name or b'"background"' not in content:
        return False
    try:
        asked = msgspec.json.decode(content, type=_Asked)
    except msgspec.DecodeError:
        return False
    return asked.background is True and asked.store is not False


def response_named(frame: Frame) -> str | None:
    """The id that one of its first frames gives a response, in OpenAI's own form."""
    name = _RESPONSES.answer_id(frame)
    return name if name is not None and name.startswith("resp_") else None


def rest_of(name: str, place: Place) -> Where | None:
    """Where to listen to what comes after `place`; None if that cannot be told its provider."""
    is_stream = STREAM_ID_PATTERN.fullmatch(name)
    path = f"/streams/{name}/events" if is_stream else f"/responses/{name}?stream=true"
    if not place.frames:
        return Where(path, {})
    if is_stream:
        return Where(path, {"last-event-id": place.event_id}) if place.event_id else None
    number = None if place.last is None else sequence_number(place.last)
    return None if number is None else Where(f"{path}&starting_after={number}", {})


def cancel_of(name: str) -> str:
    """Where to say that nobody wants it any more."""
    of = "streams" if STREAM_ID_PATTERN.fullmatch(name) else "responses"
    return f"/{of}/{name}/cancel"


def sequence_number(frame: Frame) -> int | None:
    """The number of an event of a response; None if it has none."""
    try:
        return msgspec.json.decode(frame.data, type=_Numbered).sequence_number
    except msgspec.DecodeError:
        return None
