"""An answer is had from whoever can make it, and a failed try that said nothing leaves no trace."""

import asyncio
from collections.abc import Sequence

import pytest

from proxy.errors import MidstreamError, ProviderRefused, ProviderTruncated
from proxy.policy.routes import Target
from proxy.relay.ports import Patience, UpstreamRequest
from proxy.relay.producer import Producer
from proxy.relay.work import Candidate, Part, TakeUp, Work
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Ending, Event, Leg, State, Usage
from proxy.wire.dialects import all_dialects
from tests.relay.charging import BODY, CHUNK, PRICE, Told, make_birth
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

CHAT = all_dialects()["openai.chat"]
ASK = CHAT.read_ask(
    b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}'
)
ROLE = b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'
STOP = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
COUNT = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
WHOLE: tuple[bytes | float, ...] = (ROLE, CHUNK % b"a", CHUNK % b"b", STOP, COUNT, b"[DONE]")


class Named(Told):
    """One of several, that fails so on each of its first tries."""

    def __init__(
        self,
        name: str,
        said: Sequence[bytes | float],
        *failures: tuple[Sequence[bytes | float], MidstreamError],
        retries: int = 0,
    ) -> None:
        super().__init__(said)
        self.name = name
        self.whole = said
        self.failures = list(failures)
        self.patience = Patience(retries=retries)

    async def _chunks(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        self.said, self.error = self.failures.pop(0) if self.failures else (self.whole, None)
        async for chunk in super()._chunks():
            yield chunk


class Closing(Named):
    """One whose body ends in good order when all is said."""

    async def _chunks(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        for data in self.said:
            assert isinstance(data, bytes), "it makes no pause"
            yield data if self.asked[-1].is_whole else b"data: %b\n\n" % data


def answered(
    *providers: Named,
    hold_back_s: float = 10.0,
    after_s: float = 60.0,
    is_whole: bool = False,
    take_up: TakeUp | None = None,
) -> tuple[State, Sequence[Event]]:
    """How a stream ended for which these can be asked, and its journal."""

    async def story() -> tuple[State, Sequence[Event]]:
        store = MemoryStore(VirtualClock())
        journal = MemoryJournal(store, LEASE_S)
        switchboard = make_switchboard(journal, MemoryLedger(store, LEASE_S), bytes_max=100_000)
        candidates = [
            Candidate(
                Target(provider.name, "m", PRICE),
                provider,
                UpstreamRequest(CHAT.name, "m", BODY, is_whole=is_whole),
                lambda: CHAT.whole_translator(ASK) if is_whole else CHAT.translator(ASK),
                take_up=take_up,
            )
            for provider in providers
        ]
        work = Work(CHAT, candidates, hold_back_s=hold_back_s)
        async with switchboard.running():
            birth = make_birth(CHAT.name)
            assert isinstance(await switchboard.start(birth, work, None), Producer)
            await asyncio.sleep(after_s)
            state = await switchboard.state(birth.id)
            page = await journal.read(birth.id, 0)
        assert page is not None
        return state, page.events

    return run(story())


def said(events: Sequence[Event]) -> list[bytes]:
    return [event.data for event in events]


def test_the_same_target_is_asked_again_and_the_failed_try_leaves_no_event() -> None:
    provider = Named("p", WHOLE, ([ROLE], ProviderTruncated()), retries=1)
    state, events = answered(provider)
    assert state.ending is Ending.COMPLETED
    assert said(events) == list(WHOLE)
    (leg,) = state.legs
    assert leg.tries == 2
    assert leg.waited_s > 0
    assert state.usage == leg.usage == Usage(7, 3)


def test_the_next_target_answers_and_both_stand_in_the_legs() -> None:
    first = Named("p", WHOLE, ([ROLE], ProviderRefused("p", 401)))
    state, events = answered(first, Named("q", WHOLE))
    assert state.ending is Ending.COMPLETED
    assert said(events) == list(WHOLE)
    assert [(leg.provider, leg.failure, leg.usage) for leg in state.legs] == [
        ("p", "provider_error", None),
        ("q", "", Usage(7, 3)),
    ]
    assert state.usage == Usage(7, 3)


def test_after_the_first_content_nobody_else_is_asked() -> None:
    first = Named("p", WHOLE, ([ROLE, CHUNK % b"a"], ProviderTruncated()), retries=3)
    second = Named("q", WHOLE)
    state, events = answered(first, second)
    assert state.ending is Ending.FAILED
    assert said(events)[:2] == [ROLE, CHUNK % b"a"]
    assert len(first.asked) == 1
    assert not second.asked


def test_what_only_announces_an_answer_is_written_once_it_has_waited_long_enough() -> None:
    late = (ROLE, 30.0, *WHOLE[1:])
    _, events = answered(Named("p", late), hold_back_s=5.0, after_s=4.0)
    assert not events
    state, events = answered(Named("p", late), hold_back_s=5.0, after_s=6.0)
    assert said(events) == [ROLE]
    assert not state.has_content
    state, events = answered(Named("p", late), hold_back_s=5.0)
    assert state.ending is Ending.COMPLETED
    assert said(events) == list(WHOLE)


def test_a_try_that_has_written_its_announcement_is_not_forgotten() -> None:
    first = Named("p", WHOLE, ([ROLE, 8.0], ProviderTruncated()), retries=3)
    state, events = answered(first, hold_back_s=5.0)
    assert state.ending is Ending.FAILED
    assert said(events)[0] == ROLE
    assert len(first.asked) == 1


def test_many_announcements_are_not_held_for_ever() -> None:
    state, events = answered(Named("p", [ROLE] * 100), after_s=1.0)
    assert state.ending is None
    assert len(events) == 100


@pytest.mark.parametrize("after_s", [1.0, 20.0])
def test_who_says_nothing_at_all_can_be_replaced_however_late(after_s: float) -> None:
    first = Named("p", WHOLE, ([after_s], ProviderRefused("p", 503)))
    state, events = answered(first, Named("q", WHOLE), hold_back_s=5.0)
    assert state.ending is Ending.COMPLETED
    assert said(events) == list(WHOLE)


def test_a_cancel_ends_the_wait_for_another_try() -> None:
    async def story() -> tuple[State, float]:
        store = MemoryStore(VirtualClock())
        switchboard = make_switchboard(MemoryJournal(store, LEASE_S), MemoryLedger(store, LEASE_S))
        failure: tuple[Sequence[bytes | float], MidstreamError] = (
            [],
            ProviderRefused("p", 503, retry_after_s=7.0),
        )
        provider = Named("p", WHOLE, failure, retries=1)
        request = UpstreamRequest(CHAT.name, "m", BODY)
        candidate = Candidate(Target("p", "m"), provider, request, lambda: CHAT.translator(ASK))
        async with switchboard.running():
            birth = make_birth(CHAT.name)
            await switchboard.start(birth, Work(CHAT, [candidate]), None)
            await asyncio.sleep(1)
            begun = asyncio.get_running_loop().time()
            state = await switchboard.cancel(birth.id)
            return state, asyncio.get_running_loop().time() - begun

    state, took_s = run(story())
    assert state.ending is Ending.CANCELLED
    assert took_s < 1
    assert isinstance(state.legs[0], Leg)


def test_where_the_config_allows_it_a_finished_answer_without_its_terminator_is_whole() -> None:
    provider = Closing("p", WHOLE[:-1])
    assert answered(provider)[0].ending is Ending.FAILED
    provider.may_leave_out_terminator = True
    state, events = answered(provider)
    assert state.ending is Ending.COMPLETED
    assert said(events) == list(WHOLE)
    assert state.usage == Usage(7, 3)


def test_a_connection_that_breaks_after_the_reason_to_stop_is_a_failure_all_the_same() -> None:
    provider = Named("p", WHOLE, (WHOLE[:-1], ProviderTruncated()))
    provider.may_leave_out_terminator = True
    state, _ = answered(provider)
    assert state.ending is Ending.FAILED


def test_nobody_is_asked_for_more_of_an_answer_that_is_too_long_already() -> None:
    def go_on(events: Sequence[Event], used: Usage | None) -> Part:
        del events, used
        return Part(UpstreamRequest(CHAT.name, "m", BODY), CHAT.translator(ASK))

    long = Named("p", [ROLE, *[CHUNK % (b"a" * 60_000)] * 3])
    state, _ = answered(long, Named("q", WHOLE), take_up=go_on)
    assert state.ending is Ending.FAILED
    assert [leg.provider for leg in state.legs] == ["p"]


JSON = (b'{"choices":[{"message":{"content"', b':"a"},"finish_reason":"stop"}],\n', b'"usage":')
COUNTS = b'{"prompt_tokens":7,"completion_tokens":3}}'


def test_an_answer_in_one_piece_is_one_event_of_its_own_bytes() -> None:
    state, events = answered(Closing("p", [*JSON, COUNTS]), is_whole=True)
    assert state.ending is Ending.COMPLETED
    assert state.has_content
    assert state.usage == Usage(7, 3)
    whole = b"".join([*JSON, COUNTS]).replace(b"\n", b" ")
    assert said(events) == [whole]
    assert CHAT.fold(events) == whole


def test_one_in_one_piece_that_is_no_answer_is_asked_for_again_and_leaves_no_trace() -> None:
    good, bad, empty = Closing("p", [*JSON, COUNTS]), Closing("q", [b"<html>"]), Closing("r", [])
    state, events = answered(bad, empty, good, is_whole=True)
    assert state.ending is Ending.COMPLETED
    assert len(events) == 1
    failures = ["provider_garbled", "provider_truncated", ""]
    assert [leg.failure for leg in state.legs] == failures
