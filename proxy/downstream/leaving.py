"""Work that is in vain once the client has left."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def unless_left(work: Awaitable[T], left: asyncio.Future[None]) -> T | None:
    """The result of `work`; None if the client leaves before that."""
    task = asyncio.ensure_future(work)
    either: set[asyncio.Future[Any]] = {task, left}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
    return None if task.cancelled() or not task.done() else task.result()
