"""The shapes of what the proxy itself answers, as JSON Schemas of the OpenAPI document.

Shapes that are Structs are generated from them; only what a type cannot say is added here.
"""

from collections.abc import Mapping

import msgspec

from proxy.downstream.describe import StreamView
from proxy.downstream.models import AnthropicPage
from proxy.downstream.operator import WorkerList
from proxy.downstream.resting import TargetList
from proxy.downstream.schema_legs import leg_details
from proxy.downstream.schema_targets import target_details
from proxy.downstream.streams import StreamList
from proxy.downstream.usage import UsageView
from proxy.policy.quotas import Kind
from proxy.stream import DONE, EVENT_ID_MAX, STREAM_ID_PATTERN, Ending

Json = dict[str, object]

SCHEMAS = "#/components/schemas/"
"""Where they stand in the document."""


def ref(name: str) -> Json:
    """A reference to one of `schemas`."""
    return {"$ref": SCHEMAS + name}


def any_of(*names: str) -> Json:
    """One of several of `schemas`."""
    return ref(names[0]) if len(names) == 1 else {"anyOf": [ref(name) for name in names]}


def schemas() -> Json:
    """All of them, by name; those of the dialects are in `schema_dialects`."""
    return {
        **_generated(),
        "PollAnswer": _poll_answer(),
        "Event": _event(),
        "ServerSentEvent": _server_sent_event(),
        **_models(),
        "Health": record({"status": {"const": "ok"}}),
        "Readiness": _readiness(),
    }


def stream_id() -> Json:
    """What names a stream."""
    return {
        "type": "string",
        "pattern": f"^{STREAM_ID_PATTERN.pattern}$",
        "examples": ["st_0123456789abcdefghijklmnop"],
    }


def event_id(*, lowest: int) -> Json:
    """A place in a journal: from 1 for an event, from 0 where it may be before the first."""
    return {"type": "integer", "minimum": lowest, "maximum": EVENT_ID_MAX}


