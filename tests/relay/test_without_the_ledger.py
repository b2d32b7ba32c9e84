"""The part of the store with the ledger is away, the part with a stream's journal is not."""

import asyncio

import pytest

from proxy import config
from proxy.errors import QuotaExceeded, StoreUnavailable
from proxy.policy.quotas import Ask, Kind, Limit
from proxy.relay.ports import Claim, Repeat, UpstreamRequest
from proxy.relay.producer import Producer
from proxy.store.memory import MemoryJournal, MemoryStore
from proxy.store.memory_meters import Meters
from proxy.stream import Birth, Ending, StreamId
from proxy.upstream.scripted import ScriptedProvider
from proxy.wire.dialects import all_dialects
from tests.relay.switchboards import LEASE_S, Away, make_switchboard
from tests.relay.working import work_for
from tests.server import RECORDINGS
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

RATE = Limit("key:a", Kind.REQUESTS_PER_MINUTE, 1, allows_without_store=True)
STRICT = Limit("key:a", Kind.TOKENS_PER_MINUTE, 100)
BUDGET = Limit("key:a", Kind.TOKENS_PER_DAY, 100)


class Room:
    """One worker."""

    def __init__(self) -> None:
        self.store = MemoryStore(VirtualClock())
        self.ledger = Away(self.store, LEASE_S)
        self.switchboard = make_switchboard(
            MemoryJournal(self.store, LEASE_S), self.ledger, bytes_max=1_000_000
        )
        told = config.ScriptedProvider(recordings=str(RECORDINGS), events_per_s=2)
        self._provider = ScriptedProvider("p", told)

    async def create(self, *limits: Limit, claim: Claim | None = None) -> Producer | Repeat:
        dialect = all_dialects()["openai.chat"]
        ask = dialect.read_ask(b'{"model":"text","messages":[]}')
        request = UpstreamRequest(dialect.name, "text", dialect.upstream_body(ask, "text"))
        birth = Birth(
            id=self.switchboard.new_id(),
            owner="o",
            dialect=dialect.name,
            model="text",
            provider="p",
            created_at=self.switchboard.clock.now(),
            retention_s=3600.0,
        )
        work = work_for(self._provider, request, dialect, ask, limits, Ask(10))
        return await self.switchboard.start(birth, work, claim)

    async def listed(self) -> list[StreamId]:
        return list((await self.switchboard.list("o", None, None, 10)).streams)


def test_what_only_rates_hold_up_is_let_through_and_entered_once_the_ledger_is_back() -> None:
    async def story() -> None:
        room = Room()
        async with room.switchboard.running():
            made = await room.create(RATE)
            assert isinstance(made, Producer)
            stream = made.writer.birth.id
            assert await room.listed() == []
            room.ledger.is_away = False
            await asyncio.sleep(1.5)
            assert await room.listed() == [stream]
            await made.finished.wait()
            assert (await room.switchboard.state(stream)).ending is Ending.COMPLETED
            assert isinstance(await room.create(RATE), Producer), "what went through is not counted"
            with pytest.raises(QuotaExceeded):
                await room.create(RATE)

    run(story())


@pytest.mark.parametrize("in_the_way", [0, 95])
def test_a_store_that_has_lost_everything_is_told_again_of_what_runs_and_what_it_holds(
    in_the_way: int,
) -> None:
    async def story() -> None:
        room = Room()
        room.ledger.is_away = False
        async with room.switchboard.running():
            made = await room.create(BUDGET, claim=Claim("mine", b"f"))
            assert isinstance(made, Producer)
            stream = made.writer.birth.id
            await asyncio.sleep(1)
            for lost in (room.store.records, room.store.running, room.store.claims):
                lost.clear()
            room.store.meters = Meters()
            now_s = room.store.clock.now()
            room.store.meters.hold(StreamId("other"), [BUDGET], Ask(in_the_way), now_s)
            await asyncio.sleep(3.5)
            assert list(room.store.running) == [stream]
            assert (stream in room.store.meters.holds) is not bool(in_the_way)
            await made.finished.wait()
        assert made.writer.tail.ending is Ending.COMPLETED
        assert room.store.running == {}
        (left,) = await room.ledger.standings([BUDGET])
        used = made.writer.usage
        assert used is not None
        charged = 0 if in_the_way else used.input_tokens + used.output_tokens
        assert left.remaining == 100 - in_the_way - charged

    run(story())


@pytest.mark.parametrize(
    ("limits", "claim"),
    [
        ((), None),
        ((RATE, STRICT), None),
        ((RATE, BUDGET), None),
        ((RATE,), Claim("mine", b"f")),
    ],
)
def test_a_create_waits_for_the_ledger_that_has_no_limits_strict_ones_or_a_claim(
    limits: tuple[Limit, ...], claim: Claim | None
) -> None:
    async def story() -> None:
        room = Room()
        async with room.switchboard.running():
            with pytest.raises(StoreUnavailable):
                await room.create(*limits, claim=claim)

    run(story())
