"""OpenAI's way to come back to an answer, in the OpenAPI document: what `responses` serves."""

from collections.abc import Iterable, Sequence

from proxy import errors
from proxy.downstream.schema_answers import JSON, SSE, answer, response_headers, stream_headers
from proxy.downstream.schema_bodies import Json, record, ref
from proxy.downstream.schema_errors import Failure, failures, of_authentication, responses
from proxy.downstream.schema_parameters import response_path, response_query

_PATH = "/v1/responses/{name}"


def responses_paths() -> dict[str, Json]:
    """Every path, and for each its calls by method."""
    return {
        _PATH: {"get": _get(), "delete": _delete()},
        f"{_PATH}/cancel": {"post": _cancel()},
    }


def _about_a_response(
    name: str,
    summary: str,
    description: str,
    answered: Json,
    also: Iterable[Failure] = (),
    parameters: Sequence[Json] = (),
) -> Json:
    found = [
        *of_authentication(),
        *failures(errors.ResponseNotFound, errors.StoreUnavailable, errors.ProviderGarbled),
        *also,
    ]
    return {
        "operationId": name,
        "tags": ["Streams"],
        "summary": summary,
        "description": description,
        "parameters": [response_path(), *parameters],
        "responses": {"200": answered, **responses(found, "OpenAIError")},
    }


def _whole(description: str) -> Json:
    return answer(description, {JSON: ref("Response")}, stream_headers("Midstream-Last-Event-ID"))


def _get() -> Json:
    found = answer(
        "The response as it is now, or its events.",
        {JSON: ref("Response"), SSE: ref("ServerSentEvent")},
        response_headers(),
    )
    return _about_a_response(
        "retrieveResponse",
        "A response by its id, as OpenAI's SDKs ask for it",
        "Its `status` is `queued` or `in_progress` while it is made. With `stream=true` its events "
        "follow, from any of them on, until its end. It works for every response that was asked "
        "for here, in the background or not, whoever made it, as long as its stream is kept.",
        found,
        failures(
            errors.MalformedRequest,
            errors.MalformedEventId,
            errors.AheadOfStream,
            errors.StreamGone,
        ),
        response_query(),
    )


def _cancel() -> Json:
    return _about_a_response(
        "cancelResponse",
        "Stop a response",
        "In the background or not. What was said until then is in the answer. One that has ended "
        "stays as it is. Takes no body.",
        _whole("The response as it is now."),
    )


def _delete() -> Json:
    deleted = record(
        {
            "id": {"type": "string"},
            "object": {"const": "response"},
            "deleted": {"const": True},
        }
    )
    return _about_a_response(
        "deleteResponse",
        "Stop a response and erase it",
        "What is kept of it here, that is: what its provider keeps of it is not touched.",
        answer("It is erased.", {JSON: deleted}),
    )
