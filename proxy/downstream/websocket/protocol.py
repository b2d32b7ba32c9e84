"""uvicorn's WebSocket protocol, with bounds, and many messages in one write.

Owns one upgraded connection: its frames, its pings, its end. uvicorn's own sends one message a
call, answers pings without end to who takes nothing, keeps what a message is made of in a list
without end, waits for ever for a peer that does not take what is left, and knows no way to drop
one. What surprises: the handshake was read by the HTTP protocol, under its limits, and is never
read again here; and a peer that takes bytes is alive, though its pong is stuck behind them (D14).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request

from proxy.downstream.websocket.waiting import Gate, Mailbox

SOCKET = "midstream.socket"
"""The key of a `WebSocketProtocol` in ``scope["extensions"]``."""

_GOODBYE_S = 2.0
"""How long a peer may take to answer a close, and then as long again for each time that it has
taken some of what it was still sent. Chosen: below what uvicorn waits for all when it stops."""
_UNANSWERED_MAX = 4
"""Pings in a row that a peer may leave unanswered while it is heard: in the middle of a long frame
it cannot answer. Chosen: two minutes for a message, at 15 s between two signs of life."""
_HANDSHAKE_HEADERS = frozenset(
    {b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version"}
)
"""What the handshake is decided by (RFC 6455 4.2.1). Compression is off, so extensions are not."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        super().__init__(*args, **kwargs)
        self.queue = Mailbox[ASGIReceiveEvent]()  # type: ignore[assignment]
        self.writable = Gate()  # type: ignore[assignment]
        self._heard_at = 0.0
        self._late_pong: bytes | None = None
        self._unsent = 0
        self._lost: asyncio.Future[None] | None = None
        self._has_failed = False
        self._unanswered = 0
        """Pings in a row."""

    # --- the handshake --------------------------------------------------------------------------

    def take_over(self, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin, with the request that the HTTP protocol has read."""
        needed = [
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in headers
            if name in _HANDSHAKE_HEADERS
        ]
        self.handle_connect(Request("/", Headers(needed)))
        del self.request
        if self.response.status_code != 101:
            return
        path, _, query = url.partition(b"?")
        offered = [value for name, value in headers if name == b"sec-websocket-protocol"]
        self.scope["path"] = path.decode("ascii")
        self.scope["raw_path"] = path
        self.scope["query_string"] = query
        self.scope["headers"] = list(headers)
        self.scope["subprotocols"] = [
            each.strip().decode("latin-1") for value in offered for each in value.split(b",")
        ]
        extensions: Any = self.scope["extensions"]  # ASGI's types know only dictionaries here
        extensions[SOCKET] = self

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI's. After the handshake the parser reads frames: what it was made for is over."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.conn.parser = self.conn.parse()
            next(self.conn.parser)
            del self.response

    def forget_handshake(self) -> None:
        """Let go of its headers, and of the credentials in them."""
        self.scope["headers"] = []
        self.scope["subprotocols"] = []

    # --- sending --------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still arrive."""
        return not (self.close_sent or self.disconnected or self.transport.is_closing())

    async def send_frames(self, frames: bytes) -> None:
        """Write whole frames at once, as soon as the peer has taken what it was sent before.

        Nothing is written to a connection that has closed meanwhile.
        """
        if not self.writable.is_set():
            await self.writable.wait()
        if self.is_open:
            self.transport.write(frames)

    def unsent_bytes(self) -> int:
        """What was given to the connection, and has not gone to the kernel."""
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The newest ping may be answered now."""
        super().resume_writing()
        pong, self._late_pong = self._late_pong, None
        if pong is not None and self.is_open:
            self.transport.write(pong)

    def handle_ping(self) -> None:
        """Answer; to a peer that takes nothing, only the newest one, later (RFC 6455 5.5.3)."""
        pongs = self.conn.data_to_send()
        if self.writable.is_set() or self.conn.close_sent is not None:
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._late_pong = pongs[-1]

    # --- receiving ------------------------------------------------------------------------------

    def take_messages_up_to(self, bytes_max: int) -> None:
        """A longer message ends the connection with 1009."""
        self.conn.max_message_size = bytes_max

    def data_received(self, data: bytes) -> None:
        """Whatever comes, somebody is there. Nothing may come before the handshake is answered."""
        self._heard_at = self.loop.time()
        if not self.handshake_complete:
            self.transport.abort()
        elif not self._has_failed:
            super().data_received(data)

    def handle_cont(self, event: Frame) -> None:
        """Join the parts as they come: of empty ones a list would have no end."""
        so_far: bytes | bytearray = self.frames[0]
        if not isinstance(so_far, bytearray):
            so_far = bytearray(so_far)
            self.frames = [so_far]  # type: ignore[list-item]  # it is only read
        so_far += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """A message is here. One that is not UTF-8 is its sender's fault, and not worth a log."""
        (data,), self.frames = self.frames, []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self.queue.put_nowait({"type": "websocket.receive", "bytes": bytes(data)})
        else:
            try:
                text = str(data, "utf-8")
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA, "text must be UTF-8")
                self.handle_parser_exception()
                return
            self.queue.put_nowait({"type": "websocket.receive", "text": text})
        if not self.read_paused:  # until it is received
            self.read_paused = True
            self.transport.pause_reading()

    # --- the end --------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, behind what is unsent. `receive` tells of a disconnect at once."""
        if not self.is_open:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self._say_goodbye()
        if self.read_paused:  # the peer's answer has to be read
            self.read_paused = False
            self.transport.resume_reading()

    async def wait_closed(self) -> None:
        """Until the connection is no more, which is soon after either side has said goodbye."""
        if not self.disconnected:
            self._lost = self.loop.create_future()
            await self._lost

    def connection_lost(self, exc: Exception | None) -> None:
        """It is no more."""
        super().connection_lost(exc)
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def handle_parser_exception(self) -> None:
        """What the peer sent is not WebSocket. Tell it, and let it be the one to close.

        A connection that is closed while its peer still sends is reset, and the reason lost.
        """
        self._has_failed = True
        if self.close_sent:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": ""})
        left = self.conn.close_rcvd
        if left is not None:
            # It left in the middle of a message, which websockets minds, but RFC 6455 5.4 allows.
            reason = b"" if left.code == CloseCode.NO_STATUS_RCVD else left.serialize()
            self.conn.writes = [Frame(Opcode.CLOSE, reason).serialize(mask=False)]
        self._say_goodbye()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _say_goodbye(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        self._watch_goodbye()

    def _watch_goodbye(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self.close_timer = self.loop.call_later(_GOODBYE_S, self._expire)

    def _expire(self) -> None:
        """Drop a peer that has neither closed nor taken any of what is left."""
        if 0 < self.transport.get_write_buffer_size() < self._unsent:
            self._watch_goodbye()
        else:
            self.transport.abort()

    def handle_close(self, event: Frame) -> None:
        """Its own goodbye, or its answer to ours."""
        super().handle_close(event)
        if self.close_timer is None and not self.disconnected:
            self._watch_goodbye()  # it may not take what was sent before

    def handle_pong(self, event: Frame) -> None:
        """It answers."""
        self._unanswered = 0
        super().handle_pong(event)

    def keepalive_timeout(self) -> None:
        """No pong in time. Gone, unless it was heard meanwhile, or has bytes to take.

        Who does not take them is found by its session.
        """
        self.pong_timer = None
        self.pending_ping_payload = None
        self._unanswered += 1
        if not self.is_open:
            return
        is_heard = self._heard_at > self.ping_sent_at and self._unanswered < _UNANSWERED_MAX
        if is_heard or self.unsent_bytes() > 0:
            self.schedule_ping()
        else:
            self.close(CloseCode.INTERNAL_ERROR, "no pong came in time")
            self.transport.close()  # nobody is there to answer

    def shutdown(self) -> None:
        """The server stops: sessions have been told, and said goodbye themselves."""
        if self.handshake_complete:
            self.close(CloseCode.GOING_AWAY, "this worker is being stopped")
        else:
            super().shutdown()
