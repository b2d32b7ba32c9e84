"""Connections: when one is closed, when it is used again, and how many there may be."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.errors import ProviderRefused
from tests.upstream.asking import KINDS, read, remote, request, run
from tests.upstream.fake_provider import (
    LAST_CHUNK,
    Deaf,
    FakeProvider,
    Send,
    Sleep,
    Stall,
    Step,
    chunk,
    head,
    streamed,
    whole,
)

PEM = Path(__file__).parent / "loopback.pem"
EVENT = b"data: {}\n\n"
BEGUN: list[Step] = [Send(head()), Send(chunk(EVENT))]

either = pytest.mark.parametrize("kind", KINDS)
at_every_phase = pytest.mark.parametrize(
    "script",
    [
        [Stall()],
        [Send(b"HTTP/1.1 200 OK\r\ncontent-ty"), Stall()],
        [Send(head()), Stall()],
        [*BEGUN, Stall()],
        [*BEGUN, Send(chunk(EVENT)[:-5]), Stall()],
        [Send(head(500)), Send(chunk(b"{")), Stall()],
    ],
    ids=["no header", "half a header", "no body", "an event", "half a chunk", "half an error"],
)


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@either
@at_every_phase
def test_cancelling_closes_the_connection_in_every_phase(kind: str, script: Sequence[Step]) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(script)
            provider = remote(kind, far.url)
            task = asyncio.create_task(read(provider))
            await far.until(lambda: far.steps_played == len(script) - 1 and far.requests != [])
            await asyncio.sleep(0.02)  # so that what was sent has been read
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await far.until(lambda: far.open == 0, within_s=1)
            await provider.close()

    run(main())


@either
def test_cancelling_over_tls_closes_the_connection(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))

    async def main() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(PEM)
        async with FakeProvider.running(tls) as far:
            far.plays([*BEGUN, Stall()])
            provider = remote(kind, far.url)
            task = asyncio.create_task(read(provider))
            await far.until(lambda: far.steps_played == len(BEGUN))
            task.cancel()
            await far.until(lambda: far.open == 0, within_s=1)
            await provider.close()
            assert task.cancelled()

    run(main())


@either
def test_cancelling_drops_a_body_that_the_provider_does_not_take(kind: str) -> None:
    body = b'{"model":"m","image":"' + b"QUJD" * 8_000_000 + b'"}'

    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(streamed([EVENT]), [Deaf(), Stall()])
            provider = remote(kind, far.url)
            await read(provider)
            files = _open_files()  # among them both ends of the connection
            task = asyncio.create_task(read(provider, request(provider, body)))
            await far.until(lambda: len(far.requests) == 2)
            await asyncio.sleep(0.05)  # what the kernel takes is taken
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.05)
            assert _open_files() == files - 1
            await provider.close()

    run(main())


@either
def test_a_second_cancellation_while_leaving_still_closes(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays([*BEGUN, Stall()])
            provider = remote(kind, far.url)

            async def leave_after_one() -> None:
                async with provider.stream(request(provider)) as chunks:
                    await anext(aiter(chunks))

            task = asyncio.create_task(leave_after_one())
            await far.until(lambda: far.steps_played == len(BEGUN))
            await asyncio.sleep(0.02)  # it waits for the end of the body, for a moment
            task.cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await far.until(lambda: far.open == 0, within_s=1)
            await provider.close()

    run(main())


@either
@pytest.mark.parametrize(
    "script", [[*BEGUN, Stall()], BEGUN + [Send(chunk(EVENT)), Sleep(0.01)] * 90]
)
def test_leaving_early_closes_the_connection(kind: str, script: Sequence[Step]) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(script)
            provider = remote(kind, far.url)
            async with provider.stream(request(provider)) as chunks:
                assert (await anext(aiter(chunks))).startswith(EVENT)
            await far.until(lambda: far.open == 0, within_s=1)
            await provider.close()

    run(main())


@either
def test_an_exception_inside_closes_the_connection_at_once(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays([*BEGUN, Stall()])
            provider = remote(kind, far.url)
            later = asyncio.Event()

            async def stumble() -> None:
                async with provider.stream(request(provider)):
                    asyncio.get_running_loop().call_soon(later.set)
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await stumble()
            assert not later.is_set(), "closing waited for something"
            await far.until(lambda: far.open == 0, within_s=1)
            await provider.close()

    run(main())


@either
def test_an_answer_that_was_refused_for_its_type_is_closed(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays([Send(head(headers=(("content-type", "text/html"),))), Stall()])
            provider = remote(kind, far.url)
            task = asyncio.create_task(read(provider))
            await far.until(lambda: far.requests != [] and far.open == 0, within_s=1)
            await asyncio.gather(task, return_exceptions=True)
            await provider.close()

    run(main())


# --- using it again -------------------------------------------------------------------------------


@either
def test_a_connection_whose_answer_was_read_is_used_again(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(
                streamed([EVENT]), whole(429, b"{}"), whole(200, b'{"data":[]}'), streamed([EVENT])
            )
            provider = remote(kind, far.url)
            await read(provider)
            with pytest.raises(ProviderRefused):
                await read(provider)
            await provider.models()
            await read(provider)
            await provider.close()
            assert [received.connection for received in far.requests] == [1, 1, 1, 1]

    run(main())


@either
@pytest.mark.parametrize("late_s", [0.0, 0.03])
def test_leaving_after_the_last_event_waits_a_moment_for_the_end(kind: str, late_s: float) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            script: list[Step] = [*BEGUN, Sleep(late_s), Send(LAST_CHUNK)]
            far.plays(script, script)
            provider = remote(kind, far.url)
            for _ in range(2):
                async with provider.stream(request(provider)) as chunks:
                    assert await anext(aiter(chunks)) == EVENT
            await provider.close()
            assert [received.connection for received in far.requests] == [1, 1]

    run(main())


@either
def test_a_connection_that_the_provider_closed_meanwhile_is_not_used(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(streamed([EVENT]), streamed([EVENT]))
            provider = remote(kind, far.url)
            await read(provider)
            far.cut_all()
            await far.until(lambda: far.open == 0)
            await asyncio.sleep(0.02)  # our end of it hears of that as well
            assert await read(provider) == EVENT
            await provider.close()
            assert [received.connection for received in far.requests] == [1, 2]

    run(main())


@either
def test_closing_the_provider_closes_idle_connections(kind: str) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(streamed([EVENT]))
            provider = remote(kind, far.url)
            await read(provider)
            assert far.open == 1
            await provider.close()
            await far.until(lambda: far.open == 0, within_s=1)

    run(main())


# --- how many -------------------------------------------------------------------------------------


def test_1200_streams_run_at_once_and_leave_nothing() -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays([*BEGUN, Stall()])
            provider = remote("openai", far.url)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(provider)) for _ in range(1200)]
                await far.until(lambda: far.steps_played == 1200 * len(BEGUN), within_s=60)
                assert (far.open, len(far.requests)) == (1200, 1200)
                for task in tasks:
                    task.cancel()
            await far.until(lambda: far.open == 0, within_s=5)
            far.always_plays(streamed([EVENT]))
            assert await read(provider) == EVENT
            await provider.close()

    run(main())
