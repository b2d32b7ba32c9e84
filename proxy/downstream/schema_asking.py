"""The calls of the OpenAPI document that make an answer: one for each dialect."""

from collections.abc import Iterable

from proxy import errors
from proxy.downstream.schema_answers import (
    JSON,
    SSE,
    answer,
    quota_headers,
    response_headers,
    stream_headers,
)
from proxy.downstream.schema_bodies import Json, ref
from proxy.downstream.schema_errors import Failure, failures, of_making_an_answer, responses
from proxy.downstream.schema_parameters import passed_on, wishes
from proxy.wire.dialect import Dialect


def asking_paths(dialects: Iterable[Dialect]) -> dict[str, Json]:
    """The path of every dialect, and its call."""
    calls = {
        "openai.chat": _ask_chat,
        "openai.responses": _ask_responses,
        "anthropic.messages": _ask_messages,
    }
    return {dialect.path: {"post": calls[dialect.name]()} for dialect in dialects}


def _ask_chat() -> Json:
    asked: Json = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    return {
        "operationId": "createChatCompletion",
        "summary": "Ask for an answer, as OpenAI's Chat Completions",
        "requestBody": _request("ChatRequest", asked),
        "responses": _made("ChatCompletion", "OpenAIError"),
    } | _asking()


def _ask_responses() -> Json:
    asked: Json = {"model": "demo", "input": "Hello"}
    made = _made(
        "Response", "OpenAIError", failures(errors.PreviousResponseUnknown), response_headers()
    )
    return {
        "operationId": "createResponse",
        "summary": "Ask for an answer, as OpenAI's Responses",
        "requestBody": _request("ResponsesRequest", asked),
        "responses": made,
    } | _asking()


def _ask_messages() -> Json:
    asked: Json = {
        "model": "demo",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    return {
        "operationId": "createMessage",
        "summary": "Ask for an answer, as Anthropic's Messages",
        "requestBody": _request("MessagesRequest", asked),
        "responses": _made("Message", "AnthropicError"),
    } | _asking()


def _asking() -> Json:
    return {
        "tags": ["Answers"],
        "parameters": [*wishes(), *passed_on()],
        "description": (
            "The body goes on to the model's provider, with fields that this document does not "
            "name.\n\n"
            "The answer is made by a *stream* that does not end when the connection does. Its id "
            "stands in `Midstream-Stream`; `GET /v1/streams/{stream}/events` goes on where a "
            'reader has left. With `"stream": true` the answer comes event by event, each with '
            "its `id`; without, it comes once, when it is complete.\n\n"
            "A failure before the first content is an HTTP status. A later one is the stream's "
            "last event; where the whole answer is waited for it is an error that names the "
            "stream, in which the answer so far can be read."
        ),
    }


def _request(name: str, example: Json) -> Json:
    return {"required": True, "content": {JSON: {"schema": ref(name), "example": example}}}


def _made(
    whole: str, error: str, also: Iterable[Failure] = (), may_tell: Json | None = None
) -> dict[str, Json]:
    """What a call that makes an answer can get. `whole` is the answer that is not streamed."""
    return {
        "200": answer(
            "The answer: whole, or event by event.",
            {JSON: ref(whole), SSE: ref("ServerSentEvent")},
            (may_tell or stream_headers("X-Accel-Buffering")) | quota_headers(),
        )
        | {"links": _links()},
        "202": answer(
            "With `Prefer: respond-async`: the answer is being made.",
            {JSON: ref("StreamView")},
            stream_headers("Preference-Applied") | quota_headers(),
        )
        | {"links": _links()},
        "204": answer(
            "With `Last-Event-ID`: the stream has ended, and that was its last event.",
            headers=stream_headers(),
        ),
    } | responses([*of_making_an_answer(), *also], error, may_name_a_stream=True)


def _links() -> Json:
    """What can be done with the stream of an answer."""
    calls = {
        "state": "getStream",
        "events": "getEvents",
        "response": "getResponse",
        "cancel": "cancelStream",
        "delete": "deleteStream",
    }
    id_of_stream = "$response.header.Midstream-Stream"
    return {
        name: {"operationId": call, "parameters": {"stream": id_of_stream}}
        for name, call in calls.items()
    }
