"""The name of an answer stands in the ledger before anybody can see it."""

import asyncio
from collections.abc import Sequence

import pytest

from proxy import config
from proxy.errors import StoreUnavailable
from proxy.relay.ports import Append, Receipt, UpstreamRequest
from proxy.relay.producer import Producer
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Birth, Ending, StreamId
from proxy.upstream.scripted import ScriptedProvider
from proxy.wire.dialects import all_dialects
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.relay.working import work_for
from tests.server import RECORDINGS
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

NAME = "resp_0text00000000000000000000000000000000000000000000001"


class Ledger(MemoryLedger):
    """Names nothing while it is away."""

    is_away = False

    async def name(self, stream: StreamId, owner: str, name: str, keep_s: float) -> None:
        await asyncio.sleep(0.2)
        if self.is_away:
            raise StoreUnavailable("away")
        await super().name(stream, owner, name, keep_s)


class Journal(MemoryJournal):
    """Looks, at each event, whether its stream's name is known by then."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, LEASE_S)
        self.ledger = Ledger(store, LEASE_S)
        self.known: list[bool] = []

    async def append(self, appends: Sequence[Append]) -> Sequence[Receipt]:
        for append in appends:
            if append.events:
                self.known.append(await self.ledger.named("o", NAME) == append.stream)
        return await super().append(appends)


@pytest.mark.parametrize("away_s", [0, 5, 25, 100])
def test_no_event_is_written_before_the_name_is_known_unless_that_takes_too_long(
    away_s: float,
) -> None:
    async def story() -> list[bool]:
        journal = Journal(MemoryStore(VirtualClock()))
        switchboard = make_switchboard(journal, journal.ledger)
        told = config.ScriptedProvider(recordings=str(RECORDINGS), events_per_s=100)
        dialect = all_dialects()["openai.responses"]
        ask = dialect.read_ask(b'{"model":"text"}')
        request = UpstreamRequest(dialect.name, "text", dialect.upstream_body(ask, "text"))
        birth = Birth(
            id=switchboard.new_id(),
            owner="o",
            dialect=dialect.name,
            model="text",
            provider="p",
            created_at=switchboard.clock.now(),
            retention_s=3600.0,
        )
        work = work_for(ScriptedProvider("p", told), request, dialect, ask)
        async with switchboard.running():
            journal.ledger.is_away = away_s > 0
            made = await switchboard.start(birth, work, None)
            assert isinstance(made, Producer)
            await asyncio.sleep(away_s)
            journal.ledger.is_away = False
            await made.finished.wait()
            assert made.writer.ending is Ending.FAILED, "its events are too long for this room"
        return journal.known

    known = run(story())
    assert known
    assert set(known) == {away_s < 30}
