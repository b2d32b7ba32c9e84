"""How calls fail, as responses of the OpenAPI document.

Status and code are those of the error's class; only the explanation is written here, for readers
outside. What surprises: a provider's own refusal passes with its status and its body, so a call
that makes an answer can fail in ways that no class of ours stands for.
"""

from collections.abc import Iterable, Sequence

import msgspec

from proxy import errors
from proxy.downstream.schema_answers import JSON, failure_headers
from proxy.downstream.schema_bodies import Json, any_of
from proxy.errors import MidstreamError

BOTH_SHAPES = ("OpenAIError", "AnthropicError")
"""Of errors, where both kinds of SDKs call: which of them it is depends on the caller."""


class Failure(msgspec.Struct, frozen=True):
    """One way in which a call fails. `code` is None where the provider chooses code and body."""

    status: str
    code: str | None
    meaning: str


def failures(*kinds: type[MidstreamError]) -> list[Failure]:
    """Our own errors."""
    meanings = _meanings()
    return [Failure(str(kind.status), kind.code, meanings[kind]) for kind in kinds]


def of_authentication() -> list[Failure]:
    """Of every call that wants to know who is asking."""
    return failures(errors.NotAuthenticated, errors.NotPermitted, errors.InternalError)


def of_a_stream() -> list[Failure]:
    """Of every call about one stream."""
    return [*of_authentication(), *failures(errors.StreamNotFound, errors.StoreUnavailable)]


def of_making_an_answer() -> list[Failure]:
    """Of a call that makes an answer: the request's, the proxy's, the provider's, the stream's."""
    return [
        *of_a_stream(),
        *failures(
            errors.MalformedRequest,
            errors.MalformedEventId,
            errors.ModelWithoutPrice,
            errors.ThreadUnsupported,
            errors.ModelNotFound,
            errors.AheadOfStream,
            errors.StreamGone,
            errors.BodyTooLarge,
            errors.UnsupportedMediaType,
            errors.IdempotencyMismatch,
            errors.StoreFull,
            errors.Draining,
            errors.StreamLimitReached,
            errors.TargetsResting,
            errors.ProviderRefused,
            errors.ProviderUnreachable,
            errors.ProviderStalled,
            errors.ProviderTruncated,
            errors.ProviderGarbled,
            errors.ProviderUntranslatable,
        ),
        *of_quotas(),
        *of_the_provider(),
        *_of_a_stop(),
    ]


def responses(
    found: Iterable[Failure],
    *shapes: str,
    may_name_a_stream: bool = False,
    may_be_limited: bool = False,
) -> dict[str, Json]:
    """A response for each status of `found`, with an error of one of `shapes` in its body."""
    by_status: dict[str, list[Failure]] = {}
    for failure in found:
        by_status.setdefault(failure.status, []).append(failure)
    return {
        status: {
            "description": "\n".join(_line(failure) for failure in by_status[status]),
            "headers": failure_headers(
                status,
                may_name_a_stream=may_name_a_stream,
                may_be_limited=may_be_limited or may_name_a_stream,
            ),
            "content": {JSON: {"schema": any_of(*shapes, *_passed_on(by_status[status]))}},
        }
        for status in sorted(by_status)
    }


def _line(failure: Failure) -> str:
    code = "The provider's own code" if failure.code is None else f"`{failure.code}`"
    return f"* {code}: {failure.meaning}"


def _passed_on(found: Iterable[Failure]) -> Sequence[str]:
    return ["ProviderError"] if any(failure.code is None for failure in found) else []


# --- what they mean -----------------------------------------------------------------------------


