"""What a lane does in its turn: makes a response, or takes one up again, and sends its events.

A response that is made here is a stream like any other: it is in the journal before it is sent.
"""

import asyncio
from collections.abc import Mapping

import msgspec

from proxy.downstream.auth import must_own
from proxy.downstream.create import Call, call_wishes, create, let_finish, read_call
from proxy.downstream.describe import stream_headers
from proxy.downstream.desk import Desk
from proxy.downstream.http import LANES_PATH
from proxy.downstream.lanes import memory, messages
from proxy.downstream.lanes.lanes import Lane, Turn
from proxy.downstream.named import find_named
from proxy.downstream.problems import problem_headers
from proxy.downstream.tracing import note_subscription, traced_message
from proxy.downstream.websocket.connection import Connection
from proxy.errors import (
    BodyTooLarge,
    MalformedRequest,
    MidstreamError,
    PreviousResponseUnknown,
    StreamGone,
)
from proxy.observe import Span
from proxy.relay.cursor import Cursor
from proxy.relay.tail import Batch
from proxy.stream import STREAM_ID_PATTERN, Ending, Event, State, StreamId
from proxy.wire.dialect import Dialect
from proxy.wire.json_text import Fields, write_object
from proxy.wire.responses.ids import response_id

DIALECT = "openai.responses"
_WAIT_S = 60.0
"""Between two looks at a stream that is silent. Signs of life are the connection's."""
_LONG_BYTES = 32 * 1024
"""From here on a batch is a piece of a replay: whoever else this process serves comes first."""


