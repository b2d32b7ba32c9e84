"""The journal in Redis.

A stream is keys that share a hash tag, so that one script sees them at one moment:
``meta`` (a hash: what is known of it), ``events`` (a Redis stream whose entry ``N-0`` is event N)
and ``readers`` (a sorted set: until when each attends); and a ``recipe`` while it runs, if one is
kept. Time is Redis's own, in the scripts.
Each key expires: events when the retention is over, meta one day later (D4), those of a
running stream a day after their retention if nobody writes any more. What surprises: nothing
rings before somebody in another process has read or watched, which the meta remembers.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, cast

import msgspec

from proxy.relay.ports import Alive, Append, Page, Receipt, Ring
from proxy.store.redis_append import AppendPacker, read_receipt
from proxy.store.redis_bells import Bells, Listener
from proxy.store.redis_link import Reply, pack
from proxy.store.redis_node import Carrier, Script
from proxy.stream import Birth, Ending, Event, Leg, Problem, State, StreamId, Usage

_PAGE_EVENTS_MAX: Final = 500
_PAGE_BYTES_MAX: Final = 32 * 1024
"""Of one page. Chosen: what a reader sends at once, so that a slow one never holds more; and Redis
makes one within a fraction of a millisecond, so others do not wait."""

_birth_decoder = msgspec.json.Decoder(Birth)
_problem_decoder = msgspec.json.Decoder(Problem)
_usage_decoder = msgspec.json.Decoder(Usage)
_legs_decoder = msgspec.json.Decoder(tuple[Leg, ...])
_ring_decoder = msgspec.msgpack.Decoder(list[int | str])


class RedisWatch:
    """One subscription to one journal's bell."""

    def __init__(self, bells: Bells, channel: bytes, listener: Listener) -> None:
        self._bells = bells
        self._channel = channel
        self._listener = listener

    async def close(self) -> None:
        """Stop ringing."""
        self._bells.stop_listening(self._channel, self._listener)


class RedisJournal:
    """See the module, and `proxy.relay.ports.Journal` for every method.

    Appends have connections of their own, so that no reader can hold up a producer.
    """

    def __init__(
        self,
        *,
        appends: Carrier,
        calls: Carrier,
        bells: Bells,
        scripts: Mapping[str, Script],
        namespace: str,
        worker: str,
        lease_s: float,
    ) -> None:
        self._appends = appends
        self._calls = calls
        self._bells = bells
        self._scripts = scripts
        self._namespace = namespace
        self._lease_ms = int(lease_s * 1000)
        self._control = f"{namespace}:worker:{worker}"
        self._hints: list[Callable[[StreamId], None]] = []
        self._pack = AppendPacker(namespace, scripts, self._lease_ms, self._control)

    async def start(self) -> None:
        """Listen for hints. Raises `StoreUnavailable`."""
        await self._bells.listen(self._control.encode(), self._hinted)

    # --- the producer's side ------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> Sequence[Receipt]:
        """See `Journal.append`."""
        replies = await self._appends.run([self._pack(append) for append in appends])
        return [read_receipt(reply) for reply in replies]

    def part(self, stream: StreamId) -> Hashable:
        """See `Journal.part`."""
        return self._appends.part(stream)

    async def take_over(self, streams: Sequence[StreamId]) -> Sequence[State | Alive | None]:
        """See `Journal.take_over`.

        It names all keys of a stream, as an append does: while a cluster is moving them, and
        appends are put off, nobody can say whether a lease has run out. And it says when it was
        asked for: a server that stands still obeys when it goes on, whether or not anybody still
        waits for that.
        """
        times = await self._calls.call_each(pack("TIME"))
        script = self._scripts["take_over"]
        replies = await self._calls.run(
            [
                script.call(
                    self._keys(s), self._lease_ms, self._control, _time_ms(times.get(self.part(s)))
                )
                for s in streams
            ]
        )
        return [
            Alive(reply / 1000) if isinstance(reply, int) else _state(reply) for reply in replies
        ]

    async def recipe(self, stream: StreamId) -> bytes | None:
        """See `Journal.recipe`."""
        return cast(
            "bytes | None", await self._calls.call(pack("GET", self._key(stream, "recipe")))
        )

    async def pulse(self) -> None:
        """See `Journal.pulse`."""
        await self._calls.call_each(pack("PING"))

    def on_hint(self, call: Callable[[StreamId], None]) -> None:
        """See `Journal.on_hint`."""
        self._hints.append(call)

    def _hinted(self, message: bytes | None) -> None:
        if message is not None:
            for call in self._hints:
                call(StreamId(message.decode()))

    # --- the readers' side --------------------------------------------------------------------

    async def read(self, stream: StreamId, after: int) -> Page | None:
        """See `Journal.read`. A page has at most 500 events and 64 KiB of data."""
        keys = [self._meta(stream), self._key(stream, "events")]
        reply = await self._call("read", keys, after, _PAGE_EVENTS_MAX, _PAGE_BYTES_MAX)
        if reply is None:
            return None
        told, page = cast("tuple[Reply, list[bytes]]", reply)
        state = _state(told)
        assert state is not None, "a page has a state"
        events = [
            Event(place, name.decode(), data)
            for place, (data, name) in enumerate(zip(page[::2], page[1::2], strict=True), after + 1)
        ]
        return Page(state, events)

    async def states(self, streams: Sequence[StreamId]) -> Sequence[State | None]:
        """See `Journal.states`."""
        script = self._scripts["states"]
        replies = await self._calls.run([script.call([self._meta(s)]) for s in streams])
        return [_state(reply) for reply in replies]

    async def watch(self, stream: StreamId, on_ring: Callable[[Ring | None], None]) -> RedisWatch:
        """See `Journal.watch`. Two round trips: the subscription has to come first."""

        def listener(message: bytes | None) -> None:
            on_ring(_ring(message))

        channel = self._key(stream, "bell").encode()
        await self._bells.listen(channel, listener)
        try:
            await self._call("watch", [self._meta(stream)])
        except BaseException:
            self._bells.stop_listening(channel, listener)
            raise
        return RedisWatch(self._bells, channel, listener)

    async def attend(self, stream: StreamId, reader: str, lease_s: float) -> None:
        """See `Journal.attend`."""
        keys = [self._meta(stream), self._key(stream, "readers")]
        await self._call("attend", keys, reader, int(lease_s * 1000))

    async def leave(self, stream: StreamId, reader: str) -> None:
        """See `Journal.leave`."""
        keys = [self._meta(stream), self._key(stream, "readers")]
        await self._call("leave", keys, reader, stream)

    async def ask_cancel(self, stream: StreamId) -> None:
        """See `Journal.ask_cancel`."""
        await self._call("ask_cancel", [self._meta(stream)], stream)

    async def erase(self, stream: StreamId) -> None:
        """See `Journal.erase`. Watchers are told to look, and the producer too."""
        await self._call("erase", self._keys(stream), stream)

    async def forget(self, stream: StreamId) -> None:
        """Remove the tombstone of an erased stream too. Only for one that nobody was told of."""
        await self._calls.call(pack("DEL", self._meta(stream)))

    def _key(self, stream: StreamId, what: str) -> str:
        return f"{self._namespace}:{{{stream}}}:{what}"

    def _keys(self, stream: StreamId) -> Sequence[str]:
        return [self._key(stream, what) for what in ("meta", "events", "readers")]

    def _meta(self, stream: StreamId) -> str:
        return self._key(stream, "meta")

    async def _call(self, name: str, keys: Sequence[str], *arguments: str | int) -> Reply:
        return await self._calls.call(self._scripts[name].call(keys, *arguments))


