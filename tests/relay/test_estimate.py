"""What is charged where a provider did not say (all of) it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from proxy.errors import (
    MidstreamError,
    ProviderRefused,
    ProviderStalled,
    ProviderUnreachable,
    StoreUnavailable,
)
from proxy.policy.quotas import Ask, Kind, Limit, Use
from proxy.relay.estimate import estimated, said_bytes, use_of
from proxy.relay.ports import (
    Admission,
    Admitted,
    Append,
    Deadlines,
    ProviderModel,
    Refused,
    Repeat,
    UpstreamRequest,
)
from proxy.relay.producer import Work
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Birth, Ending, Event, Price, State, StreamId, Usage
from proxy.wire.dialects import all_dialects
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

BODY = b"x" * 400
PRICE = Price(input=1_000_000, cached_input=0, output=2_000_000, reasoning=2_000_000)
LIMITS = (
    Limit("key:a", Kind.CONCURRENT_STREAMS, 1),
    Limit("key:a", Kind.TOKENS_PER_DAY, 10_000),
    Limit("key:a", Kind.USD_PER_DAY, 10_000),
)
CHUNK = b'{"choices":[{"index":0,"delta":{"content":"%s"}}]}'
START = b'{"type":"message_start","message":{"usage":{"input_tokens":30,"output_tokens":1}}}'
SAID = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}'
COUNTED = b'{"type":"message_delta","delta":{},"usage":{"output_tokens":7}}'


class Told:
    """A provider that says this, then stalls, or fails."""

    name = "told"
    dialects = ("openai.chat", "anthropic.messages")
    deadlines = Deadlines()

    def __init__(self, said: Sequence[bytes], error: MidstreamError | None = None) -> None:
        self.said = said
        self.error = error
        self.asked: list[UpstreamRequest] = []

    def dialects_for(self, model: str) -> Sequence[str]:
        del model
        return self.dialects

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append(request)
        yield self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        for data in self.said:
            yield b"data: " + data + b"\n\n"
        if self.error is not None:
            raise self.error
        await asyncio.get_running_loop().create_future()

    async def models(self) -> Sequence[ProviderModel]:
        return ()

    async def close(self) -> None:
        pass


def make_birth(dialect: str, *, input_tokens_max: int = 500) -> Birth:
    return Birth(
        id=StreamId("st_one"),
        owner="o",
        dialect=dialect,
        model="m",
        provider="told",
        created_at=0.0,
        retention_s=3600.0,
        price=PRICE,
        input_tokens_max=input_tokens_max,
    )


def admission_of(birth: Birth) -> Admission:
    return Admission(
        stream=birth.id,
        owner="o",
        created_at=0.0,
        keep_s=3600.0,
        limits=LIMITS,
        ask=Ask(5000, 5000),
    )


def charged(
    provider: Told, dialect: str, *, input_tokens_max: int = 500
) -> tuple[Usage | None, int, int]:
    """The usage, and what the meters show, of a stream that is cancelled once all was said."""

    async def story() -> tuple[Usage | None, int, int]:
        store = MemoryStore(VirtualClock())
        switchboard = make_switchboard(MemoryJournal(store, LEASE_S), MemoryLedger(store, LEASE_S))
        meaning = all_dialects()[dialect]
        ask = meaning.read_ask(b'{"model":"m","messages":[],"stream":true,"max_tokens":9}')
        request = UpstreamRequest(dialect, "m", BODY)
        work = Work(provider, request, meaning, meaning.translator(ask), LIMITS, Ask(5000, 5000))
        async with switchboard.running():
            birth = make_birth(dialect, input_tokens_max=input_tokens_max)
            await switchboard.start(birth, work, None)
            await asyncio.sleep(1)
            await switchboard.cancel(birth.id)
            await asyncio.sleep(1)
            state = await switchboard.state(birth.id)
        running, tokens, money = await MemoryLedger(store, LEASE_S).standings(LIMITS)
        assert running.remaining == 1
        assert not store.meters.holds
        return state.usage, 10_000 - tokens.remaining, 10_000 - money.remaining

    return run(story())


def test_what_was_said_before_a_cancel_is_four_bytes_a_token() -> None:
    usage, tokens, money = charged(Told([CHUNK % (b"w" * 41)] * 2), "openai.chat")

    assert usage == Usage(input_tokens=100, output_tokens=21, is_estimate=True)
    assert (tokens, money) == (121, 100 + 42)


def test_a_request_is_no_more_tokens_than_it_can_be() -> None:
    usage, *_ = charged(Told([CHUNK % b"w"]), "openai.chat", input_tokens_max=60)

    assert usage == Usage(input_tokens=60, output_tokens=1, is_estimate=True)


def test_input_that_the_provider_has_counted_stays_and_its_output_is_guessed() -> None:
    usage, tokens, money = charged(Told([START, SAID % (b"w" * 40)]), "anthropic.messages")

    assert usage == Usage(input_tokens=30, output_tokens=10, is_estimate=True)
    assert (tokens, money) == (40, 30 + 20)


def test_a_count_that_came_before_the_cut_is_no_guess() -> None:
    usage, tokens, _ = charged(Told([START, SAID % (b"w" * 40), COUNTED]), "anthropic.messages")

    assert usage == Usage(input_tokens=30, output_tokens=7)
    assert tokens == 37


@pytest.mark.parametrize(
    "error",
    [
        ProviderRefused("told", 529),
        ProviderUnreachable("told", "no"),
        ProviderStalled("connect", 9),
    ],
)
def test_a_provider_that_did_nothing_costs_nothing(error: MidstreamError) -> None:
    assert charged(Told([], error), "openai.chat") == (None, 0, 0)


def test_a_provider_that_broke_off_in_the_middle_costs_what_it_said() -> None:
    usage, tokens, _ = charged(
        Told([CHUNK % (b"w" * 40)], ProviderUnreachable("told", "reset")), "openai.chat"
    )

    assert usage == Usage(input_tokens=100, output_tokens=10, is_estimate=True)
    assert tokens == 110


def test_a_silent_provider_costs_what_it_was_asked() -> None:
    assert charged(Told([]), "openai.chat")[1:] == (100, 100)


class SlowLedger(MemoryLedger):
    """Takes a create, and longer than a lease to say so."""

    async def admit(self, admission: Admission) -> Admitted | Repeat | Refused:
        admitted = await super().admit(admission)
        await asyncio.sleep(2 * LEASE_S)
        return admitted


def test_a_create_that_took_longer_than_a_lease_reaches_no_provider() -> None:
    """A sweep has settled it meanwhile, so it would run without a hold."""

    async def story() -> None:
        store = MemoryStore(VirtualClock())
        ledger = SlowLedger(store, LEASE_S)
        switchboard = make_switchboard(MemoryJournal(store, LEASE_S), ledger)
        dialect = all_dialects()["openai.chat"]
        ask = dialect.read_ask(b'{"model":"m","messages":[],"stream":true}')
        request = UpstreamRequest("openai.chat", "m", BODY)
        provider = Told([CHUNK % b"w"])
        work = Work(provider, request, dialect, dialect.translator(ask), LIMITS, Ask(5000, 5000))
        async with switchboard.running():
            await asyncio.sleep(2 * LEASE_S)  # from here on it may judge
            with pytest.raises(StoreUnavailable):
                await switchboard.start(make_birth("openai.chat"), work, None)
            assert not store.meters.holds
            await asyncio.sleep(3 * LEASE_S)
        running, tokens, _ = await ledger.standings(LIMITS)
        assert (running.remaining, tokens.remaining) == (1, 10_000)
        assert provider.asked == []

    run(story())


def test_a_dead_worker_s_stream_is_guessed_from_its_journal_and_charged_by_its_birth() -> None:
    async def story() -> tuple[Usage | None, int, int]:
        store = MemoryStore(VirtualClock())
        journal, ledger = MemoryJournal(store, LEASE_S), MemoryLedger(store, LEASE_S)
        birth = make_birth("openai.chat")
        await ledger.admit(admission_of(birth))
        events = [Event(n, "", CHUNK % (b"w" * 10)) for n in (1, 2, 3)]
        await journal.append([Append(birth.id, 1, 1, events, birth, has_content=True)])
        async with make_switchboard(journal, ledger).running():
            await asyncio.sleep(3 * LEASE_S)
        _, tokens, money = await ledger.standings(LIMITS)
        assert not store.meters.holds
        return store.records[birth.id].usage, 10_000 - tokens.remaining, 10_000 - money.remaining

    usage, tokens, money = run(story())
    assert usage == Usage(input_tokens=125, output_tokens=8, is_estimate=True)
    assert (tokens, money) == (133, 125 + 16)


@pytest.mark.parametrize("usage", [None, Usage(10, 1, is_estimate=True)])
def test_what_was_erased_with_its_worker_dead_has_used_what_it_held(usage: Usage | None) -> None:
    state = State(make_birth("openai.chat"), 1, 3, usage=usage, is_erased=True)

    assert use_of(state) is None
    assert use_of(msgspec.structs.replace(state, usage=Usage(10, 5))) == Use(15, 20)
    assert use_of(msgspec.structs.replace(state, usage=None, ending=Ending.FAILED)) == Use()


def test_calls_of_tools_and_other_letters_count_by_their_bytes() -> None:
    dialect = all_dialects()["openai.chat"]
    call = (
        b'{"choices":[{"index":0,"delta":{"tool_calls":'
        b'[{"index":0,"function":{"name":"find","arguments":"{}"}}]}}]}'
    )
    said = [Event(1, "", CHUNK % "é🦊".encode()), Event(2, "", call), Event(3, "", b"[DONE]")]

    assert said_bytes(said, dialect) == 6 + 6
    assert estimated(None, 0, 12) == Usage(output_tokens=3, is_estimate=True)
