"""uvicorn, told to drain: new streams are refused, readers sent on, answers brought to their end.

uvicorn's own way down waits for open streams for ever, or tells them their client has left, and
ends the process by raising the signal again before anything is put away.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from litestar.types import ASGIApp

from proxy.config import Config
from proxy.downstream.http import HttpLimits, limited_protocol
from proxy.downstream.websocket.protocol import WebSocketProtocol
from proxy.relay.switchboard import Switchboard

_KEEP_ALIVE_S = 75
"""Of an idle connection. Chosen: longer than the 60 s after which load balancers drop theirs, so
that none sends a request into a connection that is just being closed."""
_CLOSE_S = 2.0
"""For the last bytes of answers that are under way when everything else has ended."""
_CLOSE_EVERY_S = 0.02
_GRACEFUL_S = 1
"""uvicorn's own wait, for connections that have been cut by then."""


class Server(uvicorn.Server):
    """See the module. `stop` it, or send it SIGTERM; a second signal hurries.

    Whoever hears `on_signal` decides what the first signal means. Once `on_drained` was called
    it still serves readers, until `may_end` is set.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        switchboard: Switchboard,
        *,
        on_signal: Callable[[], None] | None = None,
        on_drained: Callable[[], None] = lambda: None,
    ) -> None:
        limits = config.server
        self._protocol = limited_protocol(
            HttpLimits(
                header_bytes_max=limits.header_bytes_max,
                header_count_max=limits.header_count_max,
                headers_s=limits.headers_s,
                body_s=limits.body_s,
                stall_s=config.streams.reader_stall_s,
            )
        )
        super().__init__(
            uvicorn.Config(
                app,
                http=self._protocol,
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
                timeout_graceful_shutdown=_GRACEFUL_S,
            )
        )
        self._switchboard = switchboard
        self._drain_s = limits.drain_s
        self._on_signal = on_signal
        self._on_drained = on_drained
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._stops_listening = False
        self._was_signalled = False

    def stop(self, *, stops_listening: bool = False) -> None:
        """Drain, then end.

        With `stops_listening` no more connections are accepted from here on, because somebody
        else has the socket too; else they are, so that readers can come back and whoever asks
        is told why there are no new streams.
        """
        self.should_exit = True
        self._stops_listening = self._stops_listening or stops_listening

    def hurry(self) -> None:
        """Wait for nothing more."""
        self.should_exit = self.force_exit = True
        self.may_end.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until stopped.

        What is loaded by now stays for good: no collection looks at it again, which takes some
        40 ms, with every stream standing still.
        """
        gc.collect()
        gc.freeze()
        await super().serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop without cutting anybody off."""
        if self._stops_listening:
            for server in self.servers:
                server.close()
        self._protocol.keeps_alive = False
        await self._switchboard.drain(self._drain_s, hurry=lambda: self.force_exit)
        self._on_drained()
        await self.may_end.wait()
        self._switchboard.send_readers_away()
        for server in self.servers:
            server.close()
        await self._close_connections()
        await super().shutdown(sockets)

    async def _close_connections(self) -> None:
        """Let answers be sent to their end, and cut what is then left: uvicorn would cancel it."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, self._protocol):  # a WebSocket is closed by its session
                connection.shutdown()
        loop = asyncio.get_running_loop()
        until = loop.time() + _CLOSE_S
        while self.server_state.tasks and loop.time() < until and not self.force_exit:  # noqa: ASYNC110 - uvicorn's
            await asyncio.sleep(_CLOSE_EVERY_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """From here on the first signal drains, and the next one hurries, until the loop ends.

        Our own, because uvicorn's raises the signal again at the end. The loop's handlers are
        replaced, and never taken away: one that has come and waits for the loop is then lost.
        """
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self._hear_signal)
        yield

    def _hear_signal(self) -> None:
        if self._was_signalled:
            self.hurry()
        elif self._on_signal is None:
            self.stop()
        else:
            self._on_signal()
        self._was_signalled = True
