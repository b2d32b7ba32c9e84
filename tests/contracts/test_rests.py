"""What every store keeps of targets that fail. See `proxy.relay.ports.Rests`."""

import asyncio
import secrets

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.breaker import NAMES_MAX, WELL, Condition, Rule
from proxy.relay.ports import Rests, Told
from tests.contracts.backends import Backend, MemoryBackend, RedisBackend, run

NAME = "openai/gpt-🦊 5"
RULE = Rule(rest_after=2, rest_s=0.3, rest_max_s=1.0)
LONG = Rule(rest_after=1, rest_s=100.0, rest_max_s=1000.0)


async def fail(rests: Rests, *, rule: Rule = RULE, retry_after_s: float | None = None) -> Told:
    return await rests.fail(NAME, rule, "provider_error 503", retry_after_s)


def test_a_target_rests_for_all_processes_after_so_many_failures_and_that_is_news_once(
    backend: Backend,
) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            assert (await here.rests.conditions()).by_name == {}
            first, second, late = [await fail(each.rests) for each in (here, there, here)]
            assert [each.is_news for each in (first, second, late)] == [False, True, False]
            assert not first.condition.rests
            assert second.condition == late.condition
            assert second.condition.until_ms - second.now_ms == 300
            seen = await there.rests.conditions()
            assert seen.by_name == {NAME: second.condition}
            assert seen.by_name[NAME].reason == "provider_error 503"
            assert second.now_ms <= seen.now_ms < second.now_ms + 10_000

    run(test)


