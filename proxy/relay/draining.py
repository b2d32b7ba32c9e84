"""How a worker that stops lets its streams come to their end."""

import asyncio
from collections.abc import Callable, Mapping

from proxy.observe import Observer
from proxy.relay.producer import Producer
from proxy.stream import Ending, StreamId

_EVERY_S = 0.1
_STOP_S = 5.0
"""How long a drained worker waits for the store to take its last endings."""


async def drain(
    running: Mapping[StreamId, Producer],
    observer: Observer,
    drain_s: float,
    hurry: Callable[[], bool],
    others: Callable[[], int],
) -> None:
    """Wait for the streams that run, and for `others()`; then end them as `interrupted`.

    Waits at most `drain_s`, and no longer once `hurry()` is true.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + drain_s
    if running and drain_s > 0:
        observer.draining(len(running), drain_s)
    while (running or others()) and loop.time() < until and not hurry():  # noqa: ASYNC110 - a signal
        await asyncio.sleep(_EVERY_S)
    for producer in list(running.values()):
        producer.stop(Ending.INTERRUPTED, "its worker was stopped")
    until = loop.time() + _STOP_S
    while running and loop.time() < until:  # noqa: ASYNC110 - once in a life
        await asyncio.sleep(_EVERY_S)
    for producer in list(running.values()):
        producer.writer.oust()
