"""One process that serves: by itself, or as one of several under a supervisor.

Owns its event loop and what it says when it starts. A worker under a supervisor has a line to
it: it says when it is ready and when it drains, and hears when to stop. What surprises: a worker
that is told to stop by a signal of its own, and not by its supervisor, stops accepting at once,
because its successor takes over the socket; and when the line breaks, the supervisor is dead
and its workers go too.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.heap import BufferWrapper
from pathlib import Path
from typing import Literal

import msgspec
import uvloop

from proxy.app import App, running_app
from proxy.config import Config
from proxy.downstream.desk import ConfigRefusal
from proxy.errors import ConfigInvalid, DataInUse, StoreUnavailable
from proxy.observe import Observer, open_log
from proxy.serving.listening import address, listen
from proxy.serving.server import Server
from proxy.serving.sheets import board_on
from proxy.serving.source import ConfigFile
from proxy.serving.watching import watched

EXIT_INVALID = 2
"""A config that cannot be applied, which may show only at the store."""
EXIT_FAILED = 1
"""A port in use, or a store out of reach."""
READY = b"ready"
LEAVING = b"leaving"
DRAINED = b"drained"
"""What a worker tells its supervisor. To be leaving is a question: see `Order`."""


class Order(msgspec.Struct, frozen=True):
    """What a supervisor tells a worker.

    Drain, and serve readers until the others have drained too; end, if you have drained; end now;
    drain by yourself, your successor is in its place; go on with another config; say that there is
    one that is not valid.
    """

    kind: Literal["stop", "end", "hurry", "leave", "reload", "refuse"]
    text: str = ""
    """Of the config to go on with."""
    refusal: ConfigRefusal | None = None


class Post(msgspec.Struct, frozen=True):
    """What a worker is given when it starts."""

    number: int
    """From 1."""
    source: ConfigFile
    text: str
    """The config's."""
    store_url: str | None
    """Of the embedded server that the supervisor owns."""
    is_first: bool
    """Whether it warns of what all workers see."""
    sheet: int | None
    """Of the board, for its numbers; None if all are taken."""


def refuse(sentence: str) -> int:
    """Say why it cannot serve; the exit code."""
    sys.stderr.write(f"midstream: {sentence}\n")
    return EXIT_FAILED


def cannot_listen(config: Config, error: OSError) -> str:
    """Why, in the system's words alone."""
    why = os.strerror(error.errno) if error.errno is not None else error
    return f"cannot listen on {config.server.host}:{config.server.port}: {why}"


def warn(sentence: str) -> None:
    """Say what an operator should know."""
    sys.stderr.write(f"midstream: warning: {sentence}\n")


def announce(config: Config, url: str, observer: Observer) -> None:
    """The one line that says where it listens and on which store."""
    is_open = not config.keys
    access = "open access" if is_open else f"{len(config.keys)} key(s)"
    workers = config.server.workers
    many = f", {workers} workers" if workers > 1 else ""
    sys.stderr.write(f"Midstream listens on {url}, store: {config.store.address}, {access}{many}\n")
    observer.started(url, config.store.address, is_open=is_open)


def cancel_on_signals() -> None:
    """Let SIGTERM and SIGINT end what is just starting, until somebody else hears them.

    By default they would be ignored, where this is the first process of a container.
    """
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()
    assert starting is not None, "called in a task"
    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, starting.cancel)


# --- by itself ----------------------------------------------------------------------------------


def serve_alone(config: Config, source: ConfigFile, observer: Observer) -> int:
    """Serve in this process until told to stop; its exit code."""
    try:
        (listening,) = listen(config.server.host, config.server.port, 1)
    except OSError as error:
        return refuse(cannot_listen(config, error))
    with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve_alone(config, source, observer, listening))
        except asyncio.CancelledError:
            return 0  # told to stop before it had begun
        except (DataInUse, StoreUnavailable) as error:
            return refuse(f"{error} {getattr(error, 'reason', '')}".strip())


async def _serve_alone(
    config: Config, source: ConfigFile, observer: Observer, listening: socket.socket
) -> int:
    cancel_on_signals()
    async with running_app(config, observer, on_trouble=warn) as app:
        announce(config, address(listening), observer)
        for warning in app.store.warnings:
            warn(warning)

        def reload() -> None:
            try:
                app.reload(source.parse(source.read()))
                observer.config_accepted()
            except ConfigInvalid as invalid:
                observer.config_refused(invalid)
                app.refuse(refusal(invalid))

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        async with watched(source, reload, observer):
            await Server(app.asgi, config, app.switchboard).serve(sockets=[listening])
    return 0


