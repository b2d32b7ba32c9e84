"""Every exception of Midstream, as one tree, by whose fault it is.

    MidstreamError
    ├── CallerError                 the client's
    │   ├── MalformedRequest        400
    │   ├── MalformedEventId        400
    │   ├── ModelWithoutPrice       400
    │   ├── ThreadUnsupported       400
    │   ├── PreviousResponseUnknown 400
    │   ├── NotAuthenticated        401
    │   ├── NotPermitted            403
    │   ├── StreamNotFound          404
    │   ├── ModelNotFound           404
    │   ├── PassageNotOffered       404
    │   ├── ResponseNotFound        404
    │   ├── RouteNotFound           404
    │   ├── MethodNotAllowed        405
    │   ├── NotAcceptable           406
    │   ├── AheadOfStream           409
    │   ├── StreamGone              410
    │   ├── BodyTooLarge            413
    │   ├── UnsupportedMediaType    415
    │   ├── IdempotencyMismatch     422
    │   ├── UpgradeRequired         426
    │   ├── QuotaExceeded           429
    │   ├── AlreadySubscribed       on a WebSocket
    │   ├── SubscriptionLimit       on a WebSocket
    │   ├── InvalidLane             400, on a Responses WebSocket
    │   ├── LaneLimit               400, on a Responses WebSocket
    │   └── WaitingLimit            429, on a Responses WebSocket
    ├── ProviderError               the provider's
    │   ├── ProviderRefused         it answered with an error status
    │   ├── ProviderReported        it sent an error inside the stream
    │   ├── ProviderUnreachable     no connection, or it broke before the answer
    │   ├── ProviderStalled         a deadline passed
    │   ├── ProviderTruncated       it stopped without its own terminator
    │   ├── ProviderUntranslatable  what it sent cannot be said in the client's dialect
    │   └── ProviderGarbled         what it sent cannot be read, or passes a limit
    ├── OwnError                    ours
    │   ├── StoreUnavailable        503: cannot be reached, or did not answer in time
    │   ├── StoreFull               503
    │   ├── Draining                503
    │   ├── StreamLimitReached      503
    │   ├── TargetsResting          503
    │   ├── ConfigInvalid           the file cannot be applied
    │   ├── DataInUse               another process owns the embedded store's data
    │   ├── RecipeUnreadable        what is kept of a request cannot be read here
    │   └── InternalError           500: a bug
    ├── CannotContinue              nobody's: an answer ends where its provider left it
    └── ServerError                 that of a server, met by a command of the terminal
        ├── ServerUnreachable       no connection can be made
        ├── ServerRefused           it answered with a status that is final
        ├── LineLost                the connection broke; it can be made again
        └── PromiseBroken           what it sent cannot be so

A leaf holds facts; status, code and retryability are class attributes; ``str()`` makes the
sentence. `MidstreamError.problem` turns any of them into the neutral `Problem` that dialects
render. No exception here ever holds a credential or a prompt.

This is longer than a file should be because a tree has one place.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from proxy.stream import Problem, StreamId

if TYPE_CHECKING:  # the tree stands below the arithmetic, and only carries what that worked out
    from proxy.policy.quotas import Refusal, Standing


class MidstreamError(Exception):
    """Base of all. Never raised itself."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    is_retryable: ClassVar[bool] = False
    """Whether the same request may succeed if it is sent again unchanged."""
    param: str | None = None
    retry_after_s: float | None = None

    def problem(self) -> Problem:
        """The facts, for a dialect to render."""
        return Problem(
            status=self.status,
            code=self.code,
            message=str(self),
            param=self.param,
            retry_after_s=self.retry_after_s,
            is_retryable=self.is_retryable,
        )


# --- the client's fault ------------------------------------------------------------------


class CallerError(MidstreamError):
    """The request cannot be served as it is."""

    status = 400
    code = "invalid_request"


