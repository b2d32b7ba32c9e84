"""Small jobs at the store that nobody waits for, with an owner that awaits them all."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from proxy.errors import StoreUnavailable

_TRIES_S = (0.1, 0.5, 2.0)
"""Pauses between tries of what is worth several; after that the sweep does it."""


class Errands:
    """Runs inside one task group.

    A store that is away is no reason to fail: each job is one that a lease, an expiry or the
    sweep does in the end.
    """

    def __init__(self, tasks: asyncio.TaskGroup, on_trouble: Callable[[], None]) -> None:
        self.tasks = tasks
        self.on_trouble = on_trouble

    def run(self, job: Coroutine[object, object, None]) -> None:
        """Start `job` beside. Once all has ended here it is left to a lease or an expiry."""
        beside = self.quietly(job)
        try:
            self.tasks.create_task(beside)
        except RuntimeError:  # the group is over: somebody has waited until after that
            beside.close()
            job.close()

    async def quietly(self, job: Awaitable[None]) -> None:
        """Do `job` now, and do not mind if the store is away."""
        try:
            await job
        except StoreUnavailable:
            self.on_trouble()

    async def insist(self, job: Callable[[], Awaitable[None]]) -> None:
        """Do `job`, a few times if the store is away. Each call of it is one try."""
        for pause_s in (*_TRIES_S, None):
            try:
                await job()
            except StoreUnavailable:
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
            else:
                return
