"""What an operator watches, in the OpenAPI document: the dashboard, its events, what rests."""

from collections.abc import Mapping

import msgspec

from proxy import errors
from proxy.downstream.overview import Overview
from proxy.downstream.schema_answers import JSON, SSE, answer, dashboard_headers
from proxy.downstream.schema_bodies import SCHEMAS, Json, ref, say_more
from proxy.downstream.schema_errors import (
    BOTH_SHAPES,
    Failure,
    failures,
    of_authentication,
    responses,
)
from proxy.downstream.schema_parameters import caller_dialect
from proxy.downstream.schema_targets import target_details


def dashboard_paths() -> dict[str, Json]:
    """All three paths."""
    return {
        "/dashboard": {"get": _page()},
        "/v1/dashboard/events": {"get": _events()},
        "/v1/targets": {"get": _targets()},
    }


def _page() -> Json:
    page: Mapping[str, Json] = {"text/html": {"type": "string"}}
    return {
        "operationId": "getDashboard",
        "tags": ["Operation"],
        "summary": "What the proxy does, as a page for people",
        "description": "The page holds no data, and loads nothing. It lives by "
        "`GET /v1/dashboard/events`, for which it asks its user for a key where one is needed.",
        "security": [],
        "responses": {"200": answer("The page.", page, dashboard_headers("page"))},
    }


def _events() -> Json:
    fails = [
        *of_authentication(),
        Failure("403", errors.NotPermitted.code, "the key is no operator's."),
        *failures(errors.MalformedRequest),
    ]
    events: Mapping[str, Json] = {SSE: _event()}
    return {
        "operationId": "watchDashboard",
        "tags": ["Operation"],
        "summary": "What the proxy does, every second",
        "description": "Each event is the whole picture at one moment, so none has an id: who "
        "comes back goes on with the next one, and who is too slow for all gets the newest. The "
        "connection is closed when the key stops being an operator's, and when the worker stops. "
        "Only for an operator's key. There are no query parameters.",
        "parameters": [caller_dialect()],
        "responses": {"200": answer("The events.", events, dashboard_headers("events"))}
        | responses(fails, *BOTH_SHAPES),
    }


def _event() -> Json:
    return {
        "type": "object",
        "description": "One event; the body is a row of them. While nothing comes there is a "
        "comment at least every 15 s. `retry` stands before the first event.",
        "properties": {
            "event": {"const": "overview"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": ref("Overview"),
            },
            "retry": {"type": "integer"},
        },
        "required": ["data"],
    }


def _targets() -> Json:
    fails = [
        *of_authentication(),
        Failure("403", errors.NotPermitted.code, "the key is no operator's."),
        *failures(errors.MalformedRequest),
    ]
    found = answer("All of them.", {JSON: ref("TargetList")})
    return {
        "operationId": "listTargets",
        "tags": ["Operation"],
        "summary": "The targets that rest, the longest first",
        "description": "A target is a provider with one of its models. One that has failed so "
        "often in a row that it is not asked for now is here, for all workers that share the "
        "store, at most a second late. Only for an operator's key. There are no query parameters.",
        "parameters": [caller_dialect()],
        "responses": {"200": found} | responses(fails, *BOTH_SHAPES),
    }


def dashboard_schemas() -> Json:
    """A picture, and its parts."""
    _, components = msgspec.json.schema_components([Overview], ref_template=SCHEMAS + "{name}")
    for name, details in _details().items():
        say_more(components, name, details)
    return dict(components)


def _details() -> dict[str, dict[str, Json]]:
    """What the types of a picture do not say, by schema and property."""
    moment: Json = {"format": "date-time"}
    return {
        "Overview": {
            "at": moment,
            "store": {"description": "While it is away, what only it knows is as it last was."},
            "store_away_s": {"description": "How old that is. 0 if the store answers."},
            "events_per_s": {
                "description": "Over all workers and the last two seconds. Of most providers an "
                "event is a token."
            },
            "first": {
                "description": "From the start of a producer until the store has the first content."
            },
            "gap": {"description": "Between two reads of a provider, from the first content on."},
            "streams": {"maxItems": 50, "description": "Running ones, the oldest first."},
            "pools": {"maxItems": 30, "description": "Who has limits, the most used first."},
            "providers": {"maxItems": 20},
            "resting": {
                "maxItems": 20,
                "description": "Targets that have failed too often, the longest first.",
            },
            "workers": {"maxItems": 20, "description": "The longest up first."},
            "troubles": {"maxItems": 20, "description": "The newest first."},
            "of": {"description": "How many there are of what a list may show only a part of."},
        },
        "RestingTarget": target_details(),
        "Waits": {
            "count": {"description": "How often, in the last 10 s. Null, of none, are the others."}
        },
        "RunningStream": {
            "created_at": moment,
            "events_per_s": {"description": "Since the picture before; null in its first one."},
            "readers": {"description": "Over all workers; null where that is not known."},
        },
        "PoolBars": {
            "pool": {"description": "`key:NAME`, `team:QUOTA`, `all` or `provider:NAME`."}
        },
        "LimitBar": {
            "kind": {"description": "As in the configuration."},
            "amount": {"description": "Requests, tokens, streams, or millionths of a dollar."},
            "reset_s": {"description": "Seconds until all of it is there again."},
        },
        "ProviderView": {
            "ended": {"description": "Streams, over the last ten minutes."},
            "failed": {"description": "Those of them that failed; not what was interrupted."},
        },
        "TroubleView": {
            "at": moment,
            "code": {"description": "As in the stream's own `error`."},
            "status": {"description": "The HTTP status that stands for it."},
        },
        "BusyWorker": {"started_at": moment},
    }
