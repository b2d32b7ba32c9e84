"""The config file, looked at now and then, so that a change needs no signal.

What surprises: a changed file is not read until it has been left alone from one look to the
next, because an editor may be in the middle of it; and one that was written anew with the same
content has not changed. The looking is done in a thread: a file may be on a disk of the network,
which may hang.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from proxy.observe import Observer
from proxy.serving.source import ConfigFile

_LOOK_S = 0.5
"""Chosen: a change is in force within two of these and a bit, and a look costs 50 µs."""


@asynccontextmanager
async def watched(
    source: ConfigFile, reload: Callable[[], None], observer: Observer
) -> AsyncIterator[None]:
    """Call `reload`, which reads `source`, whenever its files have changed, while inside."""
    watching = asyncio.create_task(_watch(source, reload, observer))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def _watch(source: ConfigFile, reload: Callable[[], None], observer: Observer) -> None:
    looked_into: object = None
    before = await asyncio.to_thread(source.marks)
    while True:
        await asyncio.sleep(_LOOK_S)
        now = await asyncio.to_thread(source.marks)
        if now == before != looked_into:
            looked_into = now
            try:
                if await asyncio.to_thread(source.has_changed):
                    reload()
            except Exception as error:  # noqa: BLE001 - the root: it goes on watching
                observer.internal_error(error)
        before = now