def test_an_answer_ends_a_rest_and_forgets_the_failures_before(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            await fail(here.rests)
            assert await there.rests.succeed(NAME) is False
            assert not (await fail(here.rests)).condition.rests
            assert (await fail(here.rests)).condition.rests
            assert await there.rests.succeed(NAME) is True
            assert await there.rests.succeed(NAME) is False
            assert (await here.rests.conditions()).by_name == {}

    run(test)


def test_one_of_many_may_try_once_the_rest_is_over_and_none_before(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            assert (await here.rests.probe(NAME))[1:] == (WELL, False)
            for _ in range(2):
                await fail(here.rests)
            assert not (await here.rests.probe(NAME)).is_news
            await backend.pass_time(0.31)
            asked = [each.rests.probe(NAME) for each in (here, there) * 10]
            told = await asyncio.gather(*asked)
            assert sum(each.is_news for each in told) == 1
            assert all(each.condition.is_probed for each in told)

    run(test)


def test_a_probe_that_fails_doubles_the_rest_up_to_the_bound(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            for _ in range(2):
                await fail(here.rests)
            for rest_ms in (600, 1000, 1000):
                condition = (await here.rests.conditions()).by_name[NAME]
                await backend.pass_time(condition.rest_ms / 1000 + 0.01)
                assert (await here.rests.probe(NAME)).is_news
                told = await fail(here.rests)
                assert told.condition.rest_ms == told.condition.until_ms - told.now_ms == rest_ms
                assert not told.is_news, "it has rested since the first one"

    run(test)


def test_after_a_probe_of_which_nothing_is_heard_there_is_another_an_interval_later(
    backend: Backend,
) -> None:
    async def test() -> None:
        async with backend.process() as here:
            for _ in range(2):
                await fail(here.rests)
            for _ in range(2):
                await backend.pass_time(0.31)
                assert (await here.rests.probe(NAME)).is_news
                assert not (await here.rests.probe(NAME)).is_news

    run(test)


def test_a_provider_that_wants_longer_is_left_alone_longer_within_the_bound(
    backend: Backend,
) -> None:
    async def test() -> None:
        async with backend.process() as here:
            await fail(here.rests)
            rest_ms = [
                (await fail(here.rests, retry_after_s=wish_s)).condition.rest_ms
                for wish_s in (0.5, 0.2, 0.8, None, 86_400.0)
            ]
            assert rest_ms == [500, 500, 800, 800, 1000]

    run(test)


def test_who_never_rests_is_not_counted(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            never = Rule(rest_after=0)
            told = await fail(here.rests, rule=never, retry_after_s=5.0)
            assert told == Told(told.now_ms, WELL, is_news=False)
            assert (await here.rests.conditions()).by_name == {}

    run(test)


def test_there_is_room_for_so_many_and_who_rests_is_kept_longest(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here:
            await fail(here.rests, rule=LONG)
            for number in range(NAMES_MAX + 20):
                await here.rests.fail(f"p/{number}", RULE, "x", None)
            kept = (await here.rests.conditions()).by_name
            assert len(kept) == NAMES_MAX
            assert kept[NAME].rests
            assert f"p/{NAMES_MAX + 19}" in kept

    run(test)


def test_a_target_of_which_nothing_was_heard_for_an_hour_is_forgotten() -> None:
    async def test() -> None:
        backend = MemoryBackend()
        async with backend.process() as here:
            await fail(here.rests, rule=LONG)
            await backend.pass_time(3600 + 99)
            assert NAME in (await here.rests.conditions()).by_name
            await backend.pass_time(2)
            assert (await here.rests.conditions()).by_name == {}
            assert not (await here.rests.probe(NAME)).is_news

    run(test)


def test_on_a_clock_that_goes_back_a_rest_begins_anew_and_no_more() -> None:
    async def test() -> None:
        backend = MemoryBackend()
        async with backend.process() as here:
            await fail(here.rests, rule=LONG)
            await backend.pass_time(-5000)
            seen = await here.rests.conditions()
            assert seen.by_name[NAME].until_ms == seen.now_ms + 100_000
            await backend.pass_time(100)
            assert (await here.rests.probe(NAME)).is_news

    run(test)


def test_redis_keeps_them_in_one_hash_that_runs_out(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        async with redis_backend.process() as here:
            await fail(here.rests)
            assert await redis_backend.keys() == [f"{redis_backend.namespace}:{{ledger}}:rests"]
            left_ms = await redis_backend.say("PTTL", (await redis_backend.keys())[0])
            assert isinstance(left_ms, int)
            assert 86_400_000 < left_ms <= 90_000_000
            await here.rests.succeed(NAME)
            assert await redis_backend.keys() == []

    run(test)


def timeless(told: Told) -> object:
    """The two stores have different clocks."""
    condition = told.condition
    left_ms = condition.until_ms - told.now_ms if condition.rests else 0
    return told.is_news, condition.failures, condition.rest_ms, condition.is_probed, left_ms > 1000


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["fail"] * 4 + ["probe", "succeed"]),
        st.sampled_from(["a/b", "a/c"]),
        st.integers(0, 3),
        st.sampled_from([None, 0.0, 60.0, 5000.0]),
    ),
    min_size=3,
    max_size=30,
)


@settings(max_examples=60, deadline=None, database=None)
@given(OPERATIONS, st.sampled_from([(0.001, 0.001), (50.0, 70.0), (50.0, 1000.0)]))
def agree(
    url: str, operations: list[tuple[str, str, int, float | None]], rest_s: tuple[float, float]
) -> None:
    """A rest is over by the next operation, or never."""

    async def said(backend: Backend) -> list[object]:
        heard: list[object] = []
        async with backend.process() as here:
            for what, name, rest_after, retry_after_s in operations:
                rule = Rule(rest_after, *rest_s)
                if what == "fail":
                    heard.append(timeless(await here.rests.fail(name, rule, "r", retry_after_s)))
                elif what == "probe":
                    heard.append(timeless(await here.rests.probe(name)))
                else:
                    heard.append(await here.rests.succeed(name))
                await backend.pass_time(0.003)
            heard.append(sorted((await here.rests.conditions()).by_name))
        return heard

    async def test() -> None:
        assert await said(RedisBackend(url)) == await said(MemoryBackend())

    run(test)


def test_redis_says_what_the_table_says(redis_backend: RedisBackend) -> None:
    agree(redis_backend.url)


def test_a_condition_has_no_part_that_a_store_could_lose(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        async with redis_backend.process() as here:
            reason = secrets.token_hex(3)
            told = await here.rests.fail(NAME, LONG, reason, None)
            kept = (await here.rests.conditions()).by_name[NAME]
            values = msgspec.structs.astuple(kept)
            assert kept == told.condition == Condition(*values)
            assert values == (
                1,
                100_000,
                told.now_ms + 100_000,
                False,
                told.now_ms,
                told.now_ms,
                reason,
            )

    run(test)
