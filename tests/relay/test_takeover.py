"""A stream whose worker died goes on where that is truthful, and else it is interrupted."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from proxy.errors import ModelNotFound, ProviderRefused, RecipeUnreadable
from proxy.policy.quotas import Ask, Kind, Limit
from proxy.policy.routes import Target
from proxy.relay.estimate import asked_in
from proxy.relay.ports import Admission, Append, Kept, Place, UpstreamRequest
from proxy.relay.takeover import TAKEOVERS_MAX
from proxy.relay.work import Candidate, Part, Rest, Work
from proxy.store.memory import MemoryJournal, MemoryLedger, MemoryStore
from proxy.stream import Birth, Ending, Event, Frame, Leg, State, Usage
from proxy.wire.answer import Making
from proxy.wire.dialect import Ask as WireAsk
from proxy.wire.taking_up import Finish, take_up
from tests.relay.charging import BODY, CHUNK, LIMITS, Told, admission_of, make_birth
from tests.relay.switchboards import LEASE_S, make_switchboard
from tests.relay.test_tries import ASK, CHAT, ROLE, WHOLE
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock

RECIPE = b"recipe"
BEGUN_AT = 1_800_000_000.0
"""When a virtual clock begins."""
LEG = Leg("told", "m", CHAT.name, began_at=0.0, name="one")


class Keeping(Told):
    """Keeps its answer, and says it to whoever comes."""

    def __init__(self, whole: Sequence[bytes | float] = WHOLE) -> None:
        super().__init__(whole)
        self.refusal: Exception | None = None
        self.resumed: list[tuple[str, Place]] = []
        self.cancelled: list[str] = []

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterable[bytes]]:
        self.asked.append(request)
        yield Kept(self._chunks(), self, "one")

    @asynccontextmanager
    async def resume(
        self, request: UpstreamRequest, name: str, place: Place
    ) -> AsyncIterator[AsyncIterable[bytes]]:
        assert request.model == "m"
        self.resumed.append((name, place))
        if self.refusal is not None:
            raise self.refusal
        yield Kept(self._chunks(), self, name)

    async def cancel(self, request: UpstreamRequest, name: str) -> None:
        assert request.model == "m"
        self.cancelled.append(name)

    def number_in(self, frame: Frame) -> int | None:
        del frame
        return None

    def name_in(self, frame: Frame) -> str | None:
        del frame
        return None


def work_of(provider: Told) -> Work:
    request = UpstreamRequest(CHAT.name, "m", BODY)
    candidate = Candidate(Target("told", "m"), provider, request, lambda: CHAT.translator(ASK))
    return Work(CHAT, [candidate], LIMITS, recipe=RECIPE)


class Left(MemoryStore):
    """A store with a stream in it that a dead worker has left."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.birth = msgspec.structs.replace(make_birth(CHAT.name), created_at=BEGUN_AT)

    async def leave(
        self,
        events: Sequence[bytes],
        legs: Sequence[Leg] = (LEG,),
        recipe: bytes | None = RECIPE,
    ) -> None:
        dead = MemoryJournal(self, LEASE_S)
        admission: Admission = admission_of(self.birth)
        await MemoryLedger(self, LEASE_S).admit(admission)
        written = [Event(place, "", data) for place, data in enumerate(events, 1)]
        await dead.append([Append(self.birth.id, 1, 1, birth=self.birth, recipe=recipe)])
        if events:
            step = Append(self.birth.id, 1, 1, written, legs=legs, has_content=len(events) > 1)
            await dead.append([step])


