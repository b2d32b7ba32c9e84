"""An OTLP/HTTP receiver on loopback: takes what is exported, as protobuf, and shows the spans."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

SERVER = trace_pb2.Span.SPAN_KIND_SERVER
CLIENT = trace_pb2.Span.SPAN_KIND_CLIENT


class Seen(NamedTuple):
    """One span as it arrived. Ids are hexadecimal; those of links are (trace, span)."""

    name: str
    kind: int
    trace: str
    span: str
    parent: str
    flags: int
    begun_ns: int
    ended_ns: int
    is_error: bool
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]
    events: Mapping[str, int]
    resource: Mapping[str, Any]


class Collector:
    """What has arrived. `status` is what it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.delay_s = 0.0
        self.requests = 0
        self.headers: list[Mapping[str, str]] = []
        self.raw = b""
        self._spans: list[Seen] = []
        self._lock = threading.Lock()

    @property
    def env(self) -> dict[str, str]:
        """What a server is told, to export here at once."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    @property
    def spans(self) -> list[Seen]:
        with self._lock:
            return list(self._spans)

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.requests += 1
            self.headers.append(headers)
            if self.status == 200:
                self.raw += body
                self._spans.extend(_seen(request))

    def wait(self, is_so: Callable[[list[Seen]], bool], within_s: float = 15) -> list[Seen]:
        """The spans, once this is true of them."""
        until = time.monotonic() + within_s
        while not is_so(spans := self.spans):
            assert time.monotonic() < until, "\n".join(map(str, spans)) or "no spans came"
            time.sleep(0.02)
        return spans

    def answer_of(self, stream: str) -> Seen:
        """The span of a stream's answer, once it is here."""
        (answer,) = of_kind(
            self.wait(lambda spans: any(of_kind(spans, CLIENT, stream))), CLIENT, stream
        )
        return answer


def of_kind(spans: list[Seen], kind: int, stream: str) -> list[Seen]:
    """The spans of a stream."""
    return [
        span
        for span in spans
        if span.kind == kind and span.attributes.get("midstream.stream") == stream
    ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A receiver on a free port, while inside."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            time.sleep(collector.delay_s)
            if self.path == "/v1/traces":
                collector.take({k.lower(): v for k, v in self.headers.items()}, body)
            self.send_response(collector.status if self.path == "/v1/traces" else 404)
            said = ExportTraceServiceResponse().SerializeToString()
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def _seen(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    name=span.name,
                    kind=span.kind,
                    trace=span.trace_id.hex(),
                    span=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    flags=span.flags,
                    begun_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    is_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    attributes=_read(span.attributes),
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    events={event.name: event.time_unix_nano for event in span.events},
                    resource=_read(resource.resource.attributes),
                )


def _read(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
