"""What passes through whole: what it is charged, when it is called back, and who buries it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from proxy.errors import (
    Draining,
    MidstreamError,
    ProviderGarbled,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
    QuotaExceeded,
    StoreUnavailable,
    StreamLimitReached,
)
from proxy.observe import Peer
from proxy.policy.breaker import Rule
from proxy.policy.quotas import Ask, Kind, Limit
from proxy.relay.courier import Courier, Load
from proxy.relay.ports import (
    Admission,
    Admitted,
    Deadlines,
    Patience,
    ProviderModel,
    UpstreamRequest,
)
from proxy.relay.switchboard import Switchboard
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Birth, Price
from proxy.wire.passages import COUNT_TOKENS, EMBEDDINGS, Passage
from tests.relay.switchboards import LEASE_S, Away, make_switchboard
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

BODY = b"x" * 400
ASK = Ask(500, 500)
GUESS = len(BODY) // 4
RATE = Limit("key:a", Kind.REQUESTS_PER_MINUTE, 3, allows_without_store=True)
LIMITS = (
    Limit("key:a", Kind.REQUESTS_PER_MINUTE, 3),
    Limit("key:a", Kind.TOKENS_PER_DAY, 1000),
    Limit("key:a", Kind.USD_PER_DAY, 1000),
)
PRICE = Price(input=1_000_000, cached_input=0, output=9_000_000, reasoning=9_000_000)
COUNTED = b'{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}'


class Far:
    """A provider that says this, a piece each second, and then fails, ends, or stays on the line.

    The first piece is what it begins with at once.
    """

    name = "far"
    dialects = ("openai.chat",)
    passages = ("embeddings", "count_tokens")
    deadlines = Deadlines(first_event_s=60, idle_s=30, total_s=100)
    patience = Patience(retries=0)
    rest = Rule()
    may_leave_out_terminator = False
    peer = Peer("far")

    def __init__(
        self, *said: bytes, error: MidstreamError | None = None, stays: bool = False
    ) -> None:
        self.said = said
        self.error = error
        self.stays = stays
        self.is_open = False

    def dialects_for(self, model: str) -> Sequence[str]:
        del model
        return self.dialects

    @asynccontextmanager
    async def fetch(
        self, passage: str, request: UpstreamRequest
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        del passage, request
        self.is_open = True
        try:
            yield self._chunks()
        finally:
            self.is_open = False

    async def _chunks(self) -> AsyncIterator[bytes]:
        for piece in self.said:
            yield piece
            await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        if self.stays:
            await asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterator[bytes]]:
        raise AssertionError(f"nothing is streamed here: {request.model}")
        yield

    async def models(self) -> Sequence[ProviderModel]:
        return ()

    async def close(self) -> None:
        pass


class Room:
    """One worker, and the store that it shares."""

    def __init__(self, ledger: type[MemoryLedger] = MemoryLedger) -> None:
        self.store = MemoryStore(VirtualClock())
        self.ledger = ledger(self.store, LEASE_S)
        self.switchboard = self.worker()

    def worker(self) -> Switchboard:
        return make_switchboard(MemoryJournal(self.store, LEASE_S), self.ledger)

    async def send(
        self,
        far: Far,
        passage: Passage = EMBEDDINGS,
        limits: Sequence[Limit] = LIMITS,
        switchboard: Switchboard | None = None,
    ) -> Courier:
        switchboard = switchboard or self.switchboard
        birth = Birth(
            id=switchboard.new_passage_id(),
            owner="o",
            dialect=passage.dialect,
            model="m",
            provider="far",
            created_at=0.0,
            retention_s=0,
            price=PRICE,
        )
        request = UpstreamRequest(passage.dialect, "m", BODY)
        load = Load(far, passage, request, limits, ASK)
        return await switchboard.couriers.send(birth, load)

    async def used(self) -> tuple[int, int]:
        """Tokens and micro-dollars of the day."""
        _, tokens, money = await self.ledger.standings(LIMITS)
        return 1000 - tokens.remaining, 1000 - money.remaining


# --- what it is charged ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("far", "passage", "outcome", "tokens"),
    [
        (Far(COUNTED[:9], COUNTED[9:]), EMBEDDINGS, bytes, 7),
        (Far(b'{"data":[]}'), EMBEDDINGS, bytes, GUESS),
        (Far(b'{"usage":{"prompt_tokens":"many"}}'), EMBEDDINGS, bytes, GUESS),
        (Far(b'{"usage":{"prompt_tokens":-1}}'), EMBEDDINGS, bytes, GUESS),
        (Far(b'{"usage":{"prompt_tokens":1000000000000000000}}'), EMBEDDINGS, bytes, GUESS),
        (Far(b'{"input_tokens":14}'), COUNT_TOKENS, bytes, 0),
        (Far(error=ProviderRefused("far", 429)), EMBEDDINGS, ProviderRefused, 0),
        (
            Far(error=ProviderUnreachable("far", "no", was_asked=False)),
            EMBEDDINGS,
            ProviderUnreachable,
            0,
        ),
        (Far(error=ProviderStalled("connect", 1)), EMBEDDINGS, ProviderStalled, 0),
        (Far(b'{"error":{"message":"No."}}'), EMBEDDINGS, ProviderReported, 0),
        (Far(b"{", error=ProviderTruncated()), EMBEDDINGS, ProviderTruncated, GUESS),
        (Far(b"{", error=ProviderTruncated()), COUNT_TOKENS, ProviderTruncated, 0),
        (Far(b'{"data":[}'), EMBEDDINGS, ProviderGarbled, GUESS),
        (Far(b'{"x":"\xff"}'), EMBEDDINGS, ProviderGarbled, GUESS),
        (Far(b"[1]"), EMBEDDINGS, ProviderGarbled, GUESS),
        (Far(b'{"x":"' + b"y" * 1000 + b'"}'), EMBEDDINGS, ProviderGarbled, GUESS),
        (Far(stays=True), EMBEDDINGS, ProviderStalled, GUESS),
        (Far(b"{", stays=True), EMBEDDINGS, ProviderStalled, GUESS),
        (Far(*[b" "] * 200), EMBEDDINGS, ProviderStalled, GUESS),
    ],
)
def test_it_is_charged_what_its_provider_says_or_may_have_done(
    far: Far, passage: Passage, outcome: type, tokens: int
) -> None:
    async def story() -> None:
        room = Room()
        async with room.switchboard.running():
            courier = await room.send(far, passage)
            assert await room.used() == (500, 500), "it is held"
            await courier.done.wait()
            assert isinstance(courier.outcome, outcome), courier.outcome
            await asyncio.sleep(0.1)
            assert await room.used() == (tokens, tokens)
            assert not far.is_open
            assert len(room.switchboard.couriers) == 0
            assert not room.store.meters.holds

    run(story())


@pytest.mark.parametrize(
    ("far", "deadline"),
    [
        (Far(stays=True), "first_event"),
        (Far(b"{", stays=True), "idle"),
        (Far(*[b" "] * 200), "total"),
    ],
)
def test_a_provider_that_is_too_slow_is_told_by_the_deadline_it_missed(
    far: Far, deadline: str
) -> None:
    async def story() -> None:
        room = Room()
        async with room.switchboard.running():
            courier = await room.send(far)
            await courier.done.wait()
            assert isinstance(courier.outcome, ProviderStalled)
            assert courier.outcome.deadline == deadline

    run(story())


def test_one_that_nobody_waits_for_any_more_is_called_back_and_charged_as_a_guess() -> None:
    async def story() -> None:
        room = Room()
        far = Far(b"{", stays=True)
        async with room.switchboard.running():
            courier = await room.send(far)
            await asyncio.sleep(1)
            assert far.is_open
            courier.stop()
            await courier.done.wait()
            assert not far.is_open
            assert courier.outcome is None
            await asyncio.sleep(0.1)
            assert await room.used() == (GUESS, GUESS)

    run(story())


# --- admission ------------------------------------------------------------------------------------


def test_a_limit_refuses_it_before_the_provider_is_asked() -> None:
    async def story() -> None:
        room = Room()
        far = Far(stays=True)
        async with room.switchboard.running():
            for _ in range(2):
                await room.send(far)
            with pytest.raises(QuotaExceeded):
                await room.send(far)
            assert len(room.switchboard.couriers) == 2

    run(story())


def test_a_worker_sends_only_so_many() -> None:
    async def story() -> None:
        room = Room()
        async with room.switchboard.running():
            for _ in range(10):
                await room.send(Far(stays=True), limits=())
            with pytest.raises(StreamLimitReached):
                await room.send(Far(stays=True), limits=())

    run(story())


def test_while_the_store_is_away_rates_that_allow_it_let_it_through_and_budgets_do_not() -> None:
    async def story() -> None:
        room = Room(Away)
        async with room.switchboard.running():
            for limits in ((), (RATE,)):
                courier = await room.send(Far(COUNTED), limits=limits)
                await courier.done.wait()
                assert courier.outcome == COUNTED
            for strict in ((RATE, LIMITS[1]), LIMITS[:1]):
                with pytest.raises(StoreUnavailable):
                    await room.send(Far(COUNTED), limits=strict)

    run(story())


# --- life and death -------------------------------------------------------------------------------


def test_it_keeps_its_lease_for_as_long_as_it_takes_and_nobody_settles_it_meanwhile() -> None:
    async def story() -> None:
        room = Room()
        other = room.worker()
        async with room.switchboard.running(), other.running():
            courier = await room.send(Far(*[b" "] * 40, COUNTED))
            await asyncio.sleep(LEASE_S * 6)
            assert await room.used() == (500, 500)
            await courier.done.wait()
            await asyncio.sleep(0.1)
            assert await room.used() == (7, 7)

    run(story())


def test_what_a_dead_worker_leaves_has_used_what_it_held() -> None:
    async def story() -> None:
        room = Room()
        other = room.worker()
        async with other.running():
            birth_id = room.switchboard.new_passage_id()
            dead = Admission(birth_id, "o", 0.0, 100.0, limits=LIMITS, ask=ASK, is_listed=False)
            assert isinstance(await room.ledger.admit(dead), Admitted)
            await asyncio.sleep(LEASE_S * 3)
            assert await room.ledger.overdue(10) == []
            assert not room.store.meters.holds
            assert await room.used() == (500, 500)

    run(story())


def test_a_drain_waits_for_it_and_then_calls_it_back() -> None:
    async def story() -> None:
        room = Room()
        async with room.switchboard.running():
            soon = await room.send(Far(COUNTED, b" "), limits=())
            never = await room.send(Far(stays=True), limits=())
            await room.switchboard.drain(10)
            assert soon.outcome == COUNTED + b" "
            await never.done.wait()
            assert isinstance(never.outcome, Draining)
            with pytest.raises(Draining):
                await room.send(Far(COUNTED), limits=())

    run(story())
