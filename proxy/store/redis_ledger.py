"""The ledger in Redis.

All its keys share the hash tag ``{ledger}``, so that one script sees them together:
``claim:H`` (a hash: who holds an idempotency key), ``name:H`` (whose name it is), ``list:H``
(sorted sets of streams by creation: all, an owner's, a tag's, an owner's of a tag), ``until``
(which streams are to go from which lists, and when), ``running`` (when each is due to be looked
at), ``report:ID`` (what a worker says of itself) and ``workers`` (until when each has a report).
What surprises: what users say is in no key's name, only its hash.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, cast

import msgspec

from proxy.policy.quotas import Ask, Limit, Standing, Use, refusal, standing
from proxy.relay.ports import Admission, Admitted, Clock, Listing, Refused, Repeat, Report
from proxy.store.paging import read_place, write_place
from proxy.store.redis_link import pack
from proxy.store.redis_meters import MeterPacker, read_meters
from proxy.store.redis_node import Carrier, Script
from proxy.stream import StreamId

_REPORT_MS: Final = 10_000
"""How long a worker's report is kept. Specified by `Ledger.report`."""

_report_decoder: Final = msgspec.json.Decoder(Report)


_ADMITTED, _REPEAT = 1, 2
"""What ``lua/admit.lua`` and ``hold_more.lua`` say first; 0 is refused."""


class RedisLedger:
    """See the module, and `proxy.relay.ports.Ledger` for every method.

    A stream that was just admitted is first overdue after `lease_s`: before that its producer
    cannot be dead, and its journal may not have been created yet.
    """

    def __init__(
        self,
        *,
        calls: Carrier,
        scripts: Mapping[str, Script],
        namespace: str,
        lease_s: float,
        clock: Clock,
    ) -> None:
        self._calls = calls
        self._scripts = scripts
        self._prefix = f"{namespace}:{{ledger}}:"
        self._lists = f"{self._prefix}list:"
        self._until = f"{self._prefix}until"
        self._running = f"{self._prefix}running"
        self._reports = f"{self._prefix}report:"
        self._workers = f"{self._prefix}workers"
        self._lease_ms = int(lease_s * 1000)
        self._meters = MeterPacker(self._prefix, clock)

    async def ping(self) -> None:
        """Return if the server that has the ledger answers. Raises `StoreUnavailable`."""
        await self._calls.call(pack("PTTL", self._running))

    # --- admission ----------------------------------------------------------------------------

    async def admit(self, admission: Admission) -> Admitted | Repeat | Refused:
        """See `Ledger.admit`. The same stream again is a retry, and no repeat."""
        owner, tag, claim = admission.owner, admission.tag, admission.claim
        limits, ask = admission.limits, admission.ask
        lists = _lists_of(owner, tag) if admission.is_listed else ()
        reply = await self._calls.call(
            self._scripts["admit"].call(
                [
                    self._running,
                    self._until,
                    self._claim(owner, "" if claim is None else claim.key),
                    self._hold(admission.stream),
                    *(self._lists + name for name in lists),
                ],
                admission.stream,
                int(admission.created_at * 1_000_000),
                int(admission.keep_s * 1000),
                self._lease_ms,
                b"" if claim is None else claim.fingerprint,
                _membership(admission.stream, lists),
                self._lists,
                self._meters.pack(limits),
                ask.tokens,
                ask.microdollars,
            )
        )
        outcome, *told = cast("list[int]", reply)
        if outcome == _REPEAT:
            assert claim is not None, "only a claim is repeated"
            stream, fingerprint = cast("tuple[bytes, bytes]", told)
            is_same_request = fingerprint == claim.fingerprint
            return Repeat(StreamId(stream.decode()), is_same_request)
        return _verdict(outcome, told, limits, ask)

    async def hold_more(
        self, stream: StreamId, limits: Sequence[Limit], ask: Ask
    ) -> Admitted | Refused:
        """See `Ledger.hold_more`."""
        if not limits:
            return Admitted([])
        reply = await self._calls.call(
            self._scripts["hold_more"].call(
                [self._running, self._hold(stream)],
                stream,
                self._meters.pack(limits),
                ask.tokens,
                ask.microdollars,
            )
        )
        outcome, *told = cast("list[int]", reply)
        return _verdict(outcome, told, limits, ask)

    def _hold(self, stream: StreamId) -> str:
        return f"{self._prefix}hold:{stream}"

    async def release(self, owner: str, key: str, stream: StreamId) -> None:
        """See `Ledger.release`."""
        await self._calls.call(self._scripts["release"].call([self._claim(owner, key)], stream))

    async def find_claim(self, owner: str, key: str) -> tuple[StreamId, bytes] | None:
        """See `Ledger.find_claim`."""
        held = await self._calls.call(
            pack("HMGET", self._claim(owner, key), "stream", "fingerprint")
        )
        stream, fingerprint = cast("tuple[bytes | None, bytes | None]", held)
        if stream is None or fingerprint is None:
            return None
        return StreamId(stream.decode()), fingerprint

    def _claim(self, owner: str, key: str) -> str:
        return f"{self._prefix}claim:{_hash(owner, key)}"

    # --- names --------------------------------------------------------------------------------

    async def name(self, stream: StreamId, owner: str, name: str, keep_s: float) -> None:
        """See `Ledger.name`."""
        kept_ms = max(1, int(keep_s * 1000))
        await self._calls.call(pack("SET", self._name(owner, name), stream, "PX", kept_ms))

    async def named(self, owner: str, name: str) -> StreamId | None:
        """See `Ledger.named`."""
        stream = cast("bytes | None", await self._calls.call(pack("GET", self._name(owner, name))))
        return None if stream is None else StreamId(stream.decode())

    def _name(self, owner: str, name: str) -> str:
        return f"{self._prefix}name:{_hash(owner, name)}"

    # --- lists --------------------------------------------------------------------------------

    async def list(
        self, owner: str | None, tag: str | None, cursor: str | None, count: int
    ) -> Listing:
        """See `Ledger.list`. Raises `MalformedRequest` for a cursor that is none."""
        before = ("", "") if cursor is None else read_place(cursor)
        reply = await self._calls.call(
            self._scripts["list"].call(
                [self._lists + _list_of(owner, tag), self._until], count, self._lists, *before
            )
        )
        page = cast("Sequence[bytes]", reply)
        streams = [StreamId(stream.decode()) for stream in page[::2]]
        if len(streams) <= count:
            return Listing(streams, None)
        last_us = int(page[2 * count - 1])
        return Listing(streams[:count], write_place(last_us, streams[count - 1]))

    async def forget(self, stream: StreamId, owner: str, tag: str | None) -> None:
        """See `Ledger.forget`."""
        lists = _lists_of(owner, tag)
        await self._calls.run(
            [
                *(pack("ZREM", self._lists + name, stream) for name in lists),
                pack("ZREM", self._until, _membership(stream, lists)),
            ]
        )

    # --- running streams ----------------------------------------------------------------------

    async def settle(
        self, stream: StreamId, use: Use | None, by_pool: Mapping[str, Use] = {}
    ) -> None:
        """See `Ledger.settle`."""
        keys = [self._running, self._hold(stream)]
        uses = {pool: (own.tokens, own.microdollars) for pool, own in by_pool.items()}
        await self._calls.call(
            self._scripts["settle"].call(
                keys,
                stream,
                "" if use is None else use.tokens,
                "" if use is None else use.microdollars,
                msgspec.msgpack.encode(uses),
            )
        )

    async def standings(self, limits: Sequence[Limit]) -> Sequence[Standing]:
        """See `Ledger.standings`."""
        reply = await self._calls.call(
            self._scripts["standings"].call([self._running], self._meters.pack(limits))
        )
        now_ms, *shown = cast("list[int]", reply)
        return [standing(meter, limit, now_ms) for limit, meter in read_meters(limits, shown)]

    async def overdue(self, count: int) -> Sequence[StreamId]:
        """See `Ledger.overdue`."""
        due = await self._calls.call(self._scripts["overdue"].call([self._running], count))
        return [StreamId(stream.decode()) for stream in cast("Sequence[bytes]", due)]

    async def put_off(self, waits_s: Mapping[StreamId, float]) -> None:
        """See `Ledger.put_off`."""
        words = [word for each, wait_s in waits_s.items() for word in (each, int(wait_s * 1000))]
        await self._calls.call(self._scripts["put_off"].call([self._running], *words))

    # --- workers ------------------------------------------------------------------------------

    async def report(self, report: Report) -> None:
        """See `Ledger.report`."""
        worker = report.worker.id
        await self._calls.call(
            self._scripts["report"].call(
                [self._workers, self._reports + worker],
                worker,
                msgspec.json.encode(report),
                _REPORT_MS,
            )
        )

    async def reports(self) -> Sequence[Report]:
        """See `Ledger.reports`."""
        told = await self._calls.call(self._scripts["reports"].call([self._workers], self._reports))
        found = [_report_decoder.decode(text) for text in cast("Sequence[bytes]", told)]
        return sorted(found, key=lambda report: (report.worker.started_at, report.worker.id))

    async def retire(self, worker: str) -> None:
        """See `Ledger.retire`."""
        await self._calls.run(
            [pack("DEL", self._reports + worker), pack("ZREM", self._workers, worker)]
        )


