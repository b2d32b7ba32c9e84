"""What is charged where a provider did not say (all of) it."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from proxy.errors import (
    MidstreamError,
    ProviderRefused,
    ProviderStalled,
    ProviderUnreachable,
    StoreUnavailable,
)
from proxy.observe import Share
from proxy.policy.quotas import Ask, Use
from proxy.relay.estimate import (
    Said,
    Uses,
    accounted,
    cost_of,
    estimated,
    said_in,
    shares_of,
    uses_of,
)
from proxy.relay.ports import (
    Admission,
    Admitted,
    Append,
    Receipt,
    Refused,
    Repeat,
    UpstreamRequest,
)
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Ending, Event, Leg, Price, State, Usage
from proxy.wire.dialects import all_dialects
from tests.relay.charging import (
    BODY,
    CHUNK,
    LIMITS,
    PRICE,
    START,
    Told,
    admission_of,
    charged,
    make_birth,
)
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.relay.working import work_for
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

SAID = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}'
COUNTED = b'{"type":"message_delta","delta":{},"usage":{"output_tokens":7}}'


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
        ProviderUnreachable("told", "no", was_asked=False),
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


def test_a_connection_that_broke_once_it_was_asked_costs_what_it_was_asked() -> None:
    error = ProviderUnreachable("told", "broke")
    assert charged(Told([], error), "openai.chat")[1:] == (100, 100)


class SlowLedger(MemoryLedger):
    """Takes a create, and long to say so: longer than a lease."""

    takes_s = 2 * LEASE_S

    async def admit(self, admission: Admission) -> Admitted | Repeat | Refused:
        admitted = await super().admit(admission)
        await asyncio.sleep(self.takes_s)
        return admitted


class SlowJournal(MemoryJournal):
    """The same, if it is told to."""

    takes_s = 0.0

    async def append(self, batch: Sequence[Append]) -> Sequence[Receipt]:
        receipts = await super().append(batch)
        await asyncio.sleep(self.takes_s)
        return receipts


@pytest.mark.parametrize(
    ("ledger_s", "journal_s"), [(2 * LEASE_S, 0.0), (0.6 * LEASE_S, 0.6 * LEASE_S)]
)
def test_a_create_that_took_longer_than_a_lease_reaches_no_provider_and_costs_nothing(
    ledger_s: float, journal_s: float
) -> None:
    """A sweep may have settled it meanwhile, so it would run without a hold."""

    async def story() -> None:
        store = MemoryStore(VirtualClock())
        ledger, journal = SlowLedger(store, LEASE_S), SlowJournal(store, LEASE_S)
        ledger.takes_s, journal.takes_s = ledger_s, journal_s
        switchboard = make_switchboard(journal, ledger)
        dialect = all_dialects()["openai.chat"]
        ask = dialect.read_ask(b'{"model":"m","messages":[],"stream":true}')
        request = UpstreamRequest("openai.chat", "m", BODY)
        provider = Told([CHUNK % b"w"])
        work = work_for(provider, request, dialect, ask, LIMITS, Ask(5000, 5000), PRICE)
        async with switchboard.running():
            await asyncio.sleep(2 * LEASE_S)  # from here on it may judge
            with pytest.raises(StoreUnavailable):
                await switchboard.start(make_birth("openai.chat"), work, None)
            await asyncio.sleep(3 * LEASE_S)
        running, tokens, _ = await ledger.standings(LIMITS)
        assert not store.meters.holds
        assert (running.remaining, tokens.remaining) == (1, 10_000)
        assert provider.asked == []

    run(story())


@pytest.mark.parametrize(("said", "output"), [([1, 2, 3], 8), ([], 400)])
def test_a_dead_worker_s_stream_is_guessed_from_its_journal_and_charged_by_its_birth(
    said: list[int], output: int
) -> None:
    async def story() -> tuple[Usage | None, int, int]:
        store = MemoryStore(VirtualClock())
        journal, ledger = MemoryJournal(store, LEASE_S), MemoryLedger(store, LEASE_S)
        birth = make_birth("openai.chat", output_tokens_max=400)
        await ledger.admit(admission_of(birth))
        events = [Event(n, "", CHUNK % (b"w" * 10)) for n in said]
        await journal.append([Append(birth.id, 1, 1, events, birth, has_content=True)])
        async with make_switchboard(journal, ledger).running():
            await asyncio.sleep(3 * LEASE_S)
        _, tokens, money = await ledger.standings(LIMITS)
        assert not store.meters.holds
        return store.records[birth.id].usage, 10_000 - tokens.remaining, 10_000 - money.remaining

    usage, tokens, money = run(story())
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.is_estimate) == (125, output, True)
    assert (tokens, money) == (125 + output, 125 + 2 * output)


@pytest.mark.parametrize("usage", [None, Usage(10, 1, is_estimate=True)])
def test_what_was_erased_with_its_worker_dead_has_used_what_it_held(usage: Usage | None) -> None:
    state = State(make_birth("openai.chat"), 1, 3, usage=usage, is_erased=True)

    counted = msgspec.structs.replace(state, usage=Usage(10, 5))
    unasked = msgspec.structs.replace(state, usage=None, ending=Ending.FAILED)
    assert (uses_of(state), shares_of(state)) == (None, ())
    assert uses_of(counted) == Uses(Use(15, 20))
    assert shares_of(counted) == [Share(state.birth.provider, Usage(10, 5), 20)]
    assert (uses_of(unasked), shares_of(unasked)) == (Uses(Use()), ())


CHEAP, DEAR = Price(1_000_000, 0, 2_000_000, 0), Price(10_000_000, 0, 20_000_000, 0)


def leg(provider: str, usage: Usage | None, price: Price | None, failure: str = "") -> Leg:
    return Leg(provider, "m", "openai.chat", 0.0, failure=failure, usage=usage, price=price)


def test_each_leg_costs_by_its_own_price_and_its_provider_has_used_that() -> None:
    state = State(
        make_birth("openai.chat"),
        1,
        9,
        ending=Ending.COMPLETED,
        usage=Usage(30, 12, is_estimate=True),
        legs=[
            leg("one", None, DEAR, "provider_unreachable"),
            leg("two", Usage(10, 5, is_estimate=True), CHEAP, "provider_stalled"),
            leg("three", None, DEAR),
        ],
    )
    uses = uses_of(state)

    assert accounted(state)[2].usage == Usage(20, 7, is_estimate=True)
    assert uses is not None
    assert uses.total == Use(42, 20 + 340)
    assert shares_of(state) == [
        Share("two", Usage(10, 5, is_estimate=True), 20),
        Share("three", Usage(20, 7, is_estimate=True), 340),
    ]
    assert uses.by_pool == {
        f"provider:{state.birth.provider}": Use(),
        "provider:one": Use(),
        "provider:two": Use(15, 20),
        "provider:three": Use(27, 340),
    }
    assert cost_of(state) == 360


def test_two_legs_of_one_provider_are_one_use_of_it() -> None:
    legs = [leg("p", Usage(1, 1), CHEAP, "x"), leg("p", None, DEAR)]
    birth = msgspec.structs.replace(make_birth("openai.chat"), provider="p")
    uses = uses_of(State(birth, 1, 9, ending=Ending.FAILED, usage=Usage(2, 2), legs=legs))

    assert uses is not None
    assert uses.by_pool == {"provider:p": uses.total} == {"provider:p": Use(4, 33)}


def test_what_a_stream_cost_is_unknown_where_somebody_who_worked_has_no_price() -> None:
    state = State(make_birth("openai.chat"), 1, 9, usage=Usage(2, 2), ending=Ending.COMPLETED)
    unpriced = leg("p", Usage(1, 1), None, "x")
    idle = leg("p", None, None, "x")

    told = [
        cost_of(msgspec.structs.replace(state, legs=legs))
        for legs in ([unpriced, leg("q", None, CHEAP)], [idle, leg("q", None, CHEAP)])
    ]

    assert told == [None, 6]
    assert cost_of(msgspec.structs.replace(state, usage=None)) == 0
    assert cost_of(msgspec.structs.replace(state, usage=None, ending=None)) is None


def test_calls_of_tools_and_other_letters_count_by_their_bytes() -> None:
    dialect = all_dialects()["openai.chat"]
    call = (
        b'{"choices":[{"index":0,"delta":{"tool_calls":'
        b'[{"index":0,"function":{"name":"find","arguments":"{}"}}]}}]}'
    )
    said = [Event(1, "", CHUNK % "é🦊".encode()), Event(2, "", call), Event(3, "", b"[DONE]")]

    birth, both = make_birth("openai.chat"), said_in(said, dialect)
    assert both == Said(6 + 6, has_reasoned=False)
    assert estimated(None, 0, both, 0, birth) == Usage(output_tokens=3, is_estimate=True)
    assert estimated(Usage(0, 5), 9, both, 0, birth) == Usage(9, 5, is_estimate=True)
