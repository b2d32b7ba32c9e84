"""A provider that gives planned answers, and writes down what it sent to whom.

Runs in a process of its own: ``python -m tests.chaos.provider SEED FILE LONGEST_S`` prints its
port, and ends when its stdin does. No answer lasts much longer than LONGEST_S. It speaks OpenAI Chat Completions; the idempotency key stands in the
prompt, for a provider does not get the header. FILE is the truth to compare with: a line when it
is asked, and one with everything that it has written, when that ask is over.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import cast

import httptools
import msgspec
import uvloop

from tests.chaos.plan import Answer, plan_answer
from tests.chaos.record import Asked, Sent

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"


class Book:
    """What is written down, a line of JSON each."""

    def __init__(self, seed: int, file: Path, longest_s: float) -> None:
        self.seed = seed
        self.longest_s = longest_s
        self._turns: Counter[str] = Counter()
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def next_turn(self, key: str) -> int:
        """Which ask with this key it is."""
        self._turns[key] += 1
        return self._turns[key]

    def write(self, line: Asked | Sent) -> None:
        """At once: who ends this process loses nothing."""
        os.write(self._file, msgspec.json.encode(line) + b"\n")


def read_book(file: Path) -> list[Asked | Sent]:
    """Every line of it."""
    decoder = msgspec.json.Decoder(Asked | Sent)
    return [decoder.decode(line) for line in file.read_bytes().splitlines()]


class Playing:
    """One answer under way."""

    def __init__(self, transport: asyncio.Transport, book: Book, asked: Asked) -> None:
        self._transport = transport
        self._book = book
        self._asked = asked
        self._answer: Answer = plan_answer(
            book.seed, asked.key, asked.turn, longest_s=book.longest_s
        )
        self._next = 0
        self._events = 0
        self._timer: asyncio.TimerHandle | None = None
        transport.write(_HEAD)
        self._arm()

    def stop(self) -> None:
        """It was played to its end, or the client has left."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        asked, said = self._asked, self._answer.said
        is_whole = self._events == len(said)
        self._book.write(Sent(asked.key, asked.turn, said[: self._events], is_whole))

    def _arm(self) -> None:
        pause_s = self._answer.steps[self._next].pause_s
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._play)

    def _play(self) -> None:
        step = self._answer.steps[self._next]
        if step.data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(step.data), step.data))
        self._events += step.events
        self._next += 1
        if self._next < len(self._answer.steps):
            self._arm()
        else:
            self._transport.write(_LAST_CHUNK)
            self.stop()


class _Message(msgspec.Struct):
    content: str


class _Ask(msgspec.Struct):
    messages: list[_Message]


class Connection(asyncio.Protocol):
    """One client of the provider. Answers one request after the other."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._parser = httptools.HttpRequestParser(self)
        self._life = ""
        self._body = b""
        self._transport: asyncio.Transport | None = None
        self._playing: Playing | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._playing is not None:
            self._playing.stop()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # --- the parser's calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-worker":
            self._life = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None, "connected"
        key = msgspec.json.decode(self._body, type=_Ask).messages[0].content
        asked = Asked(key, self._book.next_turn(key), self._life, time.monotonic())
        self._book.write(asked)
        self._playing = Playing(self._transport, self._book, asked)


async def serve(book: Book) -> None:
    """Serve on a free port, which is printed, until stdin ends."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    server = await loop.create_server(lambda: Connection(book), "127.0.0.1", 0, backlog=2048)
    loop.add_reader(sys.stdin.fileno(), over.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await over.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Book(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))))