def heir(
    store: Left,
    plan: Callable[[Birth, bytes], Work],
    prepare: Callable[[], Any],
    *,
    after_s: float = 60.0,
) -> tuple[State, Sequence[bytes]]:
    """How it ended, and what was journalled, once another worker has had the time."""

    async def story() -> tuple[State, Sequence[bytes]]:
        await prepare()
        journal = MemoryJournal(store, LEASE_S)
        switchboard = make_switchboard(journal, MemoryLedger(store, LEASE_S), bytes_max=100_000)
        switchboard.takeover.plan = plan
        async with switchboard.running():
            await asyncio.sleep(after_s)
            page = await journal.read(store.birth.id, 0)
            assert page is not None
        return page.state, [event.data for event in page.events]

    return run(story())


def planned(provider: Told) -> Callable[[Birth, bytes], Work]:
    def plan(birth: Birth, recipe: bytes) -> Work:
        assert (birth.owner, recipe) == ("o", RECIPE)
        return work_of(provider)

    return plan


@pytest.mark.parametrize("count", range(len(WHOLE)))
def test_an_answer_that_is_kept_goes_on_from_every_place_and_nothing_is_asked_again(
    count: int,
) -> None:
    store, provider = Left(), Keeping()
    events = [data for data in WHOLE[:count] if isinstance(data, bytes)]
    state, told = heir(store, planned(provider), lambda: store.leave(events))
    assert told == list(WHOLE)
    assert state.ending is Ending.COMPLETED
    assert state.usage == Usage(7, 3)
    assert len(provider.asked) == (not count)
    (leg,) = state.legs
    assert leg.is_taken_over
    assert leg.usage == Usage(7, 3)
    assert not store.meters.holds
    assert store.records[store.birth.id].recipe is None


def test_what_is_told_otherwise_now_is_not_mixed_with_what_was() -> None:
    store, provider = Left(), Keeping([WHOLE[0], b'{"choices":[]}', *WHOLE[2:]])
    events = [data for data in WHOLE[:3] if isinstance(data, bytes)]
    state, told = heir(store, planned(provider), lambda: store.leave(events))
    assert state.ending is Ending.INTERRUPTED
    assert told[:3] == events
    assert len(told) == 4
    assert not provider.asked


def test_what_a_dead_worker_wrote_counts_for_how_long_an_answer_may_be() -> None:
    long = CHUNK % (b"a" * 60_000)  # an heir may write 100,000 bytes
    store, provider = Left(), Keeping([WHOLE[0], long, long, *WHOLE[3:]])
    state, told = heir(store, planned(provider), lambda: store.leave([ROLE, long]))
    assert state.ending is Ending.FAILED
    assert told[:2] == [ROLE, long]
    assert long not in told[2:]


def test_a_provider_that_has_it_no_more_is_not_asked_again_for_what_was_seen() -> None:
    store, provider = Left(), Keeping()
    provider.refusal = ProviderRefused("told", 404)
    events = [data for data in WHOLE[:3] if isinstance(data, bytes)]
    state, told = heir(store, planned(provider), lambda: store.leave(events))
    assert state.ending is Ending.INTERRUPTED
    assert told[:3] == events
    assert not provider.asked


@pytest.mark.parametrize(
    ("legs", "recipe"),
    [
        ([LEG], None),
        ([], RECIPE),
        ([Leg("told", "m", CHAT.name, began_at=0.0)], RECIPE),
        ([Leg("told", "other", CHAT.name, began_at=0.0, name="one")], RECIPE),
        ([Leg("told", "m", CHAT.name, began_at=0.0, name="one", after=2)], RECIPE),
        ([Leg("told", "m", CHAT.name, began_at=0.0, name="one", failure="broke")], RECIPE),
    ],
    ids=["no recipe", "no leg", "no name", "another model", "behind a seam", "given up"],
)
def test_what_cannot_be_gone_on_with_is_interrupted(
    legs: Sequence[Leg], recipe: bytes | None
) -> None:
    store, provider = Left(), Keeping()
    events = [data for data in WHOLE[:3] if isinstance(data, bytes)]
    state, told = heir(store, planned(provider), lambda: store.leave(events, legs, recipe))
    assert state.ending is Ending.INTERRUPTED
    assert told[:3] == events
    assert not provider.asked
    assert not provider.resumed


