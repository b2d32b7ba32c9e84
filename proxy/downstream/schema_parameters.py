"""What a caller may say in a path, a query or a header, with its range.

The ranges are those that `wishes` and the routes enforce; a test holds the two against each other.
What surprises: OpenAPI knows `Authorization` and `Accept` only as credentials and media types, so
neither is a parameter here.
"""

from proxy.downstream.schema_bodies import Json, event_id, stream_id
from proxy.downstream.wishes import PASSED_ON_HEADERS
from proxy.stream import EVENT_ID_MAX, Ending

_GRACE_S_MAX = 86_400
_TAG_CHARS_MAX = 128
"""As `wishes` has both."""
_RETENTION_S_MAX = 31_536_000
"""As the config bounds what a server can be set to. It may be set to less."""

_NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]+$"
"""Of a tag: anything but control characters."""


def _parameter(place: str, name: str, schema: Json, description: str) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema,
    }


def _header(name: str, schema: Json, description: str) -> Json:
    return _parameter("header", name, schema, description)


def _query(name: str, schema: Json, description: str) -> Json:
    return _parameter("query", name, schema, description)


# --- paths --------------------------------------------------------------------------------------


def stream_path() -> Json:
    """Which stream."""
    return _parameter(
        "path",
        "stream",
        stream_id(),
        "The id of a stream: the `Midstream-Stream` header of the answer that made it.",
    )


