"""An open-loop load generator: opens streams by the clock, reads them raw, and counts.

Runs in a process of its own: ``python -m tests.bench.load`` takes a `Job` as JSON on stdin, and
says what it `Heard` as JSON on stdout. It checks every event's place: a stream with one event
lost, repeated or out of order is not whole. A moment is taken once for each read of a socket,
before anything in it is looked at.
"""

import asyncio
import gc
import sys
import time
from array import array
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from tests.bench.job import (
    MARK,
    NANOSECONDS_DIGITS,
    READY,
    SEQUENCE_DIGITS,
    Heard,
    Job,
    spread_of,
)

_FAILURES_MAX = 10
"""Told of one job: more would say the same."""

_SEQUENCE = slice(len(MARK), len(MARK) + SEQUENCE_DIGITS)
_WRITTEN = slice(_SEQUENCE.stop + 1, _SEQUENCE.stop + 1 + NANOSECONDS_DIGITS)


class Notes:
    """What all streams of a job write down."""

    def __init__(self, window_ns: tuple[int, int]) -> None:
        self.first_tokens_ns = array("q")
        self.delays_ns = array("q")
        self.jitters_ns = array("q")
        self.tokens = 0
        self.last_ns = 0
        self._begin_ns, self._end_ns = window_ns

    def token(self, now_ns: int, delay_ns: int, before_ns: int | None) -> None:
        """One content event, read at `now_ns`; `before_ns` is the delay of the one before."""
        self.tokens += 1
        self.last_ns = now_ns
        if self._begin_ns <= now_ns < self._end_ns:
            self.delays_ns.append(delay_ns)
            if before_ns is not None:
                self.jitters_ns.append(abs(delay_ns - before_ns))


class Stream(asyncio.Protocol):
    """One request, on a connection of its own, and its answer."""

    def __init__(self, request: bytes, events: int, end: bytes, notes: Notes) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ends = 0
        self.is_misplaced = False
        self.next_sequence = 0
        self.begun_ns = 0
        self.obstacle: str | None = None
        self._request = request
        self._events = events
        self._end = end
        self._notes = notes
        self._parser = httptools.HttpResponseParser(self)
        self._now_ns = 0
        self._rest = b""
        self._delay_ns: int | None = None
        self._transport: asyncio.Transport | None = None

    def failure(self) -> str | None:
        """Why the stream is not whole; None if it is."""
        if self.obstacle is not None:
            return self.obstacle
        status = self._parser.get_status_code()
        if status != 200:
            return f"status {status}: {self._rest[:200]!r}"
        if self.is_misplaced:
            return "an event out of its place"
        if self.next_sequence != self._events or self.ends != 1:
            return f"{self.next_sequence} of {self._events} events, {self.ends} ends"
        return None

    def leave(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._now_ns = time.monotonic_ns()
        self._parser.feed_data(data)

    # --- the parser's calls -------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        *events, self._rest = (self._rest + body).split(b"\n\n")
        for event in events:
            self._hear(event)

    def on_message_complete(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
        self.leave()

    def _hear(self, event: bytes) -> None:
        _, mark, text = event.partition(MARK)
        if not mark:
            self.ends += self._end in event
            return
        text = mark + text
        if int(text[_SEQUENCE]) != self.next_sequence or self.ends:
            self.is_misplaced = True
        self.next_sequence += 1
        delay_ns = self._now_ns - int(text[_WRITTEN])
        if self.next_sequence == 1:
            self._notes.first_tokens_ns.append(self._now_ns - self.begun_ns)
        self._notes.token(self._now_ns, delay_ns, self._delay_ns)
        self._delay_ns = delay_ns


_ENDS = {"openai": b"data: [DONE]", "anthropic": b"event: message_stop"}


def request_of(job: Job) -> bytes:
    """The HTTP request that each stream of `job` begins with."""
    content: dict[str, object] = {
        "model": job.plan.model,
        "messages": [{"role": "user", "content": "Say something."}],
        "stream": True,
    }
    if job.dialect == "anthropic":
        content["max_tokens"] = 4096
    elif job.wants_usage:
        content["stream_options"] = {"include_usage": True}
    body = msgspec.json.encode(content)
    parts = urlsplit(job.url)
    return (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        f"content-type: application/json\r\naccept: text/event-stream\r\n"
        f"anthropic-version: 2023-06-01\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def carry_out(job: Job) -> Heard:
    """Open the streams, hear them out, and tell."""
    notes = Notes(job.window_ns)
    request, end = request_of(job), _ENDS[job.dialect]
    streams = [Stream(request, job.plan.events, end, notes) for _ in range(job.streams)]
    ramp_ns = int(job.ramp_s * 1e9)
    tasks = [
        asyncio.create_task(_run(stream, job.url, job.start_ns + ramp_ns * number // job.streams))
        for number, stream in enumerate(streams)
    ]
    gc.freeze()
    gc.disable()  # a collection would be taken for the proxy's delay
    _, late = await asyncio.wait(tasks, timeout=_seconds_until(job.give_up_ns))
    for task in late:
        task.cancel()
    await asyncio.wait(tasks)
    failures = [failure for stream in streams if (failure := stream.failure()) is not None]
    return Heard(
        whole=len(streams) - len(failures),
        failures=failures[:_FAILURES_MAX],
        tokens=notes.tokens,
        window_tokens=len(notes.delays_ns),
        first_token=spread_of(notes.first_tokens_ns),
        delay=spread_of(notes.delays_ns),
        jitter=spread_of(notes.jitters_ns),
        seconds=max(0.0, (notes.last_ns - job.start_ns) / 1e9),
        cpu_s=time.process_time(),
    )


async def _run(stream: Stream, url: str, due_ns: int) -> None:
    """Open `stream` at `due_ns`, and wait until it is over."""
    address = urlsplit(url)
    assert address.hostname is not None, "an address"
    assert address.port is not None, "with a port"
    await asyncio.sleep(_seconds_until(due_ns))
    stream.begun_ns = time.monotonic_ns()
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: stream, address.hostname, address.port)
        await stream.over
    except OSError as error:
        stream.obstacle = f"cannot connect: {error}"
    finally:
        stream.leave()


def _seconds_until(moment_ns: int) -> float:
    return max(0.0, (moment_ns - time.monotonic_ns()) / 1e9)


if __name__ == "__main__":
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    the_job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        heard = runner.run(carry_out(the_job))
    sys.stdout.buffer.write(msgspec.json.encode(heard))
