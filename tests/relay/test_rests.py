"""What a worker knows of targets that fail. The store is in memory, the time virtual."""

import asyncio
from collections.abc import Callable, Coroutine

import msgspec

from proxy.errors import (
    MidstreamError,
    ProviderRefused,
    ProviderUnreachable,
    StoreUnavailable,
    TargetsResting,
)
from proxy.observe.counts import Counts
from proxy.policy.breaker import Rule
from proxy.policy.routes import Target
from proxy.relay.errands import Errands
from proxy.relay.ports import Conditions, Rests, UpstreamRequest
from proxy.relay.ports import Told as StoreTold
from proxy.relay.rests import Resting, Verdict, none_may
from proxy.relay.work import Candidate
from proxy.store.memory import MemoryStore
from proxy.store.memory_rests import MemoryRests
from proxy.wire.dialects import all_dialects
from tests.relay.charging import Told
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock, silent_observer

CHAT = all_dialects()["openai.chat"]
ASK = CHAT.read_ask(b'{"model":"m","messages":[],"stream":true}')
RULE = Rule(rest_after=2, rest_s=10.0, rest_max_s=40.0)
DEAD = ProviderUnreachable("p", "refused")


class Counted:
    """A store in memory that counts the round trips, and can be away."""

    def __init__(self, store: MemoryStore) -> None:
        self._inner = MemoryRests(store)
        self.calls: list[str] = []
        self.is_away = False

    async def _travel(self, call: str) -> None:
        self.calls.append(call)
        await asyncio.sleep(0.01)
        if self.is_away:
            raise StoreUnavailable("away")

    async def conditions(self) -> Conditions:
        await self._travel("conditions")
        return await self._inner.conditions()

    async def fail(
        self, name: str, rule: Rule, reason: str, retry_after_s: float | None
    ) -> StoreTold:
        await self._travel("fail")
        return await self._inner.fail(name, rule, reason, retry_after_s)

    async def succeed(self, name: str) -> bool:
        await self._travel("succeed")
        return await self._inner.succeed(name)

    async def probe(self, name: str) -> StoreTold:
        await self._travel("probe")
        return await self._inner.probe(name)


class Worker:
    def __init__(self, store: Rests, tasks: asyncio.TaskGroup) -> None:
        self.counts = Counts()
        observer = silent_observer()
        observer.counts = self.counts
        self.resting = Resting(store, observer, Errands(tasks, lambda: None))

    def fail(self, candidate: Candidate, times: int = 1, error: MidstreamError = DEAD) -> None:
        for _ in range(times):
            self.resting.failed(candidate, error)

    def probes(self, outcome: str) -> str:
        text = self.counts.exposition({}).decode()
        found = [line for line in text.splitlines() if f'outcome="{outcome}"' in line]
        return found[0].rpartition(" ")[2] if found else "0"


def candidate(rule: Rule = RULE, model: str = "m") -> Candidate:
    provider = Told(())
    provider.rest = rule
    request = UpstreamRequest(CHAT.name, model, b"{}")
    return Candidate(Target(provider.name, model), provider, request, lambda: CHAT.translator(ASK))


def lived(story: Callable[[Counted, list[Worker]], Coroutine[object, object, None]]) -> None:
    """Two workers on one store."""

    async def test() -> None:
        store = Counted(MemoryStore(VirtualClock()))
        async with asyncio.TaskGroup() as tasks:
            await story(store, [Worker(store, tasks), Worker(store, tasks)])

    run(test())


def test_a_target_that_is_well_costs_no_round_trip() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here = workers[0].resting
        assert await here.may(candidate()) == Verdict(may_be_asked=True)
        here.succeeded(candidate())
        assert store.calls == []

    lived(story)


def test_a_worker_goes_at_once_by_what_it_sees_and_another_after_its_next_look() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here, there = (worker.resting for worker in workers)
        workers[0].fail(candidate(), 2)
        verdict = await here.may(candidate())
        assert verdict == Verdict(may_be_asked=False, wait_s=10.0)
        await asyncio.sleep(1)
        assert (await there.may(candidate())).may_be_asked
        await there.refresh()
        assert not (await there.may(candidate())).may_be_asked
        assert (await there.may(candidate(model="another"))).may_be_asked
        assert store.calls == ["fail", "fail", "conditions"]

    lived(story)