class MalformedRequest(CallerError):
    """A header, a query parameter or the body is not what it must be."""

    def __init__(self, what: str, *, param: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.param = param

    def __str__(self) -> str:
        return self.what


class MalformedEventId(CallerError):
    """A cursor that is not a whole number from 0."""

    code = "invalid_event_id"

    def __init__(self, given: str) -> None:
        super().__init__(given)
        self.given = given

    def __str__(self) -> str:
        return (
            f"An event id is a whole number from 0, in decimal digits; {self.given[:40]!r} is not."
        )


class ModelWithoutPrice(CallerError):
    """Nobody has said what the model costs, and a limit in money holds for it."""

    code = "model_without_price"
    param = "model"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return (
            f"The model {self.model[:100]!r} has no price, and a limit in USD holds for it. The "
            f"operator has to add a price = {{input = ..., output = ...}}, in USD for a million "
            f"tokens, to the section [models] that serves it."
        )


class PreviousResponseUnknown(CallerError):
    """The answer that this one is to go on from is not known here, or is another owner's."""

    code = "previous_response_not_found"
    param = "previous_response_id"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"Previous response with id {self.name[:100]!r} not found."


class ThreadUnsupported(CallerError):
    """Anthropic's field for a conversation that the server holds, where the provider is another.

    Its SDKs' tool runners send it unasked, and go on without it if the code is this one.
    """

    code = "thread_unsupported_request"
    param = "thread"

    def __str__(self) -> str:
        return (
            "'thread' cannot be translated: the provider of this model holds no conversation. "
            "Send the whole one, without it."
        )


class NotAuthenticated(CallerError):
    """No key, or one that is not known, revoked or expired."""

    status = 401
    code = "invalid_api_key"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class NotPermitted(CallerError):
    """Known, but not allowed to do this."""

    status = 403
    code = "permission_denied"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class StreamNotFound(CallerError):
    """No such stream, or another owner's: the same answer for both."""

    status = 404
    code = "stream_not_found"

    def __str__(self) -> str:
        return "There is no such stream."


class ResponseNotFound(CallerError):
    """No answer of that name, or another owner's, or it is kept no longer: the same for all."""

    status = 404
    code = "response_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"Response with id {self.name[:100]!r} not found."


class ModelNotFound(CallerError):
    """No model of that name is configured for this caller."""

    status = 404
    code = "model_not_found"
    param = "model"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The model {self.model[:100]!r} does not exist; GET /v1/models lists those that do."


class PassageNotOffered(CallerError):
    """The model's provider has answers alone, and not what was asked for."""

    status = 404
    code = "not_offered"

    def __init__(self, model: str, what: str) -> None:
        super().__init__(model, what)
        self.model = model
        self.what = what
        self.param = "model"

    def __str__(self) -> str:
        return (
            f"The provider of model {self.model[:100]!r} has no {self.what}; "
            "ask for a model of another provider."
        )


class RouteNotFound(CallerError):
    """No such path."""

    status = 404
    code = "route_not_found"

    def __str__(self) -> str:
        return "There is nothing at this path; GET /schema lists what there is."


class MethodNotAllowed(CallerError):
    """The path exists, but not for this method."""

    status = 405
    code = "method_not_allowed"

    def __str__(self) -> str:
        return "This path does not take this method; GET /schema lists what there is."


class NotAcceptable(CallerError):
    """The Accept header allows nothing that can be served."""

    status = 406
    code = "not_acceptable"

    def __str__(self) -> str:
        return "Events are served as text/event-stream or application/json."


class AheadOfStream(CallerError):
    """A cursor beyond the last event."""

    status = 409
    code = "ahead_of_stream"

    def __init__(self, after: int, last_id: int) -> None:
        super().__init__(after, last_id)
        self.after = after
        self.last_id = last_id

    def __str__(self) -> str:
        return (
            f"Event {self.after} does not exist: the last event of this stream is {self.last_id}."
        )


class StreamGone(CallerError):
    """It existed, and its events are erased or have expired."""

    status = 410
    code = "stream_expired"

    def __str__(self) -> str:
        return "The events of this stream are no longer kept."


class BodyTooLarge(CallerError):
    """More bytes than the configured limit."""

    status = 413
    code = "request_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self.bytes_max = bytes_max

    def __str__(self) -> str:
        return f"The request body is larger than {self.bytes_max} bytes."


class UnsupportedMediaType(CallerError):
    """Bodies are JSON, unencoded."""

    status = 415
    code = "unsupported_media_type"

    def __str__(self) -> str:
        return "The body must be application/json, without a content-encoding."


class IdempotencyMismatch(CallerError):
    """The idempotency key was used with another request."""

    status = 422
    code = "idempotency_mismatch"

    def __str__(self) -> str:
        return "This Idempotency-Key was used with another path or body."


class UpgradeRequired(CallerError):
    """The path is for WebSockets, and the request is no handshake of one."""

    status = 426
    code = "upgrade_required"

    def __str__(self) -> str:
        return (
            "A GET of this path takes WebSocket handshakes (RFC 6455, version 13) alone; "
            "GET /v1/streams/{id}/events needs none."
        )


class QuotaExceeded(CallerError):
    """A limit says no, and nothing was charged. `standings` is what is left of all that count."""

    status = 429
    is_retryable = True

    def __init__(self, refusal: "Refusal", standings: "Sequence[Standing]" = ()) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.standings = standings
        limit = refusal.limit
        self.kind: str = limit.kind
        self.pool = limit.pool
        self.amount = limit.amount
        wait_s = refusal.retry_after_s
        self.is_used_up = wait_s is None or wait_s > _RETRY_WITHIN_S
        self.retry_after_s = wait_s

    def problem(self) -> Problem:
        """Who would wait for long is told so, and not to try again."""
        return Problem(
            status=self.status,
            code="insufficient_quota" if self.is_used_up else "rate_limit_exceeded",
            message=str(self),
            retry_after_s=self.retry_after_s,
            is_retryable=not self.is_used_up,
            limited=_LIMITED[self.kind],
        )

    def __str__(self) -> str:
        name, _, of = self.pool.partition(":")
        who = _POOLS.get(name, name).format(of)
        limit = _LIMITS[self.kind].format(_counted(self.kind, self.amount))
        left = next((s.remaining for s in self.standings if s.limit == self.refusal.limit), 0)
        told = f"{limit}; {_counted(self.kind, left)} of it is left"
        if name in _ABOVE_ALL_KEYS and self.kind.startswith("usd"):
            limit, told = "only so much money", "only so much money; too little of it is left"
        if self.refusal.retry_after_s is None:
            return f"{who} may have {limit}, and this request alone may need more."
        wait = _in_words(self.refusal.retry_after_s)
        return f"{who} may have {told}. Try again in {wait}."


_RETRY_WITHIN_S = 60.0
"""A longer wait is nothing for a retry. Specified (quotas)."""

_POOLS = {
    "key": "This key",
    "team": "The team {!r}",
    "all": "Everybody together",
    "provider": "All that goes to provider {!r}",
}
"""Who shares a limit, in words."""

_ABOVE_ALL_KEYS = frozenset({"all", "provider"})
"""What these may spend is the operator's own matter, here as in the headers."""

_LIMITED = {
    "requests_per_minute": "requests",
    "tokens_per_minute": "tokens",
    "concurrent_streams": "streams",
    "tokens_per_day": "tokens",
    "tokens_per_month": "tokens",
    "usd_per_day": "usd",
    "usd_per_month": "usd",
}
"""Of what each kind of limit leaves too little."""

_LIMITS = {
    "requests_per_minute": "{} requests a minute",
    "tokens_per_minute": "{} tokens a minute",
    "concurrent_streams": "{} streams at a time",
    "tokens_per_day": "{} tokens a day",
    "tokens_per_month": "{} tokens a month",
    "usd_per_day": "{} a day",
    "usd_per_month": "{} a month",
}
"""Every kind of limit, in words."""


def _counted(kind: str, count: int) -> str:
    """So many units of a kind of limit: of money all digits, or small limits would be $0.00."""
    if not kind.startswith("usd"):
        return f"{count:,}"
    dollars, rest = divmod(count, 1_000_000)
    return f"${dollars:,}.{f'{rest:06}'.rstrip('0'):0<2}"


def _in_words(seconds: float) -> str:
    """A wait, rounded up."""
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds > 2 * size:
            return f"{-int(-seconds // size)} {name}"
    return f"{max(1, -int(-seconds // 1))} s"


class AlreadySubscribed(CallerError):
    """One connection reads a stream once."""

    code = "already_subscribed"

    def __init__(self, stream: StreamId) -> None:
        super().__init__(stream)
        self.stream = stream

    def __str__(self) -> str:
        return f"This connection reads {self.stream} already; unsubscribe from it first."


class SubscriptionLimit(CallerError):
    """More streams than one connection may read at a time."""

    code = "subscription_limit"

    def __init__(self, streams_max: int) -> None:
        super().__init__(streams_max)
        self.streams_max = streams_max

    def __str__(self) -> str:
        return f"This connection already reads {self.streams_max} streams; open another one."


class InvalidLane(CallerError):
    """What should name a lane cannot."""

    code = "invalid_stream_id"
    param = "stream_id"

    def __str__(self) -> str:
        return (
            "stream_id must be 1 to 256 letters, digits, underscores, hyphens or periods, all of "
            "them ASCII; without it, a message belongs to the lane that has no name."
        )


class LaneLimit(CallerError):
    """More lanes than one connection may have."""

    code = "websocket_stream_limit_reached"
    param = "stream_id"

    def __init__(self, lanes_max: int) -> None:
        super().__init__(lanes_max)
        self.lanes_max = lanes_max

    def __str__(self) -> str:
        return (
            f"This connection has named {self.lanes_max} lanes, which is all that it may; "
            f"use one of them again, or open another connection."
        )


class WaitingLimit(CallerError):
    """More waits on one connection than may."""

    status = 429
    code = "websocket_queue_limit_reached"
    is_retryable = True

    def __str__(self) -> str:
        return "Too much waits on this connection already; wait for a response to end."


# --- the provider's fault ----------------------------------------------------------------


class ProviderError(MidstreamError):
    """The answer could not be had, or not to its end."""

    status = 502
    code = "provider_error"
    is_retryable = True


_ABOUT_OUR_ACCOUNT = frozenset({401, 402, 403, 407})
"""Statuses that concern this proxy and its provider, and nobody else."""


class ProviderRefused(ProviderError):
    """The provider answered the request with an error status.

    `body` is its own error body, if it may be shown to the client: errors about our account
    (401, 402, 403) may not, and become 502.
    """

    def __init__(
        self,
        provider: str,
        upstream_status: int,
        *,
        code: str | None = None,
        message: str | None = None,
        body: bytes | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(provider, upstream_status)
        self.provider = provider
        self.upstream_status = upstream_status
        self.upstream_code = code
        self.upstream_message = message
        self.retry_after_s = retry_after_s
        self.body = body

    _PASSED_ON = frozenset({400, 404, 408, 409, 413, 422, 429, 500, 503, 504, 529})

    def problem(self) -> Problem:
        """The provider's own status and body where they concern the client, else 502."""
        ours = self.upstream_status in _ABOUT_OUR_ACCOUNT
        passed_on = self.upstream_status in self._PASSED_ON
        return Problem(
            status=self.upstream_status if passed_on else 502,
            code="provider_refused_us" if ours else self.upstream_code or "provider_error",
            message=str(self),
            retry_after_s=self.retry_after_s,
            is_retryable=self.upstream_status in {408, 409, 429} or self.upstream_status >= 500,
            body=self.body if passed_on else None,
        )

    def __str__(self) -> str:
        if self.upstream_status in _ABOUT_OUR_ACCOUNT:
            return (
                f"Provider {self.provider!r} does not accept this proxy's credentials "
                f"(status {self.upstream_status}); its operator has to look."
            )
        said = f": {self.upstream_message}" if self.upstream_message else ""
        return f"Provider {self.provider!r} answered with status {self.upstream_status}{said}"


class ProviderReported(ProviderError):
    """An error event inside the stream. `body` is that event's data."""

    def __init__(self, body: bytes, *, code: str, message: str, status: int) -> None:
        super().__init__(code)
        self.body = body
        self.upstream_code = code
        self.upstream_message = message
        self.upstream_status = status

    def problem(self) -> Problem:
        """The provider's own words, unless they are about our account."""
        if self.upstream_status in _ABOUT_OUR_ACCOUNT:
            return Problem(
                status=502,
                code="provider_refused_us",
                message="The provider does not accept this proxy's credentials; "
                "its operator has to look.",
            )
        return Problem(
            status=self.upstream_status,
            code=self.upstream_code,
            message=self.upstream_message,
            is_retryable=self.upstream_status == 429 or self.upstream_status >= 500,
            body=self.body,
        )

    def __str__(self) -> str:
        return self.upstream_message


class ProviderUnreachable(ProviderError):
    """No connection could be made, or it broke before the answer.

    Then the provider `was_asked`, and may have worked for nothing.
    """

    code = "provider_unreachable"

    def __init__(self, provider: str, reason: str, *, was_asked: bool = True) -> None:
        super().__init__(provider, reason)
        self.provider = provider
        self.reason = reason
        self.was_asked = was_asked

    def __str__(self) -> str:
        return f"The connection to provider {self.provider!r} failed: {self.reason}."


class ProviderStalled(ProviderError):
    """A deadline passed: `deadline` is connect, first_event, idle or total."""

    status = 504
    code = "provider_stalled"

    def __init__(self, deadline: str, after_s: float) -> None:
        super().__init__(deadline, after_s)
        self.deadline = deadline
        self.after_s = after_s

    def __str__(self) -> str:
        what = {
            "connect": "did not accept a connection",
            "first_event": "sent nothing",
            "idle": "fell silent",
            "total": "did not finish",
        }[self.deadline]
        return f"The provider {what} within {self.after_s:g} s."


class ProviderTruncated(ProviderError):
    """It stopped without its own terminator: the answer is not whole."""

    code = "provider_truncated"

    def __str__(self) -> str:
        return "The provider stopped in the middle of the answer."


class ProviderGarbled(ProviderError):
    """Not the dialect, not JSON, not UTF-8, or larger than a limit."""

    code = "provider_garbled"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"The provider sent what cannot be relayed: {self.what}."


class ProviderUntranslatable(ProviderError):
    """Part of an answer that the client's dialect has no words for. Never left out in silence.

    Asked again, the provider is paid again, and most likely says it again.
    """

    code = "untranslatable"
    is_retryable = False

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return (
            f"The provider sent {self.what}, which cannot be said in the dialect of this request; "
            "ask in the provider's own."
        )


# --- ours --------------------------------------------------------------------------------


class OwnError(MidstreamError):
    """Nobody else is to blame."""

    status = 503
    code = "unavailable"
    is_retryable = True
    retry_after_s: float | None = 1.0


class StoreUnavailable(OwnError):
    """The store cannot be reached, or did not answer in time. The outcome is unknown."""

    code = "store_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return "The store cannot be reached."


class StoreFull(OwnError):
    """The store refuses writes for want of memory."""

    code = "store_full"
    retry_after_s = 10.0

    def __str__(self) -> str:
        return "The store is full."


class Draining(OwnError):
    """This worker is being stopped and takes no new streams."""

    code = "draining"

    def __str__(self) -> str:
        return "This worker is being stopped; another one takes the request."


class StreamLimitReached(OwnError):
    """More answers at a time than one worker is configured to make."""

    code = "worker_busy"

    def __init__(self, streams_max: int) -> None:
        super().__init__(streams_max)
        self.streams_max = streams_max

    def __str__(self) -> str:
        return (
            f"This worker already makes {self.streams_max} answers, as many as it may; try again."
        )


_PROBE_S = 1.0
"""Until it is known what came of one that is just tried. Chosen: a person waits that long."""


class TargetsResting(OwnError):
    """Whoever could serve the model has failed, and is left alone for so long."""

    code = "targets_resting"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = max(retry_after_s, _PROBE_S)

    def __str__(self) -> str:
        return (
            "All that could serve this model has failed lately and is left alone for now; it is "
            f"tried again in {_in_words(self.retry_after_s or 0)}."
        )


class ConfigInvalid(OwnError):
    """All problems of a config file at once."""

    code = "config_invalid"
    is_retryable = False
    retry_after_s = None

    def __init__(self, problems: tuple[str, ...], file: str = "") -> None:
        super().__init__(problems, file)
        self.problems = problems
        self.file = file
        """Its path, where the problems do not say it."""

    def __str__(self) -> str:
        if not self.file:
            return "\n".join(self.problems)
        return "\n  ".join((f"{self.file} is not valid:", *self.problems))


class DataInUse(OwnError):
    """Another process owns the embedded store's data."""

    code = "data_in_use"
    is_retryable = False
    retry_after_s = None

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"The data in {self.path} is in use by another Midstream; stop it, "
            f"or set [store] path to another place."
        )


class RecipeUnreadable(OwnError):
    """What is kept of a request cannot be read here, so its stream cannot be taken over."""

    code = "recipe_unreadable"
    is_retryable = False
    retry_after_s = None

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        """In our own words, for the log."""

    def __str__(self) -> str:
        return f"Its recipe cannot be read: {self.why}."


class InternalError(OwnError):
    """A bug. What happened is in the log, under the request id."""

    status = 500
    code = "internal_error"
    is_retryable = False
    retry_after_s = None

    def __str__(self) -> str:
        return "Something went wrong inside the proxy; its log knows more under this request id."


class CannotContinue(MidstreamError):
    """An answer that another provider cannot go on with truthfully. Never served.

    `reason` is one word: a field of the request, or what of the answer stands against it: see
    `wire.taking_up`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"Nobody else can go on with this answer: {self.reason}."


# --- that of a server, met at the terminal ------------------------------------------------


class ServerError(MidstreamError):
    """A command of the terminal did not get what it asked a server for. Never served."""


class ServerUnreachable(ServerError):
    """No connection."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"No connection to {self.url}: {self.reason}."


class ServerRefused(ServerError):
    """An answer that asking again would not change. `said` is the server's own sentence.

    `is_of_the_line` tells whether the way of reading may be what is refused, perhaps by
    somebody on the way.
    """

    def __init__(self, url: str, answered: int, said: str, *, is_of_the_line: bool = False) -> None:
        super().__init__(url, answered, said)
        self.url = url
        self.answered = answered
        self.said = said
        self.is_of_the_line = is_of_the_line

    def __str__(self) -> str:
        return f"{self.url} refuses ({self.answered}): {self.said}"


class LineLost(ServerError):
    """The connection broke, or was refused for now.

    `is_of_the_line` tells whether the way of reading may be to blame; the server itself is
    where it says that it is busy.
    """

    def __init__(
        self, reason: str, *, is_of_the_line: bool = True, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_of_the_line = is_of_the_line
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"No answer for now: {self.reason}."


class PromiseBroken(ServerError):
    """A server of Midstream never sends this."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"The server broke its promise: {self.what}."


def stream_problem(ending: str, reason: str, stream: StreamId) -> Problem:
    """The problem of a stream that was stopped, not broken: cancelled or interrupted."""
    status = 499 if ending == "cancelled" else 503
    return Problem(
        status=status,
        code=f"stream_{ending}",
        message=f"Stream {stream} was {ending}: {reason}.",
    )