class Going(Told):
    """Keeps nothing, and says this of the rest."""

    def __init__(self) -> None:
        super().__init__([WHOLE[0], CHUNK % b" and on", *WHOLE[3:]])


def taking_up(provider: Told, ask: WireAsk = ASK) -> Callable[[Birth, bytes], Work]:
    """Plans work whose only target may go on with what another has begun."""

    def plan(birth: Birth, recipe: bytes) -> Work:
        assert recipe == RECIPE
        making = Making(
            stream=birth.id,
            model="m",
            created_at=birth.created_at,
            maker=CHAT.name,
            wants_usage=True,
            fields=ask.fields,
        )

        def go_on(events: Sequence[Event], used: Usage | None) -> Part | Rest:
            taken = take_up(CHAT, CHAT, ask, ask, making, "m", events, used=used)
            if isinstance(taken, Finish):
                return Rest(taken.frames)
            body = CHAT.upstream_body(taken.ask, "m")
            return Part(UpstreamRequest(CHAT.name, "m", body), taken.translator)

        work = work_of(provider)
        (candidate,) = work.candidates
        candidate = msgspec.structs.replace(candidate, take_up=go_on)
        return msgspec.structs.replace(work, candidates=[candidate])

    return plan


@pytest.mark.parametrize("count", range(1, 4))
def test_what_nobody_keeps_is_gone_on_with_from_the_text_so_far_where_that_is_allowed(
    count: int,
) -> None:
    store, provider = Left(), Going()
    events = [data for data in WHOLE[:count] if isinstance(data, bytes)]
    leg = Leg("told", "m", CHAT.name, began_at=BEGUN_AT)
    state, told = heir(store, taking_up(provider), lambda: store.leave(events, [leg]))
    assert state.ending is Ending.COMPLETED
    assert told[:count] == events
    text = "".join(delta.text for data in told for delta in CHAT.deltas(data))
    assert text == "ab"[: count - 1] + " and on"
    assert len(provider.asked) == 1
    first, second = state.legs
    assert (first.failure, first.after, second.failure) == ("worker_died", 0, "")
    assert (second.is_taken_over, second.after, second.usage) == (True, count, Usage(7, 3))
    assert first.usage is not None
    assert first.usage.is_estimate
    assert first.usage.input_tokens == asked_in(len(BODY), store.birth) > 0
    assert state.usage is not None
    assert state.usage.output_tokens == first.usage.output_tokens + 3
    assert not store.meters.holds


def test_an_answer_behind_a_seam_is_taken_up_once_more() -> None:
    store, provider = Left(), Going()
    events = [data for data in WHOLE[:3] if isinstance(data, bytes)]
    legs = [
        Leg("p", "m", CHAT.name, began_at=BEGUN_AT, failure="provider_error", usage=Usage(5, 1)),
        Leg("told", "m", CHAT.name, began_at=BEGUN_AT, after=2, name="one"),
    ]
    state, told = heir(store, taking_up(provider), lambda: store.leave(events, legs))
    assert state.ending is Ending.COMPLETED
    assert told[:3] == events
    assert [leg.failure for leg in state.legs] == ["provider_error", "worker_died", ""]


def test_where_only_the_terminator_was_missing_nobody_is_asked() -> None:
    store, provider = Left(), Going()
    events = [data for data in WHOLE[:4] if isinstance(data, bytes)]
    leg = Leg("told", "m", CHAT.name, began_at=BEGUN_AT)
    state, told = heir(store, taking_up(provider), lambda: store.leave(events, [leg]))
    assert state.ending is Ending.COMPLETED
    assert told[-1] == b"[DONE]"
    assert not provider.asked


