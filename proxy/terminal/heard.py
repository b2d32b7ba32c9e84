"""What every way of reading a stream has in common: what it yields, and the stream's state.

A line is one connection's worth of a stream (over long-poll: a row of polls). It yields `Opened`,
events as they come, and `End`; or raises `ServerError`. It never tries again and does not judge
ids: that is the follower's.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Final, NamedTuple

import aiohttp
import msgspec

from proxy.stream import DONE, Event, StreamId
from proxy.terminal.server import Server, ask

SILENCE_S: Final = 40.0
"""After which an open connection is given up. Specified: a server shows life every 15 s."""


class Opened(NamedTuple):
    """The server has answered: what comes now is the stream."""


class End(NamedTuple):
    """The stream has ended, and everything was heard."""

    ending: str
    last_id: int


Heard = Opened | Event | End

Line = Callable[[aiohttp.ClientSession, Server, StreamId, int], AsyncGenerator[Heard, None]]
"""Reads a stream after an event id, over one connection."""


class StreamError(msgspec.Struct, frozen=True):
    """Why a stream did not complete."""

    code: str
    message: str


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    is_estimate: bool = False
    """Whether some of it is not the provider's own count."""


class StreamState(msgspec.Struct, frozen=True):
    """What ``GET /v1/streams/{id}`` tells, as far as it is used here."""

    dialect: str
    last_event_id: int
    ending: str | None = None
    usage: Usage | None = None
    error: StreamError | None = None


async def read_state(
    session: aiohttp.ClientSession, server: Server, stream: StreamId
) -> StreamState:
    """The stream's state. Raises `ServerError`."""
    return await ask(session, server, f"/v1/streams/{stream}", StreamState)


def data_of(raw: msgspec.Raw) -> bytes:
    """As the provider sent it: of all data only the terminator is put into quotes."""
    data = bytes(raw)
    return DONE if data == b'"[DONE]"' else data
