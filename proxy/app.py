"""The composition root: knows every class, holds no rule."""

import asyncio
import importlib.metadata
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
import uvloop
from litestar import Litestar
from litestar.datastructures import State as AppState
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp

from proxy.config import Config
from proxy.downstream.desk import Desk, HttpSettings
from proxy.downstream.front import Front
from proxy.downstream.generate import generate_routes
from proxy.downstream.http import HttpLimits, limited_protocol
from proxy.downstream.models import models_routes
from proxy.downstream.operator import operator_routes
from proxy.downstream.problems import handle_error
from proxy.downstream.schema import openapi_json
from proxy.downstream.streams import streams_routes
from proxy.downstream.websocket.handshake import websocket_routes
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.errors import DataInUse, StoreUnavailable
from proxy.observe import Observer
from proxy.policy.keys import Keyring
from proxy.policy.routes import Routes
from proxy.relay.ports import Worker
from proxy.relay.switchboard import Settings, Switchboard
from proxy.relay.writer import Limits
from proxy.store.opening import OpenStore, open_store
from proxy.upstream.providers import build_providers
from proxy.wire.dialects import all_dialects

_EXIT_FAILED = 1
"""A port in use, or a store out of reach."""
_KEEP_ALIVE_S = 75
"""Of an idle connection. Chosen: longer than the 60 s after which load balancers drop theirs, so
that none sends a request into a connection that is just being closed."""
_CLOSE_S = 5
"""For answers that are under way when everything else has ended."""


class WallClock:
    """The machine's clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


class SystemEntropy:
    """The machine's randomness."""

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes nobody can guess."""
        return secrets.token_bytes(count)


class Server(uvicorn.Server):
    """uvicorn, told to drain: streams first, then readers, then connections.

    uvicorn's own way down waits for open streams for ever, or tells them their client has
    left, and ends the process by raising the signal again before anything is put away.
    """

    def __init__(self, config: uvicorn.Config, switchboard: Switchboard, drain_s: float) -> None:
        super().__init__(config)
        self._switchboard = switchboard
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop without cutting anybody off. A second signal hurries."""
        await self._switchboard.drain(self._drain_s, hurry=lambda: self.force_exit)
        self._switchboard.send_readers_away()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first one drains, the next one stops."""
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Our own, because uvicorn's raises the signal again at the end."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {sig: signal.signal(sig, self.handle_exit) for sig in signals}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def serve(config: Config, observer: Observer) -> int:
    """Serve until told to stop; the process's exit code."""
    try:
        listening = _listen(config.server.host, config.server.port)
    except OSError as error:
        return _refuse(
            f"cannot listen on {config.server.host}:{config.server.port}: {error.strerror}"
        )
    with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve(config, observer, listening))
        except (DataInUse, StoreUnavailable) as error:
            return _refuse(f"{error} {getattr(error, 'reason', '')}".strip())


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"midstream: {sentence}\n")
    return _EXIT_FAILED


def _warn(sentence: str) -> None:
    sys.stderr.write(f"midstream: warning: {sentence}\n")


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    listening.setblocking(False)
    return listening


async def _serve(config: Config, observer: Observer, listening: socket.socket) -> int:
    async with running_app(config, observer) as (app, switchboard, store):
        host, port = listening.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        is_open = not config.keys
        access = "open access" if is_open else f"{len(config.keys)} key(s)"
        address = config.store.address
        sys.stderr.write(f"Midstream listens on {url}, store: {address}, {access}\n")
        for warning in store.warnings:
            _warn(warning)
        observer.started(url, address, is_open=is_open)
        limits = config.server
        uvicorn_config = uvicorn.Config(
            app,
            http=limited_protocol(
                HttpLimits(
                    header_bytes_max=limits.header_bytes_max,
                    header_count_max=limits.header_count_max,
                    headers_s=limits.headers_s,
                    body_s=limits.body_s,
                    linger_s=config.streams.reader_stall_s,
                )
            ),
            ws=WebSocketProtocol,
            ws_max_size=limits.message_bytes_max,
            ws_ping_interval=config.streams.heartbeat_s,
            ws_ping_timeout=config.streams.heartbeat_s,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.connections_max,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_CLOSE_S,
        )
        await Server(uvicorn_config, switchboard, limits.drain_s).serve(sockets=[listening])
    return 0


@asynccontextmanager
async def running_app(
    config: Config, observer: Observer
) -> AsyncIterator[tuple[ASGIApp, Switchboard, OpenStore]]:
    """The whole proxy but for its socket, while inside."""
    clock, entropy, dialects = WallClock(), SystemEntropy(), all_dialects()
    worker = Worker(
        id=entropy.random_bytes(8).hex(),
        host=socket.gethostname(),
        pid=os.getpid(),
        version=importlib.metadata.version("midstream"),
        started_at=clock.now(),
    )
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            open_store(
                config.store,
                lease_s=config.streams.lease_s,
                clock=clock,
                worker=worker.id,
                on_trouble=_warn,
            )
        )
        providers = build_providers(config.providers)
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        switchboard = Switchboard(
            store.journal,
            store.ledger,
            clock,
            entropy,
            observer,
            dialects,
            Settings(
                lease_s=config.streams.lease_s,
                grace_s=config.store.grace_s,
                heartbeat_s=config.streams.heartbeat_s,
                streams_max=config.server.streams_max,
                limits=Limits(
                    event_bytes_max=config.streams.event_bytes_max,
                    stream_bytes_max=config.streams.stream_bytes_max,
                ),
            ),
        )
        await stack.enter_async_context(switchboard.running())
        await stack.enter_async_context(switchboard.reporter(worker).running())
        desk = Desk(
            switchboard=switchboard,
            dialects=dialects,
            providers=providers,
            routes=Routes(
                config.models, {name: dialect.path for name, dialect in dialects.items()}
            ),
            keyring=Keyring(config.keys),
            observer=observer,
            settings=HttpSettings(
                body_bytes_max=config.server.body_bytes_max,
                message_bytes_max=config.server.message_bytes_max,
                heartbeat_s=config.streams.heartbeat_s,
                reader_stall_s=config.streams.reader_stall_s,
                first_content_s=config.streams.first_content_s,
                retention_s=config.store.retention_s,
                retention_max_s=config.store.retention_max_s,
                detach=config.streams.detach,
            ),
            ping=store.ping,
        )
        yield Front(_litestar(desk), observer, entropy), switchboard, store


def _litestar(desk: Desk) -> Litestar:
    """The routes. Errors of any kind leave in the caller's dialect."""
    return Litestar(
        route_handlers=[
            *generate_routes(desk),
            *streams_routes(desk),
            *models_routes(desk),
            *websocket_routes(desk),
            *operator_routes(desk, openapi_json()),
        ],
        exception_handlers={Exception: handle_error, HTTPException: handle_error},
        state=AppState({"desk": desk}),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
