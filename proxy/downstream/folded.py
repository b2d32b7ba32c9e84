"""A stream as one JSON answer: its events, folded, once it has ended.

The client may vanish meanwhile and come back for the answer with the same idempotency key.
"""

from collections.abc import Awaitable, Callable, Sequence

from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.downstream.exchange import Answer
from proxy.downstream.http import wire_of
from proxy.errors import Draining, StreamGone, StreamNotFound
from proxy.relay.cursor import Cursor
from proxy.stream import Ending, Event
from proxy.wire.dialect import Dialect


class FoldedAnswer:
    """The response, as an ASGI application."""

    def __init__(
        self,
        cursor: Cursor,
        dialect: Dialect,
        look_s: float,
        headers: Sequence[tuple[str, str]],
        failure: Callable[[], Awaitable[ASGIApp | None]],
    ) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._look_s = look_s
        self._headers = headers
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the end, answer."""
        cursor = self._cursor
        wire = wire_of(scope)
        wire.watch(cursor.close)
        try:
            events = await self._collect()
            if cursor.is_closed:
                return
            if cursor.tail.ending is Ending.COMPLETED:
                body = self._dialect.fold(events)
                await Answer(200, body, headers=self._headers)(scope, receive, send)
                return
            failed = await self._failure()
            if failed is None:
                raise StreamNotFound
            await failed(scope, receive, send)
        finally:
            cursor.close()
            wire.unwatch()

    async def _collect(self) -> list[Event]:
        events: list[Event] = []
        cursor = self._cursor
        while not cursor.is_at_end and not cursor.is_closed:
            batch = await cursor.next(self._look_s)
            if batch is not None:
                events.extend(batch.events)
            elif cursor.is_sent_away and not cursor.is_at_end:
                raise Draining
        if cursor.tail.is_erased and not cursor.is_at_end:
            raise StreamGone
        return events
