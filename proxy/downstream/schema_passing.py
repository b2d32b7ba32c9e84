"""The calls of the OpenAPI document that pass through whole, and their shapes."""

from proxy import errors
from proxy.downstream.schema_answers import JSON, answer, quota_headers
from proxy.downstream.schema_bodies import Json, ref
from proxy.downstream.schema_dialects import asked_model, of_others
from proxy.downstream.schema_errors import (
    failures,
    of_authentication,
    of_quotas,
    of_the_provider,
    responses,
)
from proxy.downstream.schema_parameters import passed_on
from proxy.wire.passages import COUNT_TOKENS, EMBEDDINGS

_EXPLAINED = (
    "The request goes to the model's provider with nothing changed but the model's name, and the "
    "provider's own bytes come back. Nothing is kept, so there is nothing to resume: whoever "
    "leaves, leaves the provider too. It passes the key's limits "
)


def passing_paths() -> dict[str, Json]:
    """The path of every passage, and its call."""
    embeddings: Json = {
        "operationId": "createEmbeddings",
        "summary": "Embed texts, as OpenAI's Embeddings",
        "description": _EXPLAINED + "as an answer would, all but that of concurrent streams.",
        "requestBody": _request("EmbeddingsRequest", {"model": "demo", "input": "Hello"}),
        "responses": _passed("Embeddings", "OpenAIError"),
    }
    asked: Json = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    count: Json = {
        "operationId": "countTokens",
        "summary": "Count the tokens of a message, as Anthropic does",
        "description": _EXPLAINED + "on requests alone, as providers ask no money for it.",
        "requestBody": _request("CountTokensRequest", asked),
        "responses": _passed("TokenCount", "AnthropicError"),
    }
    return {
        EMBEDDINGS.path: {"post": embeddings | _common()},
        COUNT_TOKENS.path: {"post": count | _common()},
    }


def _common() -> Json:
    return {"tags": ["Passages"], "parameters": passed_on()}


def _request(name: str, example: Json) -> Json:
    return {"required": True, "content": {JSON: {"schema": ref(name), "example": example}}}


def _passed(whole: str, error: str) -> dict[str, Json]:
    found = [
        *of_authentication(),
        *failures(
            errors.MalformedRequest,
            errors.ModelWithoutPrice,
            errors.ModelNotFound,
            errors.PassageNotOffered,
            errors.BodyTooLarge,
            errors.UnsupportedMediaType,
            errors.StoreUnavailable,
            errors.Draining,
            errors.StreamLimitReached,
            errors.ProviderRefused,
            errors.ProviderUnreachable,
            errors.ProviderStalled,
            errors.ProviderTruncated,
            errors.ProviderGarbled,
        ),
        *of_quotas(),
        *of_the_provider(),
    ]
    told = answer("The provider's answer.", {JSON: ref(whole)}, quota_headers())
    return {"200": told} | responses(found, error, may_be_limited=True)


def passing_schemas() -> Json:
    """Bodies, as far as the proxy reads them."""
    texts: Json = {"description": "What is to be embedded: a text, texts, or their tokens."}
    messages: Json = {"type": "array", "description": "The conversation so far."}
    numbers: Json = {"data": {"type": "array"}, "model": {"type": "string"}}
    count: Json = {"input_tokens": {"type": "integer"}}
    return {
        "EmbeddingsRequest": of_others(
            asked_model() | {"input": texts}, "model", "input", of="OpenAI's Embeddings"
        ),
        "CountTokensRequest": of_others(
            asked_model() | {"messages": messages}, "model", "messages", of="Anthropic's count"
        ),
        "Embeddings": of_others(numbers, of="OpenAI's Embeddings"),
        "TokenCount": of_others(count, of="Anthropic's count"),
    }
