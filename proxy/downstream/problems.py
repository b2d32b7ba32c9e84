"""Errors on their way out: any exception becomes an HTTP answer in the caller's dialect."""

import re
from collections.abc import Mapping

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute
from litestar.types import Scope

from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, read_headers, request_id
from proxy.errors import (
    InternalError,
    MalformedRequest,
    MethodNotAllowed,
    MidstreamError,
    RouteNotFound,
    UpgradeRequired,
)
from proxy.stream import Problem
from proxy.wire.dialect import Dialect


def dialect_of_caller(
    scope: Scope, headers: Mapping[str, str], dialects: Mapping[str, Dialect]
) -> Dialect:
    """Whose errors the caller understands: by the path, else by the headers its SDK sends."""
    for dialect in dialects.values():
        if scope["path"].startswith(dialect.path):
            return dialect
    name = "anthropic.messages" if "anthropic-version" in headers else "openai.chat"
    return dialects[name]


def problem_answer(
    scope: Scope,
    problem: Problem,
    dialect: Dialect,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """An HTTP error."""
    body = dialect.error_body(problem, request_id(scope))
    return Answer(problem.status, body, headers=[*headers, *problem_headers(problem)])


def problem_headers(problem: Problem) -> list[tuple[str, str]]:
    """What belongs to an error beside its body: `x-should-retry` tells what a status cannot."""
    told = [("x-should-retry", "true" if problem.is_retryable else "false")]
    if problem.retry_after_s is not None:
        told.append(("retry-after", str(max(1, -int(-problem.retry_after_s // 1)))))
        if problem.is_retryable:  # else nobody is to sleep so long to the millisecond
            wait_ms = -int(-problem.retry_after_s * 1000 // 1)
            told.append(("retry-after-ms", str(max(1, wait_ms))))
    if problem.status == 401:
        told.append(("www-authenticate", "Bearer"))
    return told


def as_own_error(error: Exception) -> MidstreamError:
    """What Litestar raises, in our own tree."""
    if isinstance(error, MidstreamError):
        return error
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return RouteNotFound()
        if error.status_code == 405:
            return MethodNotAllowed()
        if error.status_code < 500:
            return MalformedRequest(error.detail)
    return InternalError()


class ErrorResponse(Response[None]):
    """What Litestar wants of an exception handler, around the answer itself."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(content=None, status_code=answer.status)
        self._answer = answer

    def to_asgi_response(self, *_: object, **__: object) -> Answer:  # type: ignore[override]
        """The answer."""
        return self._answer


def handle_error(request: Request, error: Exception) -> ErrorResponse:  # type: ignore[type-arg]
    """Litestar's exception handler for everything."""
    desk: Desk = request.app.state.desk
    own = as_own_error(error)
    if isinstance(own, InternalError):
        desk.observer.internal_error(error, request=request_id(request.scope))
    headers = read_headers(request.scope)
    dialect = dialect_of_caller(request.scope, headers, desk.dialects)
    extra: tuple[tuple[str, str], ...] = ()
    if isinstance(own, MethodNotAllowed):
        extra = (("allow", _allowed_methods(request)),)
    elif isinstance(own, UpgradeRequired):  # RFC 9110 15.5.22, RFC 6455 4.4
        extra = (("upgrade", "websocket"), ("sec-websocket-version", "13"))
    return ErrorResponse(problem_answer(request.scope, own.problem(), dialect, extra))


def _allowed_methods(request: Request) -> str:  # type: ignore[type-arg]
    """The methods that the request's path does take (RFC 9110 15.5.6)."""
    methods: set[str] = set()
    for route in request.app.routes:
        pattern = re.sub(r"\{[^}]*:path\}", ".+", route.path)
        pattern = re.sub(r"\{[^}]*\}", "[^/]+", pattern)
        if re.fullmatch(pattern, request.scope["path"]) and isinstance(route, HTTPRoute):
            methods |= route.methods
    return ", ".join(sorted(methods))