def _time_ms(reply: Reply) -> int:
    """What a server answers to TIME, as scripts count; long ago for one that was not asked."""
    if reply is None:
        return 0
    seconds, microseconds = cast("list[bytes]", reply)
    return int(seconds) * 1000 + int(microseconds) // 1000


def _state(reply: Reply) -> State | None:
    """As ``lua/state.lua`` tells it."""
    if reply is None:
        return None
    assert isinstance(reply, list), "a state is a list"
    birth, epoch, last_id, ending, problem, usage, *rest = cast("list[bytes | None]", reply)
    content, ended_ms, expires_ms, cancel, erased, watched, legs = rest
    assert birth is not None and epoch is not None and last_id is not None, "always there"  # noqa: PT018
    return State(
        birth=_birth_decoder.decode(birth),
        epoch=int(epoch),
        last_id=int(last_id),
        ending=None if ending is None else Ending(ending.decode()),
        problem=None if problem is None else _problem_decoder.decode(problem),
        usage=None if usage is None else _usage_decoder.decode(usage),
        has_content=content is not None,
        ended_at=None if ended_ms is None else int(ended_ms) / 1000,
        expires_at=None if expires_ms is None else int(expires_ms) / 1000,
        is_cancel_asked=cancel is not None,
        is_erased=erased is not None,
        was_watched=watched is not None,
        legs=() if legs is None else _legs_decoder.decode(legs),
    )


def _ring(message: bytes | None) -> Ring | None:
    """What the bell says. Anything that cannot be read is a reason to look at the journal."""
    if not message:
        return None
    try:
        first_id, ending, *rest = _ring_decoder.decode(message)
    except (msgspec.DecodeError, ValueError):
        return None
    texts = cast("list[str]", rest)
    events = [
        Event(place, name, data.encode())
        for place, (data, name) in enumerate(
            zip(texts[::2], texts[1::2], strict=True), cast("int", first_id)
        )
    ]
    return Ring(events, Ending(cast("str", ending)) if ending else None)