def test_what_no_other_can_go_on_with_is_interrupted_after_all() -> None:
    store, provider = Left(), Going()
    ask = CHAT.read_ask(b'{"model":"m","messages":[],"response_format":{"type":"json_object"}}')
    events = [data for data in WHOLE[:3] if isinstance(data, bytes)]
    leg = Leg("told", "m", CHAT.name, began_at=BEGUN_AT)
    state, told = heir(store, taking_up(provider, ask), lambda: store.leave(events, [leg]))
    assert state.ending is Ending.INTERRUPTED
    assert told[:3] == events
    assert not provider.asked


def test_an_heir_whose_providers_have_no_room_is_interrupted() -> None:
    store, provider = Left(), Told(WHOLE)
    full = Limit("provider:told", Kind.TOKENS_PER_DAY, 10)

    def plan(birth: Birth, recipe: bytes) -> Work:
        work = planned(provider)(birth, recipe)
        (candidate,) = work.candidates
        candidates = [msgspec.structs.replace(candidate, limits=[full])]
        return msgspec.structs.replace(work, candidates=candidates, ask=Ask(11, 0))

    state, _ = heir(store, plan, lambda: store.leave([]))
    assert state.ending is Ending.INTERRUPTED
    assert not provider.asked
    assert not store.meters.holds


@pytest.mark.parametrize("error", [ModelNotFound("m"), RecipeUnreadable("no recipe")])
def test_what_cannot_be_planned_any_more_is_interrupted(error: Exception) -> None:
    def plan(birth: Birth, recipe: bytes) -> Work:
        assert (birth.owner, recipe) == ("o", RECIPE)
        raise error

    store = Left()
    state, _ = heir(store, plan, lambda: store.leave([]))
    assert state.ending is Ending.INTERRUPTED


def test_a_cancel_that_was_asked_for_meanwhile_wins() -> None:
    store, provider = Left(), Keeping()

    async def leave_and_cancel() -> None:
        await store.leave([])
        await MemoryJournal(store, LEASE_S).ask_cancel(store.birth.id)

    state, _ = heir(store, planned(provider), leave_and_cancel)
    assert state.ending is Ending.CANCELLED
    assert not provider.asked


@pytest.mark.parametrize(("lives", "ending"), [(0, Ending.COMPLETED), (1, Ending.INTERRUPTED)])
def test_a_stream_is_taken_over_so_often_and_no_oftener(lives: int, ending: Ending) -> None:
    store, provider = Left(), Keeping()

    async def leave() -> None:
        await store.leave([])
        store.records[store.birth.id].epoch += TAKEOVERS_MAX - 1 + lives

    assert heir(store, planned(provider), leave)[0].ending is ending


def test_an_heir_that_is_cancelled_tells_the_provider_that_goes_on_by_itself() -> None:
    store, provider = Left(), Keeping([*WHOLE[:3], 1e6])

    async def story() -> State:
        await store.leave([data for data in WHOLE[:2] if isinstance(data, bytes)])
        journal = MemoryJournal(store, LEASE_S)
        switchboard = make_switchboard(journal, MemoryLedger(store, LEASE_S), bytes_max=100_000)
        switchboard.takeover.plan = planned(provider)
        async with switchboard.running():
            await asyncio.sleep(2 * LEASE_S)
            return await switchboard.cancel(store.birth.id)

    assert run(story()).ending is Ending.CANCELLED
    assert provider.cancelled == ["one"]


def test_while_a_worker_drains_it_takes_nothing_over() -> None:
    store, provider = Left(), Keeping()

    async def story() -> State:
        await store.leave([])
        journal = MemoryJournal(store, LEASE_S)
        switchboard = make_switchboard(journal, MemoryLedger(store, LEASE_S))
        switchboard.takeover.plan = planned(provider)
        async with switchboard.running():
            await switchboard.drain(0)
            await asyncio.sleep(2 * LEASE_S)
            return await switchboard.state(store.birth.id)

    assert run(story()).ending is Ending.INTERRUPTED
    assert not provider.asked
