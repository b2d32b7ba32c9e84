"""Reading a stream over HTTP: as server-sent events, or by long-poll.

What surprises: server-sent events do not tell the ending, so a connection that was closed is
followed by a question for the stream's state.
"""

from collections.abc import AsyncGenerator
from typing import Final

import aiohttp
import msgspec

from proxy.errors import LineLost, PromiseBroken
from proxy.stream import Event, StreamId
from proxy.terminal.event_source import EventSource
from proxy.terminal.heard import SILENCE_S, End, Heard, Opened, data_of, read_state
from proxy.terminal.server import CONNECT_S, Server, check_status, mapped

_POLL_WAIT_S: Final = 25
_EVENTS_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest event that a server can be set to."""


async def over_sse(
    session: aiohttp.ClientSession, server: Server, stream: StreamId, after: int
) -> AsyncGenerator[Heard, None]:
    """See `Line`."""
    url = f"{server.url}/v1/streams/{stream}/events"
    headers = {"accept": "text/event-stream", "last-event-id": str(after)}
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=SILENCE_S)
    with mapped(server.url):
        async with session.get(
            url, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            await check_status(server.url, answer)
            yield Opened()
            source = EventSource(_EVENTS_BYTES_MAX)
            async for chunk in answer.content.iter_any():
                for event in source.feed(chunk):
                    after = event.id
                    yield event
    state = await read_state(session, server, stream)
    if state.ending is None or state.last_event_id > after:
        raise LineLost("the server closed it")
    yield End(state.ending, state.last_event_id)


# --- long-poll ----------------------------------------------------------------------------------


class _PolledEvent(msgspec.Struct, frozen=True):
    id: int
    event: str
    data: msgspec.Raw


class _Polled(msgspec.Struct, frozen=True):
    events: list[_PolledEvent]
    last_id: int
    ended: bool
    ending: str | None = None


_polled_decoder: Final = msgspec.json.Decoder(_Polled)


async def over_poll(
    session: aiohttp.ClientSession, server: Server, stream: StreamId, after: int
) -> AsyncGenerator[Heard, None]:
    """See `Line`."""
    url = f"{server.url}/v1/streams/{stream}/events"
    headers = {"accept": "application/json"}
    timeout = aiohttp.ClientTimeout(total=SILENCE_S, connect=CONNECT_S)
    is_first = True
    while True:
        params = {"after": str(after), "wait": str(0 if is_first else _POLL_WAIT_S)}
        with mapped(server.url):
            async with session.get(
                url, headers=headers, params=params, timeout=timeout, allow_redirects=False
            ) as answer:
                await check_status(server.url, answer)
                body = await answer.read()
        polled = _read_poll(body)
        if is_first:
            is_first = False
            yield Opened()
        for one in polled.events:
            yield Event(one.id, one.event, data_of(one.data))
        after = polled.last_id
        if polled.ended:
            yield End(polled.ending or "", polled.last_id)
            return


def _read_poll(body: bytes) -> _Polled:
    try:
        return _polled_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PromiseBroken("the answer to a poll is of another shape") from error
