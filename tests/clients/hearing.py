"""What an SDK is asked and what it made of the answer, the same for all four SDKs.

An SDK here is one of Python's two, sync or async, or Node's two. `Heard` holds plain data, so that
what came through the proxy can be compared with what came from the provider itself.
"""

from typing import Any, Literal

import msgspec

Kind = Literal["openai", "responses", "anthropic"]
"""What is spoken: OpenAI's SDK has two languages."""
How = Literal[
    "create",
    "stream",
    "helper",
    "models",
    "model",
    "retrieve",
    "resume",
    "replay",
    "cancel",
    "delete",
    "embeddings",
    "count_tokens",
    "agent",
]
"""From `retrieve` to `delete` of responses: by id, with `starting_after` where the body says so.
`agent` is the SDK's own loop of a model and its tools, which only Node is asked for here."""


class Question(msgspec.Struct, frozen=True):
    """One call: `create` is unstreamed, `stream` is iterated, `helper` is the stream helper.

    `embeddings` only OpenAI's SDKs have, `count_tokens` only Anthropic's.
    """

    how: How
    body: dict[str, Any]


class Failure(msgspec.Struct, frozen=True):
    """The exception that the SDK raised."""

    name: str
    status: int | None
    code: str | None
    type: str | None
    message: str
    retry_after: str | None = None
    stream: str | None = None
    """The `Midstream-Stream` header, where the SDK gives it."""


class Heard(msgspec.Struct):
    """Every object that the SDK gave, in order; the last word of a helper; its exception."""

    events: list[Any]
    final: Any = None
    error: Failure | None = None


def question(kind: Kind, how: How, model: str, text: str = "hi", /, **fields: object) -> Question:
    """The least that the SDK of `kind` can ask."""
    if kind == "responses":
        return Question(how, {"model": model, "input": text} | fields)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if kind == "anthropic":
        body["max_tokens"] = 1024
    return Question(how, body | fields)


def without_nulls(thing: object) -> object:
    """The same data without fields that are null: an SDK reads an absent one as None too."""
    if isinstance(thing, dict):
        return {key: without_nulls(value) for key, value in thing.items() if value is not None}
    if isinstance(thing, (list, tuple)):
        return [without_nulls(value) for value in thing]
    return thing