def test_of_many_who_ask_when_a_probe_is_due_one_may_and_one_round_trip_is_made() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here = workers[0].resting
        workers[0].fail(candidate(), 2)
        await asyncio.sleep(10.1)
        store.calls.clear()
        verdicts = await asyncio.gather(*(here.may(candidate()) for _ in range(20)))
        assert sum(verdict.may_be_asked for verdict in verdicts) == 1
        assert not (await here.may(candidate())).may_be_asked
        assert store.calls == ["probe"]

    lived(story)


def test_a_probe_that_answers_brings_the_target_back_to_all() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here, there = (worker.resting for worker in workers)
        workers[0].fail(candidate(), 2)
        await asyncio.sleep(10.1)
        await there.refresh()
        assert (await there.may(candidate())).may_be_asked
        there.succeeded(candidate())
        there.succeeded(candidate())
        assert (await there.may(candidate())).may_be_asked
        await asyncio.sleep(0.1)
        await here.refresh()
        assert (await here.may(candidate())).may_be_asked
        assert store.calls.count("succeed") == 1
        assert workers[1].probes("succeeded") == "1"

    lived(story)


def test_a_probe_that_fails_is_told_and_others_that_had_set_out_before_are_not() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here, there = (worker.resting for worker in workers)
        workers[0].fail(candidate(), 2)
        await asyncio.sleep(10.1)
        assert (await here.may(candidate())).may_be_asked
        await there.refresh()
        store.calls.clear()
        workers[1].fail(candidate(), 5)
        workers[0].fail(candidate(), 5)
        await asyncio.sleep(0.1)
        assert store.calls == ["fail"]
        (condition,) = (await store.conditions()).by_name.values()
        assert condition.rest_ms == 20_000
        assert workers[0].probes("failed") == "1"

    lived(story)


def test_a_probe_of_which_nothing_is_heard_is_followed_by_another_an_interval_later() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here = workers[0].resting
        workers[0].fail(candidate(), 2)
        await asyncio.sleep(10.1)
        assert (await here.may(candidate())).may_be_asked
        await asyncio.sleep(9.8)
        assert not (await here.may(candidate())).may_be_asked
        await asyncio.sleep(0.3)
        assert (await here.may(candidate())).may_be_asked
        assert workers[0].probes("unheard") == "1"
        assert store.calls.count("probe") == 2

    lived(story)


def test_while_the_store_is_away_everybody_may_be_asked() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here = workers[0].resting
        workers[0].fail(candidate(), 2)
        await asyncio.sleep(1)
        store.is_away = True
        await here.refresh()
        assert (await here.may(candidate())).may_be_asked
        workers[0].fail(candidate(), 5)
        store.is_away = False
        await here.refresh()
        assert not (await here.may(candidate())).may_be_asked
        await asyncio.sleep(10)
        store.is_away = True
        assert (await here.may(candidate())).may_be_asked, "nobody could say whether it may be"

    lived(story)


def test_a_look_that_was_under_way_does_not_undo_what_was_seen_meanwhile() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        here = workers[0].resting
        await here.refresh()
        store.calls.clear()
        looking = asyncio.create_task(here.refresh())
        await asyncio.sleep(0.005)
        workers[0].fail(candidate(), 2)
        await looking
        assert not (await here.may(candidate())).may_be_asked
        await asyncio.sleep(1)
        looking = asyncio.create_task(here.refresh())
        await asyncio.sleep(0.005)
        here.succeeded(candidate())
        await looking
        assert (await here.may(candidate())).may_be_asked
        assert store.calls == ["conditions", "fail", "fail", "conditions", "succeed"]

    lived(story)


def test_what_the_client_did_wrong_is_no_failure_and_who_never_rests_has_none() -> None:
    async def story(store: Counted, workers: list[Worker]) -> None:
        workers[0].fail(candidate(), 9, ProviderRefused("p", 400))
        workers[0].fail(candidate(), 9, ProviderRefused("p", 404))
        workers[0].fail(candidate(Rule(rest_after=0)), 9)
        workers[0].fail(candidate(model="m" * 400), 9)
        await asyncio.sleep(0.1)
        assert store.calls == []

    lived(story)


def test_where_all_rest_it_is_told_when_the_first_may_be_tried() -> None:
    error = none_may([Verdict(may_be_asked=False, wait_s=wait_s) for wait_s in (30.0, 12.5)])
    assert isinstance(error, TargetsResting)
    problem = error.problem()
    assert (problem.status, problem.code, problem.is_retryable, problem.retry_after_s) == (
        503,
        "targets_resting",
        True,
        12.5,
    )
    assert msgspec.json.encode(str(error)).endswith(b'it is tried again in 13 s."')
