"""Clients that take nothing, noticed and dropped, whatever is spoken on the connection.

What surprises: the connection is told to hold nothing back, so that its protocol is paused as
soon as the kernel does not take a byte. A client that takes all then costs no timer and no look,
and one that takes nothing holds what was last written, and no more.
"""

import asyncio
import fcntl
import struct
import termios

_CHECKS_PER_STALL = 30
"""So much later than it should be, at most, a client is dropped. Chosen: a second late at 30 s."""
_INT = struct.Struct("i")


class Stall:
    """Of one connection: its protocol calls `begin` when it is paused, `end` when it is resumed.

    Aborts it once nothing was taken for `stall_s` in between.
    """

    __slots__ = ("_progress_at", "_stall_s", "_timer", "_transport", "_unsent")

    def __init__(self, transport: asyncio.Transport, stall_s: float) -> None:
        transport.set_write_buffer_limits(0)
        self._transport = transport
        self._stall_s = stall_s
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._progress_at = 0.0

    def begin(self) -> None:
        """Something is unsent."""
        self._unsent = self._count_unsent()
        self._progress_at = asyncio.get_running_loop().time()
        self._arm()

    def end(self) -> None:
        """Everything is sent, or the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.end()
        pause_s = self._stall_s / _CHECKS_PER_STALL
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._check)

    def _check(self) -> None:
        unsent, now = self._count_unsent(), asyncio.get_running_loop().time()
        if unsent < self._unsent:
            self._progress_at = now
        elif now - self._progress_at >= self._stall_s:
            self._transport.abort()
            return
        self._unsent = unsent
        self._arm()

    def _count_unsent(self) -> int:
        """Bytes that the client's machine has not taken: those here, and those in the kernel.

        Without the kernel's, a slow client behind a full buffer of it would be taken for a
        stalled one.
        """
        here = self._transport.get_write_buffer_size()
        connection = self._transport.get_extra_info("socket")
        try:
            reply = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * _INT.size)
        except OSError:  # closed meanwhile
            return here
        in_kernel: int = _INT.unpack(reply)[0]
        return here + in_kernel
