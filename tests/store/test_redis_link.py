"""The link on a server that misbehaves, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from proxy.store.redis_link import Endpoint, Link, pack
from tests.contracts.backends import run

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[object, object, None]]


@asynccontextmanager
async def linked(handler: Handler) -> AsyncIterator[Link]:
    """A link to a server that does as `handler` says."""
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await handler(reader, writer)
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        is_over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    link = await Endpoint(f"redis://{host}:{port}").connect()
    try:
        yield link
    finally:
        link.abort("done")
        await is_over.wait()
        server.close()
        await server.wait_closed()


def test_a_command_is_packed_with_its_lengths_in_bytes() -> None:
    assert pack("SET", "é", b"\x00\r\n", 12) == (
        b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$3\r\n\x00\r\n\r\n$2\r\n12\r\n"
    )


def test_replies_may_come_in_pieces_of_any_size() -> None:
    async def test() -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"x")
            for byte in b"+OK\r\n:7\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n$1\r\nb\r\n:1\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

        async with linked(drip) as link:
            replies = await link.exchange(b"x", 5)
            assert replies == [b"OK", 7, b"a\r\n", None, [b"b", 1]]

    run(test)


@pytest.mark.parametrize("noise", [b":2\r\n", b"+late\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
def test_a_server_that_says_more_than_was_asked_is_not_asked_again(noise: bytes) -> None:
    async def test() -> None:
        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"x")
            writer.write(b":1\r\n" + noise)

        async with linked(babble) as link:
            with contextlib.suppress(ConnectionError):  # if the noise comes with the reply
                assert await link.exchange(b"x", 1) == [1]
            with pytest.raises(ConnectionError):
                await link.exchange(b"x", 1)
            assert link.is_closed

    run(test)


def test_a_server_that_leaves_in_the_middle_of_a_reply_breaks_the_exchange() -> None:
    async def test() -> None:
        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"x")
            writer.write(b":1\r\n$10\r\nabc")
            writer.close()

        async with linked(leave) as link:
            with pytest.raises(ConnectionError):
                await link.exchange(b"x", 2)
            assert link.is_closed

    run(test)


def test_a_cancelled_exchange_closes_the_connection() -> None:
    async def test() -> None:
        asked = asyncio.Event()

        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del writer
            await reader.readuntil(b"x")
            asked.set()

        async with linked(wait) as link:
            exchange = asyncio.create_task(link.exchange(b"x", 1))
            await asked.wait()
            exchange.cancel()
            with pytest.raises(asyncio.CancelledError):
                await exchange
            assert link.is_closed

    run(test)