def _verdict(
    outcome: int, told: Sequence[int], limits: Sequence[Limit], ask: Ask
) -> Admitted | Refused:
    """What a script has said of `limits`: the store's clock, and each meter."""
    now_ms, *shown = told
    meters = read_meters(limits, shown)
    standings = [standing(meter, limit, now_ms) for limit, meter in meters]
    if outcome == _ADMITTED:
        return Admitted(standings)
    refused = refusal(meters, ask, now_ms)
    assert refused is not None, "the script and `policy.quotas` agree"
    return Refused(refused, standings)


def _lists_of(owner: str, tag: str | None) -> tuple[str, ...]:
    """The names of the lists that a stream is on."""
    all_and_own = (_list_of(None, None), _list_of(owner, None))
    if tag is None:
        return all_and_own
    return (*all_and_own, _list_of(None, tag), _list_of(owner, tag))


def _list_of(owner: str | None, tag: str | None) -> str:
    """The name of the list of an owner and a tag; of everything for None."""
    return _hash(
        "" if owner is None else f"owner {owner}",
        "" if tag is None else f"tag {tag}",
    )


def _membership(stream: StreamId, lists: Sequence[str]) -> str:
    """The member of ``until`` that says which lists a stream is on."""
    return " ".join((stream, *lists))


def _hash(first: str, second: str) -> str:
    """128 bits that stand for two strings in a key's name, and for no other two."""
    text = f"{len(first)}:{first}{second}".encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()
