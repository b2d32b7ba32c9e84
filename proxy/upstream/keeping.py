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


def rest_of(name: str, place: Place) -> Where:
    """Where to listen to what comes after `place`."""
    if STREAM_ID_PATTERN.fullmatch(name):
        told = {"last-event-id": place.event_id} if place.event_id else {}
        return Where(f"/streams/{name}/events", told)
    number = _number(place.last)
    after = "" if number is None else f"&starting_after={number}"
    return Where(f"/responses/{name}?stream=true{after}", {})


def cancel_of(name: str) -> str:
    """Where to say that nobody wants it any more."""
    of = "streams" if STREAM_ID_PATTERN.fullmatch(name) else "responses"
    return f"/{of}/{name}/cancel"


def _number(last: Frame | None) -> int | None:
    if last is None:
        return None
    try:
        return msgspec.json.decode(last.data, type=_Numbered).sequence_number
    except msgspec.DecodeError:
        return None