class Turns:
    """See the module. `headers` are what is kept of the handshake's."""

    def __init__(
        self,
        desk: Desk,
        connection: Connection,
        remembered: memory.Memory,
        request: str,
        headers: Mapping[str, str],
    ) -> None:
        self._desk = desk
        self._connection = connection
        self._channel = connection.channel
        self._memory = remembered
        self._request = request
        self._headers = headers

    @property
    def dialect(self) -> Dialect:
        """The one that is spoken here."""
        return self._desk.dialects[DIALECT]

    async def take(self, lane: Lane, turn: Turn) -> None:
        """To its end. Raises what refuses it."""
        if isinstance(turn, messages.Resume):
            lane.response_id = turn.response_id
            with traced_message(self._desk, "resume", self._headers, path=LANES_PATH) as span:
                await self._read(lane, await self._find(turn), turn.after, span)
        elif turn.is_generated:
            with traced_message(self._desk, "create", self._headers, path=LANES_PATH) as span:
                await self._create(lane, turn, span)
        else:
            await self._warm(lane, turn)

    # --- making ---------------------------------------------------------------------------------

    async def _create(self, lane: Lane, said: messages.Create, span: Span | None) -> None:
        before = self._memory.recall(said.previous_response_id)
        fields = said.fields if before is None else memory.following(said.fields, before)
        lane.is_making = True
        try:
            state = await self._make(said, fields, span)
        finally:
            lane.is_making = False
        is_kept = said.is_stored and self._keeps_responses(state.provider)
        items = () if is_kept else memory.asked_items(fields)
        last = await self._read(lane, state, 0, span)
        answer = None if is_kept or last is None else memory.answered(last)
        if answer is not None:
            self._memory.keep(answer[0], [*items, *answer[1]])

    def _keeps_responses(self, name: str) -> bool:
        provider = self._desk.providers.get(name)
        return provider is not None and DIALECT in provider.dialects

    async def _make(self, said: messages.Create, fields: Fields, span: Span | None) -> State:
        """`fields` are what is asked for; what was said is what an idempotency key is bound to."""
        desk = self._desk
        try:
            call = self._call(fields, said.idempotency_key, span)
            if fields is not said.fields:
                heard = self._call(said.fields, said.idempotency_key, span)
                call = msgspec.structs.replace(call, fingerprint=heard.fingerprint)
            state = await self._repeated(call) or (await create(desk, call)).state
        except MidstreamError as error:
            desk.observer.create_answered(DIALECT, error.status)
            raise
        desk.observer.create_answered(DIALECT, 200)
        return state

    def _call(self, fields: Fields, idempotency_key: str | None, span: Span | None) -> Call:
        desk = self._desk
        body = write_object(fields)
        if len(body) > desk.settings.body_bytes_max:
            raise BodyTooLarge(desk.settings.body_bytes_max)
        key = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
        wishes = call_wishes(desk, {**self._headers, **key})
        principal = self._connection.principal
        return read_call(principal, wishes, self.dialect, self._headers, body, span)

    async def _repeated(self, call: Call) -> State | None:
        """What a repeat has made before, that follows from what is remembered no longer."""
        key, switchboard = call.wishes.idempotency_key, self._desk.switchboard
        if key is None or call.ask.previous is None:
            return None
        found = await switchboard.claimed_by(call.principal.owner, key)
        if found is None or found[1] != call.fingerprint:
            return None
        state = await switchboard.state(found[0])
        return None if state.is_erased else state

    async def _warm(self, lane: Lane, said: messages.Create) -> None:
        """Nothing can be prepared at a provider over HTTP: what was said is remembered here."""
        desk = self._desk
        ask = self.dialect.read_ask(write_object(said.fields))
        desk.routes.resolve(ask.model, self._connection.principal.models)
        before = self._memory.recall(said.previous_response_id)
        if before is None and said.previous_response_id is not None:
            raise PreviousResponseUnknown(said.previous_response_id)  # though a provider may
        name = response_id(desk.switchboard.new_id())
        self._memory.keep(name, [*(before or ()), *memory.asked_items(said.fields)])
        now = int(desk.switchboard.clock.now())
        await self._channel.send(messages.warmed_frames(name, ask.model, now, lane.name))

    # --- reading --------------------------------------------------------------------------------

    async def _find(self, said: messages.Resume) -> State:
        """By the response's name, or the stream's own."""
        name, principal = said.response_id, self._connection.principal
        if not STREAM_ID_PATTERN.fullmatch(name):
            return (await find_named(self._desk, principal, name, DIALECT)).state
        state = await self._desk.switchboard.state(StreamId(name))
        must_own(principal, state)
        if state.is_erased:
            raise StreamGone
        if state.birth.dialect != DIALECT:
            what = f"It speaks {state.birth.dialect}; GET /v1/streams/{{id}}/events has its events."
            raise MalformedRequest(what, param="response_id")
        return state

    async def _read(self, lane: Lane, state: State, after: int, span: Span | None) -> Event | None:
        """Send the events; the last one, if it completes the stream."""
        note_subscription(span, state.birth, after)
        cursor = await self._desk.switchboard.follow(state, after, transport="websocket")
        try:
            return await self._send(lane, cursor)
        finally:
            cursor.close()

    async def _send(self, lane: Lane, cursor: Cursor) -> Event | None:
        """To the end of the stream, of the connection, or of the cursor."""
        while self._channel.is_open:
            batch = await cursor.next(_WAIT_S)
            if batch is None:
                if cursor.is_at_end or cursor.is_closed or cursor.is_sent_away:
                    return None
                continue
            if _is_whole_failure(batch) and await self._tell_failure(lane, cursor):
                return None
            if batch.events[0].id == 1:
                lane.response_id = messages.response_id(batch.events[0])
            frames = messages.event_frames(batch.events, lane.tail)
            last, ending = batch.events[-1], batch.ending
            del batch  # a silent stream holds on to nothing
            await self._channel.send(frames)
            if ending is not None:
                return last if ending is Ending.COMPLETED else None
            is_long = len(frames) >= _LONG_BYTES
            del frames, last
            if is_long:
                await asyncio.sleep(0)
        return None

    async def _tell_failure(self, lane: Lane, cursor: Cursor) -> bool:
        """Tell one before any content as an error, as HTTP would; False if it was not that."""
        desk, stream = self._desk, cursor.tail.stream
        await let_finish(desk.switchboard.producer(stream))
        state = await desk.switchboard.state(stream)
        if state.problem is None or state.has_content:
            return False
        headers = problem_headers(state.problem)
        headers += stream_headers(state, desk.switchboard.clock.now())
        await self._channel.send(
            messages.error_frame(state.problem, lane.name, self.dialect, headers, self._request)
        )
        return True


def _is_whole_failure(batch: Batch) -> bool:
    """Whether this is all there is of a stream that has failed."""
    is_failure = batch.ending not in {None, Ending.COMPLETED}
    return is_failure and batch.events[0].id == 1
