"""The embedded server: one at most on its data, none without its owner, and back if it dies."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import DataInUse, StoreUnavailable
from proxy.store.embedded import EmbeddedServer
from tests.contracts.backends import (
    RedisBackend,
    create,
    make_birth,
    make_events,
    read_all,
    run,
)

OWNER = """
import asyncio, sys
from pathlib import Path
from proxy.store.embedded import EmbeddedServer

async def main():
    server = EmbeddedServer(Path(sys.argv[1]), on_trouble=print)
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
"""A process that owns a server until it is killed."""


def quiet(path: Path) -> EmbeddedServer:
    return EmbeddedServer(path, on_trouble=pytest.fail)


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that is dead but not yet waited for does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def until_dead(pid: int) -> None:
    async with asyncio.timeout(10):
        while is_alive(pid):
            await asyncio.sleep(0.01)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in text.split()]


# --- its data ----------------------------------------------------------------------------------


def test_data_survives_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        births = [make_birth() for _ in range(20)]
        namespace = ""
        for round_ in range(3):
            server = quiet(tmp_path / "data")
            await server.start()
            backend = RedisBackend(server.url)
            backend.namespace = namespace = namespace or backend.namespace
            async with backend.process() as here:
                if round_ == 0:
                    for birth in births:
                        await create(here.journal, birth, 5)
                for birth in births:
                    assert await read_all(here.journal, birth.id) == make_events(1, 5)
            await server.stop()

    run(test)


def test_data_is_for_its_owner_s_eyes(tmp_path: Path) -> None:
    async def test() -> None:
        server = quiet(tmp_path / "deep" / "data")
        await server.start()
        assert mode_of(server.path) == 0o700
        assert mode_of(Path(server.url.removeprefix("unix://"))) == 0o700
        port = await RedisBackend(server.url).say("CONFIG", "GET", "port")
        assert port == [b"port", b"0"]
        await server.stop()

    run(test)


@pytest.mark.parametrize("name", ['a "quoted" name', "déjà vu 🦊", "x" * 120, "%41 ?db=3#x"])
def test_data_may_lie_anywhere(tmp_path: Path, name: str) -> None:
    async def test() -> None:
        path = tmp_path / name
        server = quiet(path)
        await server.start()
        socket = await RedisBackend(server.url).say("CONFIG", "GET", "unixsocket")
        await server.stop()
        assert (path / "appendonlydir").is_dir()
        assert isinstance(socket, list)
        assert isinstance(socket[1], bytes)
        assert not os.path.exists(socket[1])  # noqa: ASYNC240, PTH110 - bytes, and at once

    run(test)


def test_a_second_owner_of_the_same_data_is_refused_and_told_so(tmp_path: Path) -> None:
    async def test() -> None:
        first = quiet(tmp_path / "data")
        await first.start()
        second = quiet(tmp_path / "data")
        with pytest.raises(DataInUse) as caught:
            await second.start()
        assert str(tmp_path / "data") in str(caught.value)
        await second.stop()
        await RedisBackend(first.url).say("PING")
        await first.stop()
        await second.start()
        await second.stop()

    run(test)


def test_an_owner_waits_for_a_predecessor_that_is_about_to_go(tmp_path: Path) -> None:
    async def test() -> None:
        first, second = quiet(tmp_path / "data"), quiet(tmp_path / "data")
        await first.start()
        starting = asyncio.create_task(second.start())
        await asyncio.sleep(0.2)
        assert not starting.done()
        await first.stop()
        await starting
        await second.stop()

    run(test)


def test_data_that_cannot_be_read_is_told_of_with_the_server_s_own_words(tmp_path: Path) -> None:
    async def test() -> None:
        server = quiet(tmp_path / "data")
        await server.start()
        await RedisBackend(server.url).say("SET", "k", "v")
        await server.stop()
        (broken,) = (tmp_path / "data" / "appendonlydir").glob("*.incr.aof")
        broken.write_bytes(b"*3\r\n$3\r\nGARBAGE\r\n" + broken.read_bytes())
        with pytest.raises(StoreUnavailable) as caught:
            await server.start()
        assert "append only file" in caught.value.reason.lower()
        await server.stop()

    run(test)


