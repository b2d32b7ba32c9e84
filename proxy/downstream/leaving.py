"""Noticing that a client has left, which ASGI tells only to those who ask."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from litestar.types import Receive

from proxy.relay.cursor import Cursor

T = TypeVar("T")


async def close_on_leave(receive: Receive, cursor: Cursor) -> None:
    """Close `cursor` when the client has left. The request's body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
    cursor.close()


async def unless_left(work: Awaitable[T], leaving: "asyncio.Task[None]") -> T | None:
    """The result of `work`; None if the client leaves before that."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
    return None if task.cancelled() or not task.done() else task.result()