def record(properties: Mapping[str, object], *, optional: frozenset[str] = frozenset()) -> Json:
    """An object that has all of `properties` but the optional ones, and may have more."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


# --- streams and their events -------------------------------------------------------------------


def _generated() -> Json:
    """The Structs that are answered as they are, with what their types do not say."""
    _, components = msgspec.json.schema_components(
        [StreamView, StreamList, WorkerList, TargetList, UsageView, AnthropicPage],
        ref_template=SCHEMAS + "{name}",
    )
    say_more(components, "StreamView", _stream_details())
    say_more(components, "LegView", leg_details())
    say_more(components, "StreamItem", _stream_details() | _item_details())
    say_more(components, "WorkerView", _worker_details())
    say_more(components, "RestingTarget", target_details())
    say_more(components, "PoolView", _pool_details())
    say_more(components, "LimitView", _limit_details())
    say_more(
        components,
        "StreamList",
        {
            "data": {"description": "The newest first."},
            "next": {"description": "Give it as `cursor` to get the next page; null at the end."},
        },
    )
    return dict(components)


def say_more(components: Mapping[str, Json], name: str, details: Mapping[str, Json]) -> None:
    """Say more of the properties of a generated schema. They must exist."""
    properties = components[name]["properties"]
    assert isinstance(properties, dict), "a Struct is an object"
    for key, more in details.items():
        properties[key] |= more


def _stream_details() -> dict[str, Json]:
    return {
        "id": stream_id(),
        "status": {
            "enum": ["running", "ended"],
            "description": "`running` while its answer is being made.",
        },
        "ending": {"enum": [*Ending, None], "description": _ENDING},
        "dialect": {"description": "The wire language that its events are in."},
        "model": {"description": "The model, by the name that was asked for."},
        "provider": {
            "description": "Who makes the answer, by the name in the configuration; of several who "
            "were asked, the last."
        },
        "tag": {"description": "The application's own name for it, from `Midstream-Tag`."},
        "last_event_id": event_id(lowest=0)
        | {"description": "The id of its newest event; 0 while there is none."},
        "created_at": {"format": "date-time"},
        "ended_at": {"format": "date-time", "description": "Null while it runs."},
        "expires_at": {
            "format": "date-time",
            "description": "When it can no longer be read. Null while it runs.",
        },
        "usage": {
            "description": "Tokens as the provider counted them; null until it has said so. "
            "`input_tokens` includes the cached ones. With `is_estimate` some of it is not (or not "
            "yet) the provider's count: after an end it was guessed, from the bytes of the text "
            "and from the time in which nothing was said."
        },
        "cost_usd": {
            "minimum": 0,
            "description": "What that costs in USD, by the prices in the configuration; null while "
            "usage is, and where somebody who answered has no price.",
        },
        "legs": {
            "description": "Each target that was asked for it, in that order. Empty until then."
        },
        "error": {"description": "Why it did not complete; null if it did, or still may."},
    }


def _item_details() -> dict[str, Json]:
    return {
        "owner": {"description": "Whose it is."},
        "readers": {
            "minimum": 0,
            "description": "How many read it now, over all workers, as of two seconds ago; a "
            "poller counts while a poll of its waits. Only lists tell it. Null for a stream that "
            "has ended, and where it is not known.",
        },
    }


def _worker_details() -> dict[str, Json]:
    return {
        "id": {"description": "Its name, new with each start."},
        "host": {"description": "The machine that it runs on."},
        "version": {"description": "Of Midstream."},
        "started_at": {"format": "date-time"},
        "draining": {"description": "Whether it is being stopped, and takes no new streams."},
        "streams": {"minimum": 0, "description": "How many answers it is making."},
        "readers": {"minimum": 0, "description": "How many readers it serves."},
    }


def _pool_details() -> dict[str, Json]:
    return {
        "pool": {"description": "`key:NAME`, `team:QUOTA`, `all`, or `provider:NAME`."},
        "keys": {"description": "The keys asked about that share it; none of those above keys."},
        "limits": {"description": "Empty if nothing limits it."},
    }


def _limit_details() -> dict[str, Json]:
    counted = "In requests, streams, tokens, or millionths of a dollar."
    return {
        "kind": {"enum": [*Kind], "description": "As in the configuration."},
        "amount": {"minimum": 1, "description": counted},
        "used": {"minimum": 0, "description": "What running streams may use at most is counted."},
        "remaining": {"minimum": 0},
        "reset_at": {"format": "date-time", "description": "When it is whole again."},
    }


_ENDING = (
    "How it ended. `completed`: the provider finished the answer. `failed`: the provider or the "
    "way to it broke. `cancelled`: somebody asked for that, or its last reader left. "
    "`interrupted`: the proxy itself was stopped. Null while it runs."
)


def _event() -> Json:
    return record(
        {
            "id": event_id(lowest=1) | {"description": "Its place: 1, 2, 3 … without gaps."},
            "event": {"type": "string", "description": "Its name; empty if it has none."},
            "data": {
                "anyOf": [{"type": "object"}, {"const": DONE.decode()}],
                "description": "What the provider sent, unchanged. The string `[DONE]` is the "
                "last event of a chat completion.",
            },
        }
    ) | {"description": "One step of an answer."}


def _server_sent_event() -> Json:
    """What OpenAPI 3.1 has no word for: the schema is of one item, not of the whole body."""
    return {
        "type": "object",
        "description": (
            "One event of the stream; the body is a row of them. While nothing comes there is a "
            "heartbeat at least every 15 s, which has no id: a comment, or a `ping` event in "
            "Anthropic's dialect. A stream that did not complete ends with an error in its "
            "dialect, never like a success."
        ),
        "properties": {
            "id": {"type": "string", "pattern": "^[1-9][0-9]{0,15}$"},
            "event": {"type": "string"},
            "data": {"type": "string", "description": "One line: JSON, or `[DONE]`."},
            "retry": {
                "type": "integer",
                "description": "In the first event of a connection: how many milliseconds to wait "
                "before coming back.",
            },
        },
        "required": ["data"],
    }


def _poll_answer() -> Json:
    return record(
        {
            "events": {"type": "array", "items": ref("Event"), "maxItems": 1000},
            "last_id": event_id(lowest=0)
            | {"description": "Ask again with this as `after`. Unchanged if there was no event."},
            "ended": {
                "type": "boolean",
                "description": "Whether there is, and will be, nothing after `last_id`.",
            },
            "ending": {"enum": [*Ending, None], "description": _ENDING},
        }
    ) | {"description": "The events after a place, as far as there are any yet."}


# --- models -------------------------------------------------------------------------------------


def _models() -> Json:
    return {
        "OpenAIModel": record(
            {
                "id": {"type": "string"},
                "object": {"const": "model"},
                "created": {"type": "integer", "description": "Unix seconds; 0 if unknown."},
                "owned_by": {"type": "string"},
            }
        ),
        "OpenAIModelList": record(
            {"object": {"const": "list"}, "data": {"type": "array", "items": ref("OpenAIModel")}}
        ),
    }


# --- operation ------------------------------------------------------------------------------------


def _readiness() -> Json:
    return record(
        {
            "status": {"enum": ["ready", "not ready"]},
            "reasons": {"type": "array", "items": {"type": "string"}},
            "config": {
                "type": "string",
                "description": "Since when the config's file is not valid, and so not in force; "
                "and, to an operator, what is wrong with it.",
            },
        },
        optional=frozenset({"reasons", "config"}),
    )
