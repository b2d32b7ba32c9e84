"""The spans of clients' calls: begun where it is known who asks, each ended by its front.

Nobody without a key makes spans. Of the path only the route is told, and the id of a stream that
the caller may know of.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from litestar.types import Scope

from proxy.downstream.desk import Desk
from proxy.downstream.http import WS_PATH
from proxy.errors import MidstreamError
from proxy.observe import Span
from proxy.stream import Birth

_SPAN = "span"


def trace_request(desk: Desk, scope: Scope, headers: Mapping[str, str]) -> Span | None:
    """Begin the span of a request that makes or follows a stream; None if nothing is traced."""
    traces = desk.observer.traces
    if traces is None:
        return None
    method, route = str(scope.get("method", "")), str(scope.get("path_template", ""))
    span = scope["state"][_SPAN] = traces.request(method, route, headers)
    return span


def note_stream(scope: Scope, birth: Birth) -> None:
    """The request is about this stream: for the log, and for its span if it has one."""
    scope["state"]["stream"] = birth.id
    span: Span | None = scope["state"].get(_SPAN)
    if span is not None:
        span.concerns(birth)


def note_reading(scope: Scope, transport: str, after: int) -> None:
    """The stream's events go out as the answer, from after this one."""
    span: Span | None = scope["state"].get(_SPAN)
    if span is not None:
        span.reads(transport, after)


def end_request(scope: Scope) -> None:
    """The request has been answered, or left."""
    span: Span | None = scope["state"].pop(_SPAN, None)
    if span is not None:
        span.end(scope["state"].get("status"))


@contextmanager
def traced_message(
    desk: Desk, kind: str, handshake: Mapping[str, str], *, path: str = WS_PATH
) -> Iterator[Span | None]:
    """The span of a message on a WebSocket, while inside; None if nothing is traced."""
    traces = desk.observer.traces
    if traces is None:
        yield None
        return
    span, status = traces.message(kind, path, handshake), None
    try:
        yield span
    except MidstreamError as error:
        status = error.status
        raise
    finally:
        span.end(status)


def note_subscription(span: Span | None, birth: Birth, after: int) -> None:
    """The stream's events go out on a WebSocket, from after this one."""
    if span is not None:
        span.concerns(birth)
        span.reads("websocket", after)
