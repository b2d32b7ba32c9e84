"""Single keys from the terminal, without waiting for a line."""

import asyncio
import os
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

RESIZED: Final = ""
"""What is read when the window has another size."""
_KEYS_MAX: Final = 64
"""That wait to be read; more are dropped. Chosen: nobody types ahead here."""


@contextmanager
def keys(terminal: int) -> Iterator[asyncio.Queue[str]]:
    """What is pressed while inside, at this file descriptor. Ctrl-C stays Ctrl-C."""
    loop = asyncio.get_running_loop()
    pressed: asyncio.Queue[str] = asyncio.Queue(_KEYS_MAX)

    def put(key: str) -> None:
        if not pressed.full():
            pressed.put_nowait(key)

    def read() -> None:
        given = os.read(terminal, _KEYS_MAX)
        if not given:  # the terminal is gone
            loop.remove_reader(terminal)
        for key in given.decode("utf-8", "replace"):
            put(key)

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, read)
    loop.add_signal_handler(signal.SIGWINCH, put, RESIZED)
    try:
        yield pressed
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
