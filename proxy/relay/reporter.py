"""What a worker says of itself every two seconds: that it lives, what it makes, who reads it.

Nothing depends on it: it is for whoever looks at the proxy. A report that the store does not
take is not repeated, the next one says more. What surprises: a poller is a reader only while a
poll of its waits, so a report may miss those that are just between two.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from proxy.errors import StoreUnavailable
from proxy.relay.ports import REPORTED_STREAMS_MAX, Identity, Ledger, Report
from proxy.relay.producers import Producers
from proxy.relay.readers import Readers
from proxy.relay.tally import Lately
from proxy.stream import StreamId

_EVERY_S = 2.0
"""Chosen: four reports may be lost before a worker is taken for dead."""
_RETIRE_S = 1.0
"""How long the end of a worker may wait for its last word; without it the report runs out."""


class Reporter:
    """See the module. Made by `Switchboard.reporter`."""

    def __init__(
        self,
        worker: Identity,
        ledger: Ledger,
        producers: Producers,
        readers: Readers,
        on_trouble: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._ledger = ledger
        self._producers = producers
        self._readers = readers
        self._on_trouble = on_trouble

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While inside, the worker is among those that are known."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_RETIRE_S):
                    await self._ledger.retire(self._worker.id)

    async def _run(self) -> None:
        while True:
            try:
                await self._ledger.report(self._report())
            except StoreUnavailable:
                self._on_trouble()
            await asyncio.sleep(_EVERY_S)

    def _report(self) -> Report:
        by_stream = self._readers.count_by_stream()
        return Report(
            worker=self._worker,
            is_draining=self._producers.is_draining,
            streams=len(self._producers),
            readers=self._readers.count(),
            readers_by_stream=dict(by_stream.most_common(REPORTED_STREAMS_MAX)),
            is_partial=len(by_stream) > REPORTED_STREAMS_MAX,
            lately=self._lately(),
        )

    def _lately(self) -> Lately:
        producers = list(self._producers.values())
        return self._producers.tally.look(
            Counter(producer.candidate.provider.name for producer in producers),
            sum(producer.writer.last_id for producer in producers),
            clock_s=asyncio.get_running_loop().time(),
        )


def readers_of(stream: StreamId, reports: Sequence[Report]) -> int | None:
    """How many read a running stream, over all workers; None if the reports do not tell."""
    if not reports or any(
        report.is_partial and stream not in report.readers_by_stream for report in reports
    ):
        return None
    return sum(report.readers_by_stream.get(stream, 0) for report in reports)
