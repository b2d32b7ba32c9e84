"""One worker as its supervisor sees it: a process, and the line to it.

It starts the process, gives orders, and notices its end; what follows from that is not decided
here. What surprises: starting one waits for the forkserver, which may die of it.
"""

import asyncio
import multiprocessing
import os
import socket
import struct
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import msgspec

from proxy.serving.worker import Order, Post, run_worker

_LENGTH = struct.Struct("!i")
"""What stands before each order on the line: `Connection.recv_bytes` reads it so."""
_EXIT_CODE_S = 1.0
"""How long after its death a worker's exit code is waited for."""


def context() -> ForkServerContext:
    """Where workers are forked: see `supervisor`."""
    return multiprocessing.get_context("forkserver")


class Worker:
    """One process on one post, for as long as it lives.

    Making one raises `OSError` or `EOFError` if the system starts no process now.
    It has ended when its line breaks, which nothing but its death does; the exit code follows.
    """

    def __init__(
        self,
        post: Post,
        listening: socket.socket,
        *,
        on_word: Callable[["Worker", bytes], None],
        on_end: Callable[["Worker"], None],
    ) -> None:
        self.post = post
        self.exit_code: int | None = None
        """Once it has ended: the number of a signal is negative, one that got lost None."""
        self.is_drained = False
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self._on_word = on_word
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.is_lost = False
        """Its line is broken."""
        self._orders: list[Order] = []
        self._unsent = b""
        self._line, theirs = context().Pipe()
        os.set_blocking(self._line.fileno(), False)
        self._process: BaseProcess = context().Process(
            target=run_worker, args=(post, listening, theirs), name=f"midstream-{post.number}"
        )
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        self._loop.add_reader(self._line.fileno(), self._hear)

    def tell(self, order: Order) -> None:
        """Give an order, as soon as it listens. Of reloads that wait only the newest counts."""
        if order.kind == "reload":
            self._orders = [each for each in self._orders if each.kind != "reload"]
        self._orders.append(order)
        self._send()

    def _send(self) -> None:
        """Send what the line takes. A worker that stands still holds up nobody but itself."""
        if self.is_lost:
            return
        line = self._line.fileno()
        while self._unsent or self._orders:
            if not self._unsent:
                text = msgspec.json.encode(self._orders.pop(0))
                self._unsent = _LENGTH.pack(len(text)) + text
            try:
                self._unsent = self._unsent[os.write(line, self._unsent) :]
            except BlockingIOError:
                self._loop.add_writer(line, self._send)
                return
            except OSError:  # it is dead, which is heard next
                break
        self._loop.remove_writer(line)

    def kill(self) -> None:
        """SIGKILL."""
        if not self.ended.is_set():
            self._process.kill()

    def _hear(self) -> None:
        try:
            word = self._line.recv_bytes()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self.is_lost = True
            self._loop.remove_reader(self._line.fileno())
            self._loop.remove_writer(self._line.fileno())
            self._line.close()
            self._late = self._loop.call_later(_EXIT_CODE_S, self._bury)
            self._loop.add_reader(self._process.sentinel, self._bury)
        else:
            self._on_word(self, word)

    def _bury(self) -> None:
        self._late.cancel()
        self._loop.remove_reader(self._process.sentinel)
        self.exit_code = self._process.exitcode
        self.ended.set()
        self._on_end(self)
