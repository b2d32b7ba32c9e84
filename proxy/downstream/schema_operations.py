"""The calls of the OpenAPI document beside those that make an answer: one function for each.

This is longer than a file should be because it is one list, each entry of which stands by itself.
"""

from collections.abc import Iterable, Mapping, Sequence

from proxy import errors
from proxy.downstream.schema_answers import (
    JSON,
    SSE,
    answer,
    stream_headers,
)
from proxy.downstream.schema_bodies import Json, any_of, ref
from proxy.downstream.schema_errors import (
    BOTH_SHAPES,
    Failure,
    failures,
    of_a_stream,
    of_authentication,
    responses,
)
from proxy.downstream.schema_parameters import (
    caller_dialect,
    listing,
    model_pages,
    model_path,
    resume,
    stream_path,
)


def paths() -> dict[str, Json]:
    """Every path, and for each its calls by method."""
    return {
        "/v1/streams": {"get": _list_streams()},
        "/v1/streams/{stream}": {"get": _get_stream(), "delete": _delete_stream()},
        "/v1/streams/{stream}/events": {"get": _get_events()},
        "/v1/streams/{stream}/response": {"get": _get_response()},
        "/v1/streams/{stream}/cancel": {"post": _cancel_stream()},
        "/v1/models": {"get": _list_models()},
        "/v1/models/{model}": {"get": _get_model()},
        "/healthz": {"get": _is_alive()},
        "/readyz": {"get": _is_ready()},
        "/schema": {"get": _get_schema()},
        "/v1/workers": {"get": _list_workers()},
        "/metrics": {"get": _get_metrics()},
        "/dashboard/grafana.json": {"get": _get_grafana()},
    }


# --- streams --------------------------------------------------------------------------------------


def _about_a_stream(
    name: str,
    summary: str,
    description: str,
    answers: Mapping[str, Json],
    also: Iterable[Failure] = (),
    parameters: Sequence[Json] = (),
) -> Json:
    return {
        "operationId": name,
        "tags": ["Streams"],
        "summary": summary,
        "description": description,
        "parameters": [stream_path(), *parameters, caller_dialect()],
        "responses": {**answers, **responses([*of_a_stream(), *also], *BOTH_SHAPES)},
    }


def _get_stream() -> Json:
    state = answer("Its state.", {JSON: ref("StreamView")}, stream_headers())
    return _about_a_stream(
        "getStream",
        "What is known of a stream",
        "Whether it still runs, how it ended, how many events it has. A key sees the streams of "
        "its owner; an operator's key sees all.",
        {"200": state},
        failures(errors.StreamGone),
    )


def _get_events() -> Json:
    events = answer(
        "Events, as `Accept` asks.",
        {JSON: ref("PollAnswer"), SSE: ref("ServerSentEvent")},
        stream_headers("Link", "X-Accel-Buffering"),
    )
    nothing_left = answer(
        "As `text/event-stream`: the stream has ended, and there is nothing after that place. "
        "Browsers take this as the sign not to come back.",
        headers=stream_headers(),
    )
    return _about_a_stream(
        "getEvents",
        "Read a stream, from any event on",
        "`Accept: text/event-stream` gets the events as they come, until the end of the stream. "
        "`Accept: application/json`, or none, gets what there is after a place, as soon as there "
        "is anything: a poll, to be repeated with the place that it answers. Both can be mixed, "
        "by any number of readers; an event has the same id for all. Query parameters that are "
        "not named here are refused.",
        {"200": events, "204": nothing_left},
        failures(
            errors.MalformedRequest,
            errors.MalformedEventId,
            errors.NotAcceptable,
            errors.AheadOfStream,
            errors.StreamGone,
        ),
        resume(),
    )


def _get_response() -> Json:
    so_far = answer(
        "What was said until now, as one object of the stream's dialect.",
        {JSON: any_of("ChatCompletion", "Response", "Message")},
        stream_headers("Midstream-Last-Event-ID"),
    )
    return _about_a_stream(
        "getResponse",
        "The answer so far",
        "Show it, then follow the events after `Midstream-Last-Event-ID`.",
        {"200": so_far},
        failures(errors.StreamGone),
    )


def _cancel_stream() -> Json:
    view = {JSON: ref("StreamView")}
    return _about_a_stream(
        "cancelStream",
        "Stop a stream",
        "Wherever and for whoever it runs. What was said until then can still be read. Stopping "
        "a stream that has ended changes nothing. Takes no body.",
        {
            "200": answer("It has ended, and this is how.", view, stream_headers()),
            "202": answer("It was told to stop, and has not ended yet.", view, stream_headers()),
        },
        failures(errors.StreamGone),
    )


