"""Spans of OpenTelemetry: what they are called, and what they tell.

Names are those of the GenAI and HTTP conventions; what only Midstream knows is under
``midstream.*``. What surprises: the id of an answer's span is made of the stream's id, so that
whoever knows a `Birth` knows the span, on any worker (D20).
"""

import hashlib
import os
import time
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PROPAGATORS
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from proxy.observe.counts import METHODS
from proxy.observe.traces import Ended, Span
from proxy.stream import Birth, Ending, StreamId

_STREAM: Final = "{stream}"
"""A stream's id in a route. What a client has written there is told only if it is one."""
_CHARS_MAX: Final = 200
"""Of a word that a provider or a client chose. Chosen: ids and models are far shorter."""

Attributes = dict[str, AttributeValue]


class Ids(RandomIdGenerator):
    """Random ids, but for the next span's if it is given."""

    given = 0

    def generate_span_id(self) -> int:
        """The given one, once."""
        given, self.given = self.given, 0
        return given or super().generate_span_id()


class Spans:
    """What makes spans: see `Traces`."""

    def __init__(self, provider: TracerProvider, ids: Ids, version: str) -> None:
        self._tracer = provider.get_tracer("midstream", version)
        self._ids = ids
        self._w3c = TraceContextTextMapPropagator()
        wanted = os.environ.get(OTEL_PROPAGATORS) or "tracecontext"
        self._propagates = "tracecontext" in wanted.replace(" ", "").split(",")

    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Span:
        """See `Traces.request`."""
        known = method in METHODS
        attributes: Attributes = {
            "http.request.method": method if known else "_OTHER",
            "http.route": route,
            "url.path": route,
            "url.scheme": "http",
        }
        name = f"{method if known else 'HTTP'} {route}"
        return CallSpan(self._start(name, attributes, headers), self._propagates, route)

    def message(self, kind: str, route: str, headers: Mapping[str, str]) -> Span:
        """See `Traces.message`."""
        attributes: Attributes = {"http.route": route, "midstream.message": kind}
        return CallSpan(self._start(f"WS {kind}", attributes, headers), self._propagates, "")

    def _start(self, name: str, attributes: Attributes, headers: Mapping[str, str]) -> trace.Span:
        parent = self._w3c.extract(headers, Context()) if self._propagates else Context()
        return self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)

    def wants(self, birth: Birth) -> bool:
        """See `Traces.wants`."""
        parent = _parent(birth)
        return parent is not None and parent.trace_flags.sampled

    def ended(self, ended: Ended, now_ns: int) -> None:
        """See `Traces.ended`."""
        course, until_ns = ended.course, time.time_ns()
        parent = _parent(ended.birth, is_remote=course is None)
        assert parent is not None, "it is wanted"
        model = course.model if course else ended.birth.model

        def wall(at_ns: int) -> int:
            return until_ns - (now_ns - at_ns)

        began_ns = wall(course.began_ns) if course else until_ns - int(ended.lasted_s * 1e9)
        self._ids.given = _span_id(ended.birth.id)
        span = self._tracer.start_span(
            f"chat {model[:_CHARS_MAX]}",
            trace.set_span_in_context(trace.NonRecordingSpan(parent), Context()),
            SpanKind.CLIENT,
            _answer(ended),
            start_time=began_ns,
        )
        if course and course.first_content_ns:
            span.add_event("midstream.first_content", timestamp=wall(course.first_content_ns))
        if ended.ending in {Ending.FAILED, Ending.INTERRUPTED}:
            span.set_status(StatusCode.ERROR)
        span.end(until_ns)


