"""What every ledger keeps of its workers. See `proxy.relay.ports.Ledger.report`."""

import secrets

import msgspec

from proxy.relay.ports import REPORTED_STREAMS_MAX
from proxy.stream import StreamId, new_stream_id
from tests.contracts.backends import Backend, RedisBackend, make_report, run


def make_id() -> StreamId:
    return new_stream_id(secrets.token_bytes(20))


def test_every_process_hears_what_every_worker_says_the_longest_up_first(
    backend: Backend,
) -> None:
    async def test() -> None:
        old = make_report(started_at=1_700_000_000.0, streams={make_id(): 2, make_id(): 1})
        new = make_report(started_at=1_700_000_000.5, is_partial=True)
        async with backend.process() as here, backend.process() as there:
            assert list(await here.ledger.reports()) == []
            await here.ledger.report(new)
            await there.ledger.report(old)
            assert list(await here.ledger.reports()) == [old, new]
            assert list(await there.ledger.reports()) == [old, new]

    run(test)


def test_a_report_takes_the_place_of_the_one_before(backend: Backend) -> None:
    async def test() -> None:
        first = make_report(streams={make_id(): 1})
        second = msgspec.structs.replace(first, is_draining=True, streams=0, readers_by_stream={})
        async with backend.process() as here:
            await here.ledger.report(first)
            await here.ledger.report(second)
            assert list(await here.ledger.reports()) == [second]

    run(test)


def test_a_worker_that_ends_is_forgotten_at_once_and_may_say_so_twice(backend: Backend) -> None:
    async def test() -> None:
        ends, stays = make_report(), make_report()
        async with backend.process() as here:
            await here.ledger.report(ends)
            await here.ledger.report(stays)
            await here.ledger.retire(ends.worker.id)
            await here.ledger.retire(ends.worker.id)
            assert list(await here.ledger.reports()) == [stays]

    run(test)


def test_a_report_outlives_nine_seconds_of_silence_and_no_more_than_ten(
    backend: Backend,
) -> None:
    async def test() -> None:
        dead = make_report()
        async with backend.process() as here:
            await here.ledger.report(dead)
            await backend.pass_time(9)
            assert list(await here.ledger.reports()) == [dead]
            alive = make_report()
            await here.ledger.report(alive)
            await backend.pass_time(1.1)
            assert list(await here.ledger.reports()) == [alive]

    run(test)


def test_nothing_is_kept_of_a_dead_worker(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        async with redis_backend.process() as here:
            dead, alive = make_report(), make_report()
            await here.ledger.report(dead)
            await redis_backend.pass_time(10.1)
            assert await redis_backend.keys() == []
            await here.ledger.report(alive)
            workers = f"{redis_backend.namespace}:{{ledger}}:workers"
            members = await redis_backend.say("ZRANGE", workers, 0, -1)
            assert members == [alive.worker.id.encode()]

    run(test)


def test_the_largest_report_is_small(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        largest = make_report(streams={make_id(): 100_000 for _ in range(REPORTED_STREAMS_MAX)})
        async with redis_backend.process() as here:
            await here.ledger.report(largest)
            assert list(await here.ledger.reports()) == [largest]
            key = f"{redis_backend.namespace}:{{ledger}}:report:{largest.worker.id}"
            size = await redis_backend.say("STRLEN", key)
            assert isinstance(size, int)
            assert size < 21_000

    run(test)