def response_path() -> Json:
    """Which response."""
    return _parameter(
        "path",
        "name",
        {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$", "examples": ["resp_0123"]},
        "The `id` of a response of the caller's.",
    )


def response_query() -> list[Json]:
    """How to read it."""
    flag: Json = {"type": "string", "enum": ["true", "false"], "default": "false"}
    return [
        _header(
            "Last-Event-ID",
            event_id(lowest=0),
            "With `stream=true`: go on after the event of this id; browsers send it by themselves. "
            "It wins over `starting_after`.",
        ),
        _query("stream", flag, "Whether to answer with the events, as they come."),
        _query(
            "starting_after",
            {"type": "integer", "minimum": 0, "maximum": EVENT_ID_MAX - 1},
            "With `stream=true`: go on after the event of this `sequence_number`, which is one "
            "less than the event's id. From the first event on, unless it is given.",
        ),
        _query("include_obfuscation", flag, "Taken, and without effect: events stay as they are."),
        _query(
            "include[]",
            {"type": "array", "items": {"type": "string"}},
            "Taken, and without effect: a response holds what its request asked for.",
        ),
    ]


def model_path() -> Json:
    """Which model."""
    return _parameter(
        "path",
        "model",
        {"type": "string", "minLength": 1, "examples": ["demo"]},
        "The name of a model, as it stands in the list. It may contain slashes.",
    )


# --- headers of a call that makes an answer -----------------------------------------------------


def wishes() -> list[Json]:
    """How an answer is to be made, kept and given."""
    return [
        _header(
            "Prefer",
            {"type": "string", "examples": ["respond-async"]},
            "`respond-async` to get the stream's state at once (status 202) and read the answer "
            "later. Anything else is ignored.",
        ),
        _header(
            "Idempotency-Key",
            {"type": "string", "pattern": "^[!-~]{1,255}$"},
            "A name for this request that the caller has made up. The same request under the same "
            "name is never made twice: it gets the stream that the first one made, running or "
            "ended. A stream that failed before its first content gives the name free again. Each "
            "owner has its own names.",
        ),
        _header(
            "Last-Event-ID",
            event_id(lowest=0),
            "Go on after this event of the stream that `Idempotency-Key` names. Such a request "
            "never makes a new stream, and needs the key.",
        ),
        _header("Midstream-Detach", _detach(), _DETACH),
        _header(
            "Midstream-Tag",
            {
                "type": "string",
                "minLength": 1,
                "maxLength": _TAG_CHARS_MAX,
                "pattern": _NO_CONTROL,
            },
            "The application's own name for this answer, to list by: of a chat, of a user's "
            "message. No control characters; in UTF-8 or Latin-1.",
        ),
        _header(
            "Midstream-Retention",
            {"type": "integer", "minimum": 0, "maximum": _RETENTION_S_MAX},
            "How many seconds the answer can be read again after its end; 0 erases it at the end. "
            "A server may be set to a lower bound (a day, unless configured otherwise), and "
            "refuses more.",
        ),
    ]


def _detach() -> Json:
    return {
        "anyOf": [
            {"type": "string", "enum": ["finish", "cancel"]},
            {"type": "integer", "minimum": 0, "maximum": _GRACE_S_MAX},
        ]
    }


_DETACH = (
    "What happens when the last reader leaves before the end: `finish` lets the answer be made to "
    "its end, `cancel` stops the provider at once, a number is how many seconds to wait for a "
    "reader before stopping it. A stream that nobody has read yet is not touched."
)


def passed_on() -> list[Json]:
    """What goes on to the provider unchanged."""
    return [
        _header(name, {"type": "string"}, "Passed on to the provider unchanged.")
        for name in PASSED_ON_HEADERS
    ]


# --- everywhere else ----------------------------------------------------------------------------


def caller_dialect() -> Json:
    """Which SDK is calling."""
    return _header(
        "anthropic-version",
        {"type": "string"},
        "Sent by Anthropic's SDKs. With it, whatever its value, errors and lists of models have "
        "Anthropic's shape, else OpenAI's.",
    )


def usage_key() -> Json:
    """Whose usage."""
    return _query(
        "key",
        {"type": "string", "minLength": 1},
        "Only that of the key of this name. Other keys than its own only an operator may name.",
    )


def handshake() -> list[Json]:
    """What makes a WebSocket of a GET (RFC 6455 4.1)."""
    return [
        _header("Upgrade", {"const": "websocket"}, "With `Connection: Upgrade`."),
        _header("Sec-WebSocket-Version", {"const": "13"}, "The one that is spoken here."),
        _header(
            "Sec-WebSocket-Key",
            {"type": "string", "pattern": "^[A-Za-z0-9+/]{22}==$"},
            "16 random bytes, in Base64.",
        ),
        _header(
            "Sec-WebSocket-Protocol",
            {"type": "string", "examples": ["midstream.v1"]},
            "If there is any, `midstream.v1` must be among them.",
        ),
    ]


def resume() -> list[Json]:
    """From where on, and how, to read a stream."""
    return [
        _header(
            "Last-Event-ID",
            event_id(lowest=0),
            "Go on after this event; browsers send it by themselves. It wins over `after`.",
        ),
        _query(
            "after",
            event_id(lowest=0) | {"default": 0},
            "Go on after the event of this id; 0 is the beginning.",
        ),
        _query(
            "wait",
            {"type": "number", "minimum": 0, "maximum": 30, "multipleOf": 0.001, "default": 25},
            "As JSON: how many seconds to wait for an event if there is none after that place yet.",
        ),
        _query(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000},
            "As JSON: the most events of one answer.",
        ),
    ]


def listing() -> list[Json]:
    """Which streams to list."""
    return [
        _query(
            "tag",
            {
                "type": "string",
                "minLength": 1,
                "maxLength": _TAG_CHARS_MAX,
                "pattern": _NO_CONTROL,
            },
            "Only those that were made with this `Midstream-Tag`. No control characters.",
        ),
        _query(
            "status",
            {"type": "string", "enum": ["running", "ended", *Ending]},
            "Only those that run, have ended, or have ended in this way.",
        ),
        _query(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            "The most streams of one page.",
        ),
        _query(
            "cursor",
            {"type": "string", "pattern": "^[0-9]{1,15}-[0-9a-z_]{1,64}$"},
            "The `next` of the page before.",
        ),
    ]
