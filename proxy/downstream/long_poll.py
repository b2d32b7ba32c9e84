"""A cursor's events as one JSON answer: as soon as there are any, or empty after a wait."""

from collections.abc import Sequence

from litestar.types import Receive, Scope, Send

from proxy.downstream.exchange import Answer
from proxy.downstream.http import wire_of
from proxy.errors import StreamGone
from proxy.relay.cursor import Cursor
from proxy.stream import DONE, Event

POLL_LINGERS_S = 30.0
"""How long a poller still counts as a reader after its last answer."""

_ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""Of one answer, but always one event. Chosen: what a page parses without a pause."""


class LongPoll:
    """The response, as an ASGI application."""

    def __init__(
        self, cursor: Cursor, *, wait_s: float, limit: int, headers: Sequence[tuple[str, str]]
    ) -> None:
        self._cursor = cursor
        self._wait_s = wait_s
        self._limit = limit
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, answer."""
        cursor = self._cursor
        wire = wire_of(scope)
        wire.watch(cursor.close)
        try:
            events = await self._collect()
            if cursor.is_closed:
                return
            last_id = events[-1].id if events else cursor.start
            is_ended = cursor.tail.ending is not None and last_id >= cursor.tail.last_id
            ending = cursor.tail.ending if is_ended else None
            body = encode_poll(events, last_id, ending)
            path = f"/v1/streams/{cursor.tail.stream}/events?after={last_id}"
            link = ("link", f'<{path}&wait={self._wait_s:g}&limit={self._limit}>; rel="next"')
            answer = Answer(200, body, headers=[*self._headers, link])
            await answer(scope, receive, send)
        finally:
            cursor.close()
            wire.unwatch()

    async def _collect(self) -> list[Event]:
        """What is there, up to the limits; the first event is waited for."""
        events: list[Event] = []
        size = 0
        wait_s = self._wait_s
        while len(events) < self._limit:
            try:
                batch = await self._cursor.next(wait_s)
            except StreamGone:
                if not events:
                    raise
                break
            if batch is None:
                break
            for event in batch.events[: self._limit - len(events)]:
                size += len(event.data)
                if events and size > _ANSWER_BYTES_MAX:
                    return events
                events.append(event)
            wait_s = 0
        return events


def encode_poll(events: Sequence[Event], last_id: int, ending: str | None) -> bytes:
    """The answer's JSON. The events' data is spliced in: it is JSON already."""
    spliced = b",".join(
        b'{"id":%d,"event":"%s","data":%s}'
        % (event.id, event.name.encode(), b'"[DONE]"' if event.data == DONE else event.data)
        for event in events
    )
    tail = b'false,"ending":null' if ending is None else b'true,"ending":"%s"' % ending.encode()
    return b'{"events":[%s],"last_id":%d,"ended":%s}' % (spliced, last_id, tail)