# --- its owner ---------------------------------------------------------------------------------


def test_a_place_where_no_data_can_be_kept_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "data"

    async def test() -> None:
        with pytest.raises(StoreUnavailable) as refused:
            await quiet(path).start()
        assert str(path) in str(refused.value.reason)
        assert "Not a directory" in str(refused.value.reason)

    run(test)


def test_a_killed_owner_takes_its_server_with_it_and_the_data_is_free_again(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        path = tmp_path / "data"
        command = [sys.executable, "-c", OWNER, str(path)]
        with subprocess.Popen(  # noqa: ASYNC220 - does not wait
            command, stdout=subprocess.PIPE, text=True
        ) as owner:
            assert owner.stdout is not None
            url = (await asyncio.to_thread(owner.stdout.readline)).strip()
            pid = await RedisBackend(url).pid()
            await RedisBackend(url).say("SET", "k", "v")
            owner.send_signal(signal.SIGKILL)
        await until_dead(pid)
        successor = quiet(path)
        await successor.start()
        assert await RedisBackend(successor.url).say("GET", "k") == b"v"
        await successor.stop()

    run(test)


def test_the_terminal_s_interrupt_does_not_reach_the_server(tmp_path: Path) -> None:
    async def test() -> None:
        server = quiet(tmp_path / "data")
        await server.start()
        pid = await RedisBackend(server.url).pid()
        assert os.getsid(pid) == pid != os.getsid(0)
        await server.stop()

    run(test)


def test_a_stopped_server_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    async def test() -> None:
        open_after = []
        for _round in range(3):  # the loop itself opens something the first time
            server = quiet(tmp_path / "data")
            await server.start()
            pid = await RedisBackend(server.url).pid()
            (shell,) = children_of(pid)
            assert is_alive(shell)
            await server.stop()
            await server.stop()
            assert not is_alive(pid)
            await until_dead(shell)
            await asyncio.sleep(0)
            open_after.append(open_descriptors())
        assert open_after[1] == open_after[2]

    run(test)


# --- its death ---------------------------------------------------------------------------------


def test_a_server_that_dies_is_noticed_and_comes_back_at_the_same_place(tmp_path: Path) -> None:
    async def test() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        server = EmbeddedServer(tmp_path / "data", on_trouble=told.put_nowait)
        await server.start()
        url = server.url
        watching = asyncio.create_task(server.watch())
        for n in range(2):
            await RedisBackend(url).say("SET", f"k{n}", "v")
            pid = await RedisBackend(server.url).pid()
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                assert "ended by itself" in await told.get()
                assert "is back" in await told.get()
            assert await RedisBackend(server.url).pid() != pid
            assert server.url == url
            assert await RedisBackend(url).say("GET", f"k{n}") == b"v"
        await server.stop()
        await watching

    run(test)


def test_a_server_that_cannot_be_started_again_is_tried_until_it_can(tmp_path: Path) -> None:
    async def test() -> None:
        told: list[str] = []
        server = EmbeddedServer(tmp_path / "data", on_trouble=told.append)
        await server.start()
        watching = asyncio.create_task(server.watch())
        log = server.path / "valkey.log"
        log.rename(server.path / "away")
        log.mkdir()  # nothing can be opened in its place
        os.kill(await RedisBackend(server.url).pid(), signal.SIGKILL)
        await asyncio.sleep(1)
        log.rmdir()
        async with asyncio.timeout(10):
            while told[-1] != "The embedded store is back.":
                await asyncio.sleep(0.05)
        assert any(
            "does not come back: it cannot be started: Is a directory" in one for one in told
        )
        await server.stop()
        await watching

    run(test)


def test_the_log_is_bounded(tmp_path: Path) -> None:
    async def test() -> None:
        server = quiet(tmp_path / "data")
        (tmp_path / "data").mkdir(mode=0o700)
        log = tmp_path / "data" / "valkey.log"
        log.write_bytes(b"x" * 2_000_000)
        await server.start()
        assert log.stat().st_size < 100_000
        assert (tmp_path / "data" / "valkey.log.old").stat().st_size == 2_000_000
        await server.stop()

    run(test)
