"""Several workers: started, watched, replaced, and told to stop.

Owns the embedded store's server and one listening socket for each worker. A worker that dies
leaves its socket, with whoever waits in it, to its successor; one that drains by a signal of
its own is succeeded before it has ended. What surprises: workers are forked from a process that
has imported everything and done nothing else (multiprocessing's forkserver), so that a successor
is there within a tenth of a second, and all share the memory of the imports.
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from proxy.config import Config
from proxy.errors import ConfigInvalid, DataInUse, StoreUnavailable
from proxy.observe import Observer
from proxy.serving.listening import address, listen
from proxy.serving.process import Worker, context
from proxy.serving.sheets import Sheets
from proxy.serving.source import ConfigFile
from proxy.serving.watching import watched
from proxy.serving.worker import (
    DRAINED,
    EXIT_FAILED,
    LEAVING,
    READY,
    Order,
    Post,
    announce,
    cancel_on_signals,
    cannot_listen,
    refusal,
    refuse,
    run_worker,
    warn,
)
from proxy.store.opening import embedded_store

_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Before a worker that keeps dying is started again. Chosen: the first death costs nothing, and
one that cannot live takes a tenth of a core at most."""
_STEADY_S = 30.0
"""After this long it is no longer one that keeps dying."""
_START_S = 60.0
"""For all workers to be ready. Measured: 2 s, most of it imports."""
_END_S = 15.0
"""Beyond `drain_s`, before a worker that does not end is killed. Chosen: over all the waits on its
way down."""
_END_EVERY_S = 0.05
_GROUP_S = 0.1
"""How long after a worker's signal the supervisor's own may come, if it is for all processes, as
systemd sends it. Then nobody needs a successor, and whoever comes is to be told why."""