class CallSpan:
    """The span of a client's call: see `Span`. `route` is empty for a message."""

    def __init__(self, span: trace.Span, propagates: bool, route: str) -> None:
        self._span = span
        self._propagates = propagates
        self._route = route

    @property
    def traceparent(self) -> str:
        """See `Span.traceparent`."""
        context = self._span.get_span_context()
        return _traceparent(context, context.span_id)

    def passed_on(self, birth: Birth) -> list[tuple[str, str]]:
        """See `Span.passed_on`."""
        if not self._propagates:
            return []
        context = self._span.get_span_context()
        headers = [("traceparent", _traceparent(context, _span_id(birth.id)))]
        if context.trace_state:
            headers.append(("tracestate", context.trace_state.to_header()))
        return headers

    def concerns(self, birth: Birth) -> None:
        """See `Span.concerns`."""
        self._span.set_attribute("midstream.stream", birth.id)
        if _STREAM in self._route:
            self._span.set_attribute("url.path", self._route.replace(_STREAM, birth.id))
        made_by = _parent(birth)
        if made_by is not None and birth.trace != self.traceparent:
            self._span.add_link(
                SpanContext(
                    made_by.trace_id,
                    _span_id(birth.id),
                    is_remote=True,
                    trace_flags=made_by.trace_flags,
                )
            )

    def reads(self, transport: str, after: int) -> None:
        """See `Span.reads`."""
        self._span.set_attributes({"midstream.transport": transport, "midstream.after": after})

    def end(self, status: int | None) -> None:
        """See `Span.end`."""
        if status is not None:
            name = "http.response.status_code" if self._route else "midstream.status"
            self._span.set_attribute(name, status)
            if status >= 500:
                self._span.set_attribute("error.type", str(status))
                self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _answer(ended: Ended) -> Attributes:
    """The attributes of an answer's span."""
    birth, course, usage = ended.birth, ended.course, ended.usage
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": course.peer.kind if course else birth.dialect.partition(".")[0],
        "gen_ai.request.model": (course.model if course else birth.model)[:_CHARS_MAX],
        "gen_ai.request.stream": True,
        "midstream.stream": birth.id,
        "midstream.ending": ended.ending.value,
        "midstream.events": ended.events,
        "midstream.provider": ended.provider,
        "midstream.model": birth.model[:_CHARS_MAX],
        "midstream.dialect": birth.dialect,
        "midstream.owner": birth.owner,
    }
    if ended.ending in {Ending.FAILED, Ending.INTERRUPTED}:
        attributes["error.type"] = ended.code or f"stream_{ended.ending}"
    if course is not None:
        particulars = course.particulars
        said: Attributes = {
            "server.address": course.peer.address,
            "server.port": course.peer.port,
            "gen_ai.response.id": particulars.id[:_CHARS_MAX],
            "gen_ai.response.model": particulars.model[:_CHARS_MAX],
            "gen_ai.response.finish_reasons": [
                reason[:_CHARS_MAX] for reason in particulars.finish_reasons
            ],
        }
        attributes |= {name: value for name, value in said.items() if value}
        if course.first_read_ns:
            first_s = (course.first_read_ns - course.began_ns) / 1e9
            attributes["gen_ai.response.time_to_first_chunk"] = first_s
    if usage is not None:
        attributes["gen_ai.usage.input_tokens"] = usage.input_tokens
        attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
        attributes["midstream.usage.is_estimate"] = usage.is_estimate
        if usage.cached_input_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_input_tokens
        if usage.reasoning_tokens:
            attributes["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    return attributes


# --- contexts -------------------------------------------------------------------------------------


def _span_id(stream: StreamId) -> int:
    """Of the answer's span, for ever."""
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "big") or 1


def _traceparent(context: SpanContext, span_id: int) -> str:
    return f"00-{context.trace_id:032x}-{span_id:016x}-{context.trace_flags:02x}"


def _parent(birth: Birth, *, is_remote: bool = True) -> SpanContext | None:
    """The span of the call that made the stream; None if that was not traced."""
    if birth.trace is None:
        return None
    _, trace_id, span_id, flags = birth.trace.split("-")
    return SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=is_remote,
        trace_flags=trace.TraceFlags(int(flags, 16)),
    )
