"""The bells on a server that hangs up, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.errors import StoreUnavailable
from proxy.store.redis_bells import Bells
from proxy.store.redis_link import Endpoint
from tests.contracts.backends import run

CONFIRMED = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\nnews\r\n"


@asynccontextmanager
async def listening(*answers: bytes, timeout_s: float = 5.0) -> AsyncIterator[Bells]:
    """Bells at a server with one answer for each connection; all but the last are then closed."""
    left = list(answers)
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        is_last = len(left) == 1
        answer = left[0] if is_last else left.pop(0)
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
            writer.write(answer)
            while is_last and await reader.read(1000):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    bells = Bells(Endpoint(f"redis://{host}:{port}"), timeout_s=timeout_s)
    bells.start()
    try:
        yield bells
    finally:
        await bells.close()
        await asyncio.gather(*served)
        server.close()
        await server.wait_closed()


def test_a_server_that_hangs_up_before_it_says_anything_is_tried_again() -> None:
    async def test() -> None:
        heard: asyncio.Queue[bytes | None] = asyncio.Queue()
        async with listening(b"", b"", CONFIRMED + MESSAGE) as bells:
            await bells.listen(b"c", heard.put_nowait)
            assert await heard.get() == b"news"

    run(test)


def test_a_break_after_the_confirmation_is_told_once_it_is_confirmed_again() -> None:
    async def test() -> None:
        heard: asyncio.Queue[bytes | None] = asyncio.Queue()
        async with listening(CONFIRMED, b"", CONFIRMED + MESSAGE) as bells:
            await bells.listen(b"c", heard.put_nowait)
            assert await heard.get() is None
            assert await heard.get() == b"news"

    run(test)


def test_a_refused_subscription_says_what_the_server_said() -> None:
    async def test() -> None:
        async with listening(b"-NOPERM no channels for you\r\n", timeout_s=0.3) as bells:
            with pytest.raises(StoreUnavailable) as caught:
                await bells.listen(b"c", lambda _: None)
            assert "NOPERM" in caught.value.reason

    run(test)


def test_a_listener_that_fails_does_not_silence_the_others() -> None:
    async def test() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))
        heard: asyncio.Queue[bytes | None] = asyncio.Queue()

        def fail(message: bytes | None) -> None:
            raise ValueError(message)

        async with listening(CONFIRMED + MESSAGE) as bells:
            await asyncio.gather(bells.listen(b"c", fail), bells.listen(b"c", heard.put_nowait))
            assert await heard.get() == b"news"
        assert len(told) == 1

    run(test)
