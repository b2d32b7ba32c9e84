"""A provider that plays planned answers: chat completions and messages, streamed, over HTTP/1.1.

Runs in a process of its own: ``python -m tests.bench.mock_provider`` prints its port, and ends
when its stdin does. The first content event of an answer leaves at once; each later one at its
place on a grid of absolute deadlines, so that a slow reader never slows the pace, and each stream
has its own phase. An event carries the moment at which it was written.
"""

import asyncio
import gc
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from tests.bench.job import NANOSECONDS_DIGITS, SEQUENCE_DIGITS, Plan, read_model

_POUR_EVENTS = 32
"""Written at a time where there is no pace. Chosen: what a socket's buffer takes in one piece."""

_GOLDEN = 0.618033988749895
"""Multiples of it, modulo 1, lie evenly however many there are."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"


class Script(msgspec.Struct, frozen=True):
    """An answer in its dialect: what stands before, around and after the content events."""

    opening: bytes
    before_text: bytes
    after_text: bytes
    closing: bytes


def chat_script(plan: Plan, *, has_usage: bool) -> Script:
    """OpenAI chat completions: with usage, if asked for, even chunks that know none say so."""
    head = (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
        b'"model":"%b","choices":'
    ) % plan.model.encode()
    no_usage = b',"usage":null}\n\n' if has_usage else b"}\n\n"
    event = head + b'[{"index":0,"delta":'
    rest = b',"logprobs":null,"finish_reason":null}]' + no_usage
    stop = event + b'{},"logprobs":null,"finish_reason":"stop"}]' + no_usage
    counts = (plan.events, plan.events + 10)
    usage = b'{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":%d}}\n\n' % counts
    return Script(
        opening=_chunk(event + b'{"role":"assistant","content":""}' + rest),
        before_text=event + b'{"content":',
        after_text=b"}" + rest,
        closing=_chunk(stop)
        + (_chunk(head + b'[],"usage":' + usage) if has_usage else b"")
        + _chunk(b"data: [DONE]\n\n"),
    )


def messages_script(plan: Plan, *, has_usage: bool) -> Script:
    """Anthropic messages, which always have usage."""
    del has_usage
    begun = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_bench",'
        b'"type":"message","role":"assistant","model":"%b","content":[],"stop_reason":null,'
        b'"stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":1}}}\n\n'
    ) % plan.model.encode()
    block = (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
    )
    ended = (
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        b'"stop_sequence":null},"usage":{"output_tokens":%d}}\n\n'
    ) % plan.events
    return Script(
        opening=_chunk(begun) + _chunk(block),
        before_text=b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":',
        after_text=b"}}\n\n",
        closing=_chunk(
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        )
        + _chunk(ended)
        + _chunk(b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    )


_SCRIPTS = {"/v1/chat/completions": chat_script, "/v1/messages": messages_script}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Playing:
    """One answer under way."""

    def __init__(
        self, transport: asyncio.Transport, plan: Plan, script: Script, phase: float
    ) -> None:
        self.is_over = False
        self._transport = transport
        self._plan = plan
        self._script = script
        self._phase = phase
        self._sequence = 0
        self._grid_at = 0.0
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None
        data = script.before_text.rpartition(b"data: ")[2] + script.after_text.rstrip()
        shortest = len(data) + len(b'"@::"') + SEQUENCE_DIGITS + NANOSECONDS_DIGITS
        self._padding = b"x" * max(0, plan.event_bytes - shortest)

    def start(self) -> None:
        """Send the head and the first content event."""
        self._transport.write(_HEAD + self._script.opening + self._event())
        if self._finish_if_done():
            return
        if self._plan.events_per_s == 0:
            self._pour()
            return
        loop = asyncio.get_running_loop()
        period_s = 1 / self._plan.events_per_s
        periods = loop.time() // period_s
        self._grid_at = (periods + 1 + self._phase) * period_s
        self._timer = loop.call_at(self._grid_at, self._tick)

    def stop(self) -> None:
        """The client has left."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def pause(self, *, is_paused: bool) -> None:
        """The connection is full, or has room again."""
        was_paused, self._is_paused = self._is_paused, is_paused
        if was_paused and not is_paused and self._plan.events_per_s == 0:
            self._pour()

    def _tick(self) -> None:
        self._transport.write(self._event())
        if not self._finish_if_done():
            self._grid_at += 1 / self._plan.events_per_s
            self._timer = asyncio.get_running_loop().call_at(self._grid_at, self._tick)

    def _pour(self) -> None:
        if self.is_over or self._is_paused:
            return
        count = min(_POUR_EVENTS, self._plan.events - self._sequence)
        self._transport.write(b"".join([self._event() for _ in range(count)]))
        if not self._finish_if_done():
            asyncio.get_running_loop().call_soon(self._pour)

    def _event(self) -> bytes:
        data = b'%b"@%07d:%018d:%b"%b' % (
            self._script.before_text,
            self._sequence,
            time.monotonic_ns(),
            self._padding,
            self._script.after_text,
        )
        self._sequence += 1
        return _chunk(data)

    def _finish_if_done(self) -> bool:
        if self._sequence < self._plan.events:
            return False
        self._transport.write(self._script.closing + _LAST_CHUNK)
        self.is_over = True
        return True


class Connection(asyncio.Protocol):
    """One client of the provider. Answers one request after the other."""

    def __init__(self, phases: "Phases") -> None:
        self._phases = phases
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
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

    def pause_writing(self) -> None:
        if self._playing is not None:
            self._playing.pause(is_paused=True)

    def resume_writing(self) -> None:
        if self._playing is not None:
            self._playing.pause(is_paused=False)

    # --- the parser's calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None, "connected"
        script = _SCRIPTS.get(urlsplit(self._url).path.decode())
        ask = _read_ask(self._body)
        plan = None if ask is None else read_model(ask.model)
        if script is None or ask is None or plan is None:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        phase = self._phases.next()
        has_usage = ask.stream_options.include_usage
        played = script(plan, has_usage=has_usage)
        self._playing = Playing(self._transport, plan, played, phase)
        self._playing.start()


class Phases:
    """Where in its period each stream stands: evenly, however many there are."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> float:
        """From 0 to 1."""
        self._count += 1
        return self._count * _GOLDEN % 1


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Ask(msgspec.Struct):
    model: str
    stream_options: _StreamOptions = msgspec.field(default_factory=_StreamOptions)


def _read_ask(body: bytes) -> _Ask | None:
    try:
        return msgspec.json.decode(body, type=_Ask)
    except msgspec.DecodeError:
        return None


async def serve() -> None:
    """Serve on a free port, which is printed, until stdin ends."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    phases = Phases()
    server = await loop.create_server(lambda: Connection(phases), "127.0.0.1", 0, backlog=2048)
    loop.add_reader(sys.stdin.fileno(), over.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    gc.freeze()
    gc.disable()  # nothing here is a cycle, and a collection would be taken for the proxy's delay
    await over.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
