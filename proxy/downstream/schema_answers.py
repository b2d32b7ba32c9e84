"""Responses of the OpenAPI document that are no errors, and the headers of all.

A header is defined once, in `headers`, and referred to by name. What surprises: whether it is
always there belongs to its definition, so those that name a stream have two: in the answer of a
stream, and in an error, which may have none.
"""

from collections.abc import Mapping
from typing import Literal

from proxy.downstream.schema_bodies import Json, event_id, stream_id

JSON = "application/json"
SSE = "text/event-stream"

_UNITS = ("requests", "tokens")
_WHATS = ("limit", "remaining", "reset")
_OF_ALL = (
    "X-Request-Id",
    "Request-Id",
    "Cache-Control",
    "X-Content-Type-Options",
    "Referrer-Policy",
)
_OF_STREAMS = ("Midstream-Stream", "Location", "Midstream-Expires")
_IF_ANY = ".if-any"
QUOTA_HEADERS = (
    "RateLimit-Policy",
    "RateLimit",
    *(f"x-ratelimit-{what}-{unit}" for unit in _UNITS for what in _WHATS),
    *(f"anthropic-ratelimit-{unit}-{what}" for unit in _UNITS for what in _WHATS),
)
"""Of a call that makes an answer."""


def answer(
    description: str, content: Mapping[str, Json] | None = None, headers: Json | None = None
) -> Json:
    """A response. `content` is a schema for each media type; `headers` are those beside all's."""
    found: Json = {"description": description, "headers": _refer(*_OF_ALL) | (headers or {})}
    if content:
        found["content"] = {kind: {"schema": schema} for kind, schema in content.items()}
    return found


def stream_headers(*others: str) -> Json:
    """What names a stream, and other headers of its answer."""
    return _refer(*_OF_STREAMS, *others)


def response_headers() -> Json:
    """Of a response or its events: only the former says how far it goes."""
    return stream_headers("X-Accel-Buffering") | {
        "Midstream-Last-Event-ID": _reference("Midstream-Last-Event-ID" + _IF_ANY)
    }


def websocket_headers() -> Json:
    """Of the answer that opens a WebSocket."""
    return _refer("Upgrade", "Sec-WebSocket-Protocol")


def dashboard_headers(kind: Literal["page", "events"]) -> Json:
    """Of the dashboard's page, or of its events."""
    return _refer("Content-Security-Policy" if kind == "page" else "X-Accel-Buffering")


def failure_headers(status: str, *, may_name_a_stream: bool) -> Json:
    """The headers of an error."""
    found = _refer(*_OF_ALL, "X-Should-Retry", "Retry-After", "Retry-After-Ms")
    if status == "401":
        found |= _refer("WWW-Authenticate")
    if status == "426":
        found |= _refer("Upgrade", "Sec-WebSocket-Version")
    if may_name_a_stream:
        found |= {name: _reference(name + _IF_ANY) for name in _OF_STREAMS}
        found |= quota_headers()
    return found


def quota_headers() -> Json:
    """What is left, for callers of both dialects."""
    return _refer(*QUOTA_HEADERS)


def _refer(*names: str) -> Json:
    return {name: _reference(name) for name in names}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


# --- definitions ----------------------------------------------------------------------------------


def headers() -> Json:
    """All of them, by name."""
    streams = _of_streams()
    own = {**_of_all(), **_of_failures(), **_of_websockets(), **_of_reading()}
    last_id = "Midstream-Last-Event-ID"
    sometimes = streams | {last_id: own[last_id]}
    may_be = {name + _IF_ANY: header | {"required": False} for name, header in sometimes.items()}
    return {**own, **streams, **may_be}


def header(schema: Json, description: str, *, is_always: bool = True) -> Json:
    """A header's definition."""
    return {"description": description, "required": is_always, "schema": schema}


def _of_all() -> dict[str, Json]:
    return {
        "X-Request-Id": header({"type": "string"}, "Names this request in the proxy's log."),
        "Request-Id": header({"type": "string"}, "The same, where Anthropic's SDKs look."),
        "Cache-Control": header({"const": "no-store, no-transform"}, "No cache may keep it."),
        "X-Content-Type-Options": header({"const": "nosniff"}, "For browsers."),
        "Referrer-Policy": header({"const": "no-referrer"}, "For browsers."),
        "Content-Security-Policy": header(
            {"type": "string"}, "For browsers: the page runs and loads nothing but itself."
        ),
    }


def _of_failures() -> dict[str, Json]:
    whole = {"type": "integer", "minimum": 1}
    return {
        "X-Should-Retry": header(
            {"enum": ["true", "false"]},
            "Whether the same request may succeed if it is sent again.",
        ),
        "Retry-After": header(
            whole, "In how many seconds to try again, where that is known.", is_always=False
        ),
        "Retry-After-Ms": header(whole, "The same in milliseconds.", is_always=False),
        "WWW-Authenticate": header({"const": "Bearer"}, "How to send the key."),
        "Sec-WebSocket-Version": header({"const": "13"}, "The one that is spoken here."),
    }


def _of_websockets() -> dict[str, Json]:
    return {
        "Upgrade": header({"const": "websocket"}, "What this path is for."),
        "Sec-WebSocket-Protocol": header(
            {"const": "midstream.v1"}, "If the client has offered it.", is_always=False
        ),
    }


def _of_streams() -> dict[str, Json]:
    return {
        "Midstream-Stream": header(stream_id(), "The stream's id."),
        "Location": header(
            {"type": "string", "format": "uri-reference"}, "Where the stream's state is."
        ),
        "Midstream-Expires": header(
            {"type": "string", "format": "date-time"},
            "When the stream can no longer be read; while it runs, the earliest such moment.",
        ),
    }


def _of_reading() -> dict[str, Json]:
    return {
        "Midstream-Last-Event-ID": header(
            event_id(lowest=0),
            "The newest event that the answer holds: follow the stream from there.",
        ),
        "Link": header(
            {"type": "string"},
            'With `application/json`: the next poll, as `<path>; rel="next"`.',
            is_always=False,
        ),
        "X-Accel-Buffering": header(
            {"const": "no"},
            "With `text/event-stream`: no proxy on the way may hold events back.",
            is_always=False,
        ),
        "Preference-Applied": header(
            {"const": "respond-async"}, "The wish of `Prefer` that was fulfilled."
        ),
    }
