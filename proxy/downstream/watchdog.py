"""Noticing a client that takes nothing of what it is sent, whatever it is sent over."""

import asyncio
from collections.abc import Callable

_CHECKS_PER_STALL = 6


class Watchdog:
    """Calls `on_stall`, once, when nothing was taken for `stall_s` while something is unsent."""

    def __init__(
        self, unsent_bytes: Callable[[], int], stall_s: float, on_stall: Callable[[], None]
    ) -> None:
        self.sent_bytes = 0
        """What was given to the connection so far."""
        self._unsent_bytes = unsent_bytes
        self._stall_s = stall_s
        self._on_stall = on_stall
        self._every_s = stall_s / _CHECKS_PER_STALL
        self._loop = asyncio.get_running_loop()
        self._taken_bytes = 0
        self._progress_at = self._loop.time()
        self._timer = self._loop.call_later(self._every_s, self._check)

    def stop(self) -> None:
        """All is sent, or its end is in the hands of the connection."""
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        unsent = self._unsent_bytes()
        taken = self.sent_bytes - unsent
        if unsent == 0 or taken > self._taken_bytes:
            self._taken_bytes = max(taken, self._taken_bytes)
            self._progress_at = now
        elif now - self._progress_at >= self._stall_s:
            self._on_stall()
            return
        self._timer = self._loop.call_later(self._every_s, self._check)