def _delete_stream() -> Json:
    return _about_a_stream(
        "deleteStream",
        "Stop a stream and erase it",
        "Its events are gone at once. Deleting it again changes nothing.",
        {"204": answer("It is erased.")},
    )


def _list_streams() -> Json:
    page = answer("One page.", {JSON: ref("StreamList")})
    found = [*of_authentication(), *failures(errors.MalformedRequest, errors.StoreUnavailable)]
    return {
        "operationId": "listStreams",
        "tags": ["Streams"],
        "summary": "The caller's streams, newest first",
        "description": "Those of the key's owner; everybody's, for an operator's key. A page may "
        "be shorter than its limit, even empty, and still have a next one. Query parameters that "
        "are not named here are refused.",
        "parameters": [*listing(), caller_dialect()],
        "responses": {"200": page} | responses(found, *BOTH_SHAPES),
    }


# --- models ---------------------------------------------------------------------------------------


def _list_models() -> Json:
    found = answer("All of them.", {JSON: any_of("OpenAIModelList", "AnthropicPage")})
    return {
        "operationId": "listModels",
        "tags": ["Models"],
        "summary": "The models that the key may use",
        "description": "A configured pattern stands for the models that its provider says it has.",
        "parameters": [*model_pages(), caller_dialect()],
        "responses": {"200": found}
        | responses([*of_authentication(), *failures(errors.MalformedRequest)], *BOTH_SHAPES),
    }


def _get_model() -> Json:
    found = answer("It exists.", {JSON: any_of("OpenAIModel", "AnthropicModel")})
    fails = [*of_authentication(), *failures(errors.ModelNotFound)]
    return {
        "operationId": "getModel",
        "tags": ["Models"],
        "summary": "One model",
        "parameters": [model_path(), caller_dialect()],
        "responses": {"200": found} | responses(fails, *BOTH_SHAPES),
    }


# --- operation ------------------------------------------------------------------------------------


def _open_to_all(name: str, summary: str, answers: Mapping[str, Json]) -> Json:
    return {
        "operationId": name,
        "tags": ["Operation"],
        "summary": summary,
        "security": [],
        "responses": dict(answers),
    }


def _is_alive() -> Json:
    alive = answer("The process answers.", {JSON: ref("Health")})
    return _open_to_all("isAlive", "Whether the process is alive", {"200": alive})


def _is_ready() -> Json:
    readiness = {JSON: ref("Readiness")}
    return _open_to_all(
        "isReady",
        "Whether new streams are taken",
        {
            "200": answer("They are.", readiness),
            "503": answer("They are not; the body says why.", readiness),
        },
    )


def _get_schema() -> Json:
    document: dict[str, Json] = {"application/vnd.oai.openapi+json": {"type": "object"}}
    return _open_to_all(
        "getSchema", "This document", {"200": answer("OpenAPI 3.1, as JSON.", document)}
    )


def _list_workers() -> Json:
    found = answer("All of them.", {JSON: ref("WorkerList")})
    fails = [
        *of_authentication(),
        Failure("403", errors.NotPermitted.code, "the key is no operator's."),
        *failures(errors.MalformedRequest, errors.StoreUnavailable),
    ]
    return {
        "operationId": "listWorkers",
        "tags": ["Operation"],
        "summary": "The processes that serve, the longest up first",
        "description": "Every worker that shares the store and has said in the last 10 s that it "
        "lives. Only for an operator's key. There are no query parameters.",
        "parameters": [caller_dialect()],
        "responses": {"200": found} | responses(fails, *BOTH_SHAPES),
    }


def _for_operators(name: str, summary: str, description: str, media_type: str, what: Json) -> Json:
    fails = [
        *of_authentication(),
        Failure("403", errors.NotPermitted.code, "the key is no operator's."),
    ]
    return {
        "operationId": name,
        "tags": ["Operation"],
        "summary": summary,
        "description": f"{description} Only for an operator's key.",
        "parameters": [caller_dialect()],
        "responses": {"200": answer("All of it.", {media_type: what})}
        | responses(fails, *BOTH_SHAPES),
    }


def _get_metrics() -> Json:
    return _for_operators(
        "getMetrics",
        "The numbers of this server, for Prometheus",
        "The sums over all workers of the server that is asked, and what is used of each limit.",
        "text/plain",
        {"type": "string"},
    )


def _get_grafana() -> Json:
    return _for_operators(
        "getGrafanaDashboard",
        "A dashboard of these numbers, to be imported into Grafana",
        "Each of its panels asks for what `/metrics` tells.",
        JSON,
        {"type": "object"},
    )