class Crew:
    """All workers: one on each post, and those that still drain."""

    def __init__(
        self,
        config: Config,
        source: ConfigFile,
        observer: Observer,
        sockets: Sequence[socket.socket],
        store_url: str | None,
    ) -> None:
        self._drain_s = config.server.drain_s
        self._source = source
        self._text = source.read()
        self._refused: Order | None = None
        """What is told of the config while the file is not valid."""
        self._observer = observer
        self._sockets = sockets
        self._store_url = store_url
        self._sheets = Sheets(len(sockets))
        observer.count_on(self._sheets.board, 0)
        self._posts: dict[int, Worker] = {}
        self._draining: set[Worker] = set()
        self._deaths: dict[int, int] = {}
        self._has_started = False
        self._stops = 0
        self._is_stopping = asyncio.Event()

    # --- from outside -----------------------------------------------------------------------------

    async def start(self) -> int:
        """Bring all to work, the first one first; 0, or the exit code of one that cannot."""
        for number in range(1, len(self._sockets) + 1):
            self._hire(number)
            if number == 1 and (code := await self._has_begun(1)):
                return code
        codes = [await self._has_begun(number) for number in self._posts]
        self._has_started = not any(codes)
        return next((code for code in codes if code), 0)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopping.is_set()

    async def keep(self) -> None:
        """Return once `stop` was called and the last worker has ended. Nobody holds that up."""
        await self._is_stopping.wait()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._drain_s + _END_S
        is_told = False
        while workers := self._all():
            if not is_told and all(worker.is_drained for worker in workers):
                is_told = True  # until now each served readers of the others' streams
                for worker in workers:
                    worker.tell(Order("end"))
            if loop.time() > until:
                for worker in workers:
                    worker.kill()
            await asyncio.sleep(_END_EVERY_S)

    def stop(self) -> None:
        """Let all drain and end. A second time hurries, a third one kills."""
        self._is_stopping.set()
        self._stops += 1
        for worker in self._all():
            if self._stops > 2:
                worker.kill()
            else:
                worker.tell(Order("stop" if self._stops == 1 else "hurry"))

    def reload(self) -> None:
        """Read the config again, and have all workers go by it; a bad one changes nothing."""
        try:
            text = self._source.read()
            self._source.parse(text)
        except ConfigInvalid as invalid:
            self._observer.config_refused(invalid)
            order = self._refused = Order("refuse", refusal=refusal(invalid))
        else:
            self._text, self._refused = text, None
            order = Order("reload", text)
            self._observer.config_accepted()
        for worker in self._all():
            worker.tell(order)

    # --- the posts --------------------------------------------------------------------------------

    def _all(self) -> list[Worker]:
        workers = [*self._posts.values(), *self._draining]
        return [worker for worker in workers if not worker.ended.is_set()]

    def _hire(self, number: int) -> None:
        if self._is_stopping.is_set():
            return
        is_first = number == 1 and number not in self._posts
        sheet = self._sheets.take()
        post = Post(number, self._source, self._text, self._store_url, is_first, sheet)
        try:
            self._posts[number] = Worker(
                post,
                self._sockets[number - 1],
                self._sheets.memory,
                on_word=self._heard,
                on_end=self._has_ended,
            )
        except BaseException:
            self._sheets.give_back(sheet)
            raise

    async def _has_begun(self, number: int) -> int:
        """Wait for a worker's first word; its exit code if it ended instead."""
        worker = self._posts[number]
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(event.wait()) for event in (worker.ready, worker.ended)]
        await asyncio.wait(waits, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return 0 if worker.ready.is_set() else worker.exit_code or EXIT_FAILED

    def _heard(self, worker: Worker, word: bytes) -> None:
        if word == READY:
            worker.ready.set()
            if self._refused is not None:
                worker.tell(self._refused)
        elif word == DRAINED:
            worker.is_drained = True
        elif word == LEAVING:
            asyncio.get_running_loop().call_later(_GROUP_S, self._succeed, worker)

    def _succeed(self, worker: Worker) -> None:
        """Let a worker that was told to stop leave its post to another, if the others stay."""
        number = worker.post.number
        if self._is_stopping.is_set() or worker.ended.is_set():
            return
        self._draining.add(worker)
        self._observer.worker_leaves(number, worker.pid)
        self._hire_again(number)
        worker.tell(Order("leave"))

    def _has_ended(self, worker: Worker) -> None:
        """Its post is taken again, at once if none has died on it before."""
        number = worker.post.number
        self._sheets.give_back(worker.post.sheet)
        self._draining.discard(worker)
        if self._is_stopping.is_set() or not self._has_started:
            return
        if self._posts[number] is not worker:
            return  # its successor is at work
        lived_s = asyncio.get_running_loop().time() - worker.started_at
        if lived_s > _STEADY_S:
            self._deaths[number] = 0
        self._observer.worker_died(number, worker.pid, worker.exit_code, lived_s)
        self._hire_later(number)

    def _hire_later(self, number: int) -> None:
        deaths = self._deaths.get(number, 0)
        self._deaths[number] = deaths + 1
        wait_s = _BACKOFF_S[min(deaths, len(_BACKOFF_S) - 1)]
        asyncio.get_running_loop().call_later(wait_s, self._hire_again, number)

    def _hire_again(self, number: int) -> None:
        """Unless that has been done meanwhile; later, if the system starts no process now."""
        present = self._posts[number]
        if not (present.ended.is_set() or present in self._draining):
            return
        try:
            self._hire(number)
        except (OSError, EOFError) as error:  # the latter from a forkserver that dies of it
            self._observer.worker_not_started(number, error)
            self._hire_later(number)


def supervise(config: Config, source: ConfigFile, observer: Observer) -> int:
    """Serve with several workers until told to stop; the exit code."""
    try:
        sockets = listen(config.server.host, config.server.port, config.server.workers)
    except OSError as error:
        return refuse(cannot_listen(config, error))
    with ExitStack() as stack:
        for listening in sockets:
            stack.enter_context(listening)
        context().set_forkserver_preload(_preloaded(config))
        try:
            return asyncio.run(_supervise(config, source, observer, sockets))
        except asyncio.CancelledError:
            return 0  # told to stop before it had begun
        except (DataInUse, StoreUnavailable) as error:
            return refuse(f"{error} {getattr(error, 'reason', '')}".strip())


async def _supervise(
    config: Config, source: ConfigFile, observer: Observer, sockets: list[socket.socket]
) -> int:
    cancel_on_signals()
    async with _store_url(config) as store_url:
        crew = Crew(config, source, observer, sockets, store_url)
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, crew.stop)
        loop.add_signal_handler(signal.SIGHUP, crew.reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        code = await crew.start()
        if crew.is_stopping:
            code = 0
        elif code:
            crew.stop()
        else:
            announce(config, address(sockets[0]), observer)
        async with watched(source, crew.reload, observer):
            await crew.keep()
        return code


def _preloaded(config: Config) -> list[str]:
    """What every worker needs: imported once, before they are forked."""
    kinds = {table.kind for table in config.providers.values()} - {"scripted"}
    traces = ["proxy.observe.export"] if config.tracing.is_on else []
    cipher = ["cryptography.hazmat.primitives.ciphers.aead"] if config.store.encryption_key else []
    upstream = [f"proxy.upstream.{kind}" for kind in sorted(kinds)]
    return [run_worker.__module__, *upstream, *traces, *cipher]


@asynccontextmanager
async def _store_url(config: Config) -> AsyncIterator[str | None]:
    if config.store.kind != "embedded":
        yield None
        return
    async with embedded_store(Path(config.store.path), warn) as url:
        yield url