def _meanings() -> dict[type[MidstreamError], str]:
    return {
        errors.MalformedRequest: "a header, a query parameter or the body is not what it must be; "
        "`param` names it where that is one thing.",
        errors.MalformedEventId: "the place to go on from is not a whole number from 0.",
        errors.ModelWithoutPrice: "nobody has configured what the model costs, and a limit in "
        "USD holds for it.",
        errors.ThreadUnsupported: "Anthropic's `thread` is only for its own models.",
        errors.NotAuthenticated: "no key was sent, or one that is not known or has expired.",
        errors.NotPermitted: "the proxy has no keys, and then serves only programs on its own "
        "machine: `Host` must be a loopback name, and a web page of another origin (by `Origin` "
        "or `Sec-Fetch-Site`) is refused.",
        errors.StreamNotFound: "there is no such stream, or it belongs to another owner.",
        errors.ResponseNotFound: "there is no such response, or it is kept no longer, or it is "
        "another owner's.",
        errors.PreviousResponseUnknown: "`previous_response_id` names no response of the caller's "
        "that is kept here.",
        errors.ModelNotFound: "there is no such model, or the key may not use it.",
        errors.PassageNotOffered: "the provider of the model has not what is asked for.",
        errors.RouteNotFound: "there is nothing at this path.",
        errors.MethodNotAllowed: "the path exists, but not for this method.",
        errors.NotAcceptable: "`Accept` allows neither `application/json` nor `text/event-stream`.",
        errors.AheadOfStream: "the stream has no event of that id; the message names its last one.",
        errors.StreamGone: "the stream was deleted, or the time for reading it again is over.",
        errors.BodyTooLarge: "the body, by its `Content-Length` or as it comes, is larger than the "
        "configured limit (32 MiB, unless set otherwise).",
        errors.UnsupportedMediaType: "the `Content-Type` must be `application/json`, and there "
        "may be no `Content-Encoding`.",
        errors.IdempotencyMismatch: "the `Idempotency-Key` was used before, with another path or "
        "body.",
        errors.UpgradeRequired: "the request is no WebSocket handshake.",
        errors.AlreadySubscribed: "as a message: the connection reads this stream already.",
        errors.SubscriptionLimit: "as a message: the connection reads as many streams as it may.",
        errors.InvalidLane: "as a message: `stream_id` is none.",
        errors.LaneLimit: "as a message: the connection has named as many lanes as it may.",
        errors.WaitingLimit: "as a message: too much waits on the connection already.",
        errors.ProviderRefused: "the provider answered with an error that says nothing about the "
        "request.",
        errors.ProviderUnreachable: "no connection to the provider, or it broke.",
        errors.ProviderStalled: "the provider did not answer, or fell silent, for too long.",
        errors.ProviderTruncated: "the provider stopped in the middle of the answer.",
        errors.ProviderGarbled: "the provider sent what cannot be understood, or too much.",
        errors.ProviderUntranslatable: "the provider sent what the caller's dialect cannot say.",
        errors.StoreUnavailable: "the store that keeps the streams cannot be reached.",
        errors.StoreFull: "the store takes no new streams for want of memory.",
        errors.Draining: "this worker is being stopped; another one takes the request.",
        errors.StreamLimitReached: "this worker already makes as many answers as it may.",
        errors.TargetsResting: "whoever could serve the model has failed lately and is left alone; "
        "`Retry-After` says when it is tried again.",
        errors.InternalError: "a bug of the proxy; its log knows more under the `x-request-id`.",
    }


def of_quotas() -> list[Failure]:
    """How a limit says no: two codes of one class, by how long it does."""
    return [
        Failure(
            "429",
            "rate_limit_exceeded",
            "a limit of the key is reached; `Retry-After` says for how long. Nothing was charged.",
        ),
        Failure(
            "429",
            "insufficient_quota",
            "a budget is used up, a limit is reached for more than a minute, or the request alone "
            "asks for more than the limit. Do not retry.",
        ),
    ]


def of_the_provider() -> list[Failure]:
    """Statuses that pass from the provider, with its code and its body."""
    said = {
        "400": "the provider refuses the request as it is.",
        "404": "the provider does not know something that the request names.",
        "408": "the provider did not get the request in time.",
        "409": "the request is in conflict with another one at the provider.",
        "413": "the request is too large for the provider.",
        "422": "the provider cannot work with the request.",
        "429": "a rate limit or quota of the provider is used up.",
        "500": "the provider failed.",
        "502": "the provider failed in a way that has no status of its own.",
        "503": "the provider is not available.",
        "504": "the provider took too long.",
        "529": "the provider is overloaded.",
        "4XX": "the provider began to answer, and then named a status of its own.",
        "5XX": "the provider began to answer, and then named a status of its own.",
    }
    ours = Failure(
        "502",
        "provider_refused_us",
        "the provider does not accept the proxy's own credentials; its operator has to look.",
    )
    return [ours, *(Failure(status, None, meaning) for status, meaning in said.items())]


def _of_a_stop() -> list[Failure]:
    """How a stream that was stopped answers a call that waits for the whole answer."""
    return [
        Failure("499", "stream_cancelled", "the stream was cancelled before it was complete."),
        Failure("503", "stream_interrupted", "the proxy was stopped before it was complete."),
    ]