def refusal(invalid: ConfigInvalid) -> ConfigRefusal:
    """What is told of a config that is refused now."""
    return ConfigRefusal(time.time(), invalid.problems[0])


# --- under a supervisor ---------------------------------------------------------------------------


def run_worker(
    post: Post, listening: socket.socket, line: Connection, memory: BufferWrapper
) -> None:
    """A worker process's whole life. Ends it with its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the supervisor
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as is the terminal's end, and a reload
    with suppress(OSError):  # what ps and top show, on Linux
        Path("/proc/self/comm").write_text(f"midstream-{post.number}")
    observer = open_log("text", sys.stderr, worker=post.number)
    try:
        config = post.source.parse(post.text)
        observer = open_log(config.server.log, sys.stderr, worker=post.number)
        observer.count_on(board_on(memory), post.sheet)
        with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_post(post, config, observer, listening, line))
    except asyncio.CancelledError:
        return  # told to stop before it had begun
    except StoreUnavailable as error:
        sys.exit(refuse(f"{error} {error.reason}"))
    except ConfigInvalid as error:
        refuse(str(error))
        sys.exit(EXIT_INVALID)
    except Exception as error:  # noqa: BLE001 - the root: Python's own report shows messages
        observer.internal_error(error)
        sys.exit(EXIT_FAILED)


async def _serve_post(
    post: Post, config: Config, observer: Observer, listening: socket.socket, line: Connection
) -> None:
    loop = asyncio.get_running_loop()
    early: list[Order] = []
    starting = asyncio.current_task()
    assert starting is not None, "a worker is a task"
    loop.add_reader(line.fileno(), _hear_early, line, early, starting)
    async with running_app(config, observer, on_trouble=warn, store_url=post.store_url) as app:
        if post.is_first:
            for warning in app.store.warnings:
                warn(warning)
        server = Server(
            app.asgi,
            config,
            app.switchboard,
            on_signal=lambda: _say(line, LEAVING),
            on_drained=lambda: _say(line, DRAINED),
        )
        orders = _Line(line, post, app, server, observer)
        for order in early:
            orders.obey(order)
        loop.add_reader(line.fileno(), orders.hear)
        _say(line, READY)
        await server.serve(sockets=[listening])
        loop.remove_reader(line.fileno())


def _say(line: Connection, word: bytes) -> None:
    with suppress(OSError):  # the supervisor is dead, which is heard next
        line.send_bytes(word)


def _hear_early(line: Connection, early: list[Order], starting: "asyncio.Task[None]") -> None:
    """Before it serves: what the config is, is kept for later; else it does not even begin."""
    try:
        order: Order = msgspec.json.decode(line.recv_bytes(), type=Order)
    except (EOFError, OSError):
        starting.cancel()
        return
    if order.kind in {"reload", "refuse"}:
        early.append(order)
    else:
        starting.cancel()


class _Line:
    """What a worker does at its supervisor's word."""

    def __init__(
        self, line: Connection, post: Post, app: App, server: Server, observer: Observer
    ) -> None:
        self._line = line
        self._post = post
        self._app = app
        self._server = server
        self._observer = observer

    def hear(self) -> None:
        """Do as the next order says. When the line breaks, end."""
        try:
            order: Order = msgspec.json.decode(self._line.recv_bytes(), type=Order)
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._line.fileno())
            self._server.may_end.set()
            self._server.stop(stops_listening=True)
            return
        self.obey(order)

    def obey(self, order: Order) -> None:
        """See `Order`."""
        match order.kind:
            case "stop":
                self._server.may_end.clear()
                self._server.stop()
            case "end":
                self._server.may_end.set()
            case "hurry":
                self._server.hurry()
            case "leave":
                self._server.stop(stops_listening=True)
            case "reload":
                self._reload(order.text)
            case "refuse":
                assert order.refusal is not None, "it is what is told"
                self._app.refuse(order.refusal)

    def _reload(self, text: str) -> None:
        try:
            self._app.reload(self._post.source.parse(text))
        except ConfigInvalid as invalid:  # a secret's file was changed at this very moment
            self._observer.config_refused(invalid)
            self._app.refuse(refusal(invalid))
