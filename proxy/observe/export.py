"""Sends spans to a collector over OTLP/HTTP, from a thread of the process that makes them.

Imported only where traces are wanted. What the standard ``OTEL_*`` variables say (endpoint,
headers, sampler, service name, limits, how spans are batched) the SDK reads itself. It sets up
no global tracer: other libraries in the process stay untraced. What surprises: of a collector
that is away the SDK's own lines say nothing of use and come thrice a batch, so ours take their
place, one for each time that it is lost.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from proxy.errors import ConfigInvalid
from proxy.observe.facts import Observer
from proxy.observe.spans import Ids, Spans

_FLUSH_S = 3.0
"""How long a process that stops waits for its last spans to be taken. Chosen: a collector that is
well takes them in milliseconds, and one that is not may not hold up a restart."""


class _Exporter(SpanExporter):
    """OTLP's, which tells when it is in trouble, and when no more. Called in its own thread."""

    def __init__(self, observer: Observer) -> None:
        self._otlp = OTLPSpanExporter()
        self._observer = observer
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, with the SDK's own retries."""
        result = self._otlp.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                self._observer.collector_back(self._lost)
            self._lost = 0
        else:
            if not self._lost:
                self._observer.collector_lost()
            self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Give up what is under way."""
        self._otlp.shutdown()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def exporting(observer: Observer, version: str, worker: str) -> AsyncIterator[Spans]:
    """Spans, sent while inside; leaving sends the last ones.

    Raises `ConfigInvalid` for a variable that the SDK does not understand.
    """
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    ids = Ids()
    named = {
        "service.name": "midstream",
        "service.version": version,
        "service.instance.id": worker,
    }
    try:
        provider = TracerProvider(
            resource=Resource.create({**named, **OTELResourceDetector().detect().attributes}),
            shutdown_on_exit=False,
            id_generator=ids,
        )
        provider.add_span_processor(BatchSpanProcessor(_Exporter(observer)))
    except (ValueError, RuntimeError) as error:
        raise ConfigInvalid((f"the OTEL_ variables: {error}",)) from error
    try:
        yield Spans(provider, ids, version)
    finally:
        try:
            async with asyncio.timeout(_FLUSH_S):
                await _shut_down(provider)
        except TimeoutError:
            observer.collector_lost()


async def _shut_down(provider: TracerProvider) -> None:
    """Shut down, in a thread that holds up nobody's end: asyncio's own are waited for."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut_down, name="last-spans", daemon=True).start()
    await done.wait()
