"""What a store behind Redis's protocol promises beyond the ports."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.errors import ConfigInvalid, StoreFull, StoreUnavailable
from proxy.relay.ports import Admission, Append, Claim, Outcome, Receipt
from proxy.store.redis_link import Reply
from proxy.store.redis_node import load_scripts
from proxy.store.redis_store import open_redis
from proxy.stream import Birth, Ending, Event, State
from tests.contracts.backends import (
    LONG_S,
    Ear,
    Process,
    RedisBackend,
    append,
    create,
    make_append,
    make_birth,
    make_events,
    make_report,
    read_all,
    run,
)

DAY_MS = 86_400_000


def make_admission(birth: Birth, key: str | None = None) -> Admission:
    return Admission(
        stream=birth.id,
        owner=birth.owner,
        created_at=birth.created_at,
        keep_s=LONG_S,
        tag="tag with {braces} and spaces",
        claim=None if key is None else Claim(key, b"f" * 32),
    )


async def live_a_life(process: Process, birth: Birth, ending: Ending | None) -> None:
    """Everything that makes a key."""
    await process.ledger.admit(make_admission(birth, key=f"key {birth.id}"))
    await process.ledger.admit(make_admission(make_birth()))
    await create(process.journal, birth)
    await process.journal.attend(birth.id, "reader {x}", 5)
    await append(process.journal, make_append(birth, 1, 3))
    await process.journal.ask_cancel(birth.id)
    if ending is not None:
        await append(process.journal, make_append(birth, 4, 5, ending=ending))
    await process.ledger.overdue(10)
    await process.ledger.report(make_report(streams={birth.id: 1}))


# --- keys --------------------------------------------------------------------------------------


def test_every_key_expires_and_is_in_the_namespace(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        before = await redis_backend.say("DBSIZE")
        async with redis_backend.process(lease_s=0) as here:
            await live_a_life(here, make_birth(), None)
            await live_a_life(here, make_birth(), Ending.COMPLETED)
            await live_a_life(here, make_birth(retention_s=0), Ending.COMPLETED)
            erased = make_birth()
            await live_a_life(here, erased, None)
            await here.journal.erase(erased.id)
            taken = make_birth()
            await live_a_life(here, taken, None)
            assert isinstance((await here.journal.take_over([taken.id]))[0], State)
        keys = await redis_backend.keys()
        after = await redis_backend.say("DBSIZE")
        assert isinstance(before, int)
        assert after == before + len(keys)
        for key in keys:
            ttl_ms = await redis_backend.say("PTTL", key)
            assert isinstance(ttl_ms, int)
            assert 0 < ttl_ms < LONG_S * 1000 + 2 * DAY_MS, key

    run(test)


def test_the_keys_of_a_stream_share_a_slot_and_those_of_the_ledger_another(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process() as here:
            await live_a_life(here, birth, None)
        keys = await redis_backend.keys()
        tags = [re.search(r"\{(.*?)\}", key) for key in keys]
        assert {tag and tag[1] for tag in tags} == {birth.id, "ledger"}
        own = [key for key in keys if birth.id in key]
        assert [key.rpartition(":")[2] for key in own] == ["events", "meta", "readers"]

    run(test)


def test_nothing_that_a_user_says_is_part_of_a_key(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process() as here:
            await live_a_life(here, birth, None)
        for key in await redis_backend.keys():
            assert re.fullmatch(r"[a-z0-9_:{}-]+", key)
            assert "owner" not in key
            assert "tag" not in key
            assert "reader" not in key.replace(":readers", "")

    run(test)


def test_nothing_brings_keys_of_an_erased_stream_back(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process() as here:
            await create(here.journal, birth, 2)
            await here.journal.erase(birth.id)
            await here.journal.attend(birth.id, "reader", 5)
            await append(here.journal, make_append(birth, 3, 3, with_birth=True))
            await here.journal.watch(birth.id, Ear().hear)
            await here.journal.read(birth.id, 0)
        assert await redis_backend.keys() == [f"{redis_backend.namespace}:{{{birth.id}}}:meta"]

    run(test)


def test_events_go_with_the_retention_and_the_tombstone_a_day_later(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process() as here:
            await create(here.journal, birth, 1)
            await append(here.journal, make_append(birth, 2, 2, ending=Ending.COMPLETED))
        prefix = f"{redis_backend.namespace}:{{{birth.id}}}"
        events_ms = await redis_backend.say("PTTL", f"{prefix}:events")
        meta_ms = await redis_backend.say("PTTL", f"{prefix}:meta")
        assert isinstance(events_ms, int)
        assert isinstance(meta_ms, int)
        assert LONG_S * 1000 - 5000 < events_ms <= LONG_S * 1000
        assert abs(meta_ms - events_ms - DAY_MS) < 1000

    run(test)


def test_entries_are_plain_redis_stream_entries(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        birth = make_birth()
        events = [Event(1, "", b"one"), Event(2, "name", b"two")]
        async with redis_backend.process() as here:
            await create(here.journal, birth)
            await append(here.journal, Append(birth.id, 1, 1, events))
        key = f"{redis_backend.namespace}:{{{birth.id}}}:events"
        assert await redis_backend.say("XRANGE", key, "-", "+") == [
            [b"1-0", [b"data", b"one"]],
            [b"2-0", [b"data", b"two", b"name", b"name"]],
        ]

    run(test)


# --- memory ------------------------------------------------------------------------------------


@asynccontextmanager
async def full(backend: RedisBackend) -> AsyncIterator[None]:
    """While inside, the server is out of memory."""
    await backend.say("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        await backend.say("CONFIG", "SET", "maxmemory", 0)


def test_a_full_store_takes_endings_and_nothing_that_grows(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        births = [make_birth() for _ in range(3)]
        running, ending, erased = births
        async with redis_backend.process(lease_s=0) as here:
            for birth in births:
                await create(here.journal, birth, 2)
            await here.ledger.admit(make_admission(running))
            async with full(redis_backend):
                refused = [
                    make_append(running, 3, 3),
                    make_append(make_birth(), with_birth=True),
                    make_append(ending, 3, 3, ending=Ending.INTERRUPTED),
                ]
                outcomes = [receipt.outcome for receipt in await here.journal.append(refused)]
                assert outcomes == [Outcome.FULL, Outcome.FULL, Outcome.WRITTEN]
                with pytest.raises(StoreFull):
                    await here.ledger.admit(make_admission(make_birth(), key="k"))
                assert await here.ledger.find_claim("owner", "k") is None
                assert await read_all(here.journal, running.id) == make_events(1, 2)
                assert list(await here.ledger.overdue(10)) == [running.id]
                await here.ledger.settle(running.id)
                await here.journal.erase(erased.id)
                assert isinstance((await here.journal.take_over([running.id]))[0], State)
            step = make_append(running, 3, 3, epoch=2)
            assert await append(here.journal, step) == Receipt(Outcome.WRITTEN, 3)
            assert await read_all(here.journal, ending.id) == make_events(1, 3)

    run(test)


def test_events_that_were_evicted_are_written_again_by_a_living_producer(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process() as here:
            await create(here.journal, birth, 3)
            await redis_backend.say("DEL", f"{redis_backend.namespace}:{{{birth.id}}}:events")
            page = await here.journal.read(birth.id, 0)
            assert page is not None
            assert (page.state.last_id, page.state.is_erased) == (0, False)
            assert await append(here.journal, make_append(birth, 4)) == Receipt(Outcome.GAP, 0)
            await append(here.journal, make_append(birth, 1, 4))
            assert await read_all(here.journal, birth.id) == make_events(1, 4)

    run(test)


def test_a_stream_with_a_hole_does_not_end_before_it_is_filled(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process() as here:
            await create(here.journal, birth, 3)
            await redis_backend.say("DEL", f"{redis_backend.namespace}:{{{birth.id}}}:events")
            assert (await append(here.journal, make_append(birth, 4, 4))).outcome is Outcome.WRITTEN
            assert await read_all(here.journal, birth.id) == ()
            end = make_append(birth, 5, 5, ending=Ending.COMPLETED)
            assert await append(here.journal, end) == Receipt(Outcome.GAP, 0)
            whole = make_append(birth, 1, 5, ending=Ending.COMPLETED)
            assert await append(here.journal, whole) == Receipt(Outcome.WRITTEN, 5)
            assert await read_all(here.journal, birth.id) == make_events(1, 5)

    run(test)


def test_an_ended_stream_whose_events_were_evicted_is_gone(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process() as here:
            await create(here.journal, birth, 3)
            await append(here.journal, make_append(birth, 4, ending=Ending.COMPLETED))
            await redis_backend.say("DEL", f"{redis_backend.namespace}:{{{birth.id}}}:events")
            page = await here.journal.read(birth.id, 0)
            assert page is not None
            assert page.state.is_erased

    run(test)


# --- scripts and bells -------------------------------------------------------------------------


def test_a_server_that_has_forgotten_the_scripts_is_taught_again(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        births = [make_birth() for _ in range(5)]
        async with redis_backend.process() as here:
            for birth in births:
                await create(here.journal, birth)
            for n in range(1, 4):
                await redis_backend.say("SCRIPT", "FLUSH")
                receipts = await here.journal.append([make_append(b, n, n) for b in births])
                assert set(receipts) == {Receipt(Outcome.WRITTEN, n)}
            await redis_backend.say("SCRIPT", "FLUSH")
            assert await read_all(here.journal, births[0].id) == make_events(1, 3)

    run(test)


def test_a_bell_for_more_than_a_watcher_keeps_says_look(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        birth, ear = make_birth(), Ear()
        async with redis_backend.process() as here:
            await create(here.journal, birth)
            await here.journal.watch(birth.id, ear.hear)
            await append(here.journal, Append(birth.id, 1, 1, [Event(1, "", b"x" * 300_000)]))
            assert await ear.next() is None

    run(test)


def test_a_bell_whose_data_is_not_text_says_look(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        birth, ear = make_birth(), Ear()
        async with redis_backend.process() as here:
            await create(here.journal, birth)
            await here.journal.watch(birth.id, ear.hear)
            await append(here.journal, Append(birth.id, 1, 1, [Event(1, "", b"\xff\x00\xfe")]))
            assert await ear.next() is None
            assert await read_all(here.journal, birth.id) == (Event(1, "", b"\xff\x00\xfe"),)

    run(test)


def test_a_stream_that_the_store_lost_rings_again_once_it_is_written_again(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        birth, ear = make_birth(), Ear()
        async with redis_backend.process() as here:
            await create(here.journal, birth, 1)
            await here.journal.watch(birth.id, ear.hear)
            for what in ("meta", "events"):
                await redis_backend.say("DEL", f"{redis_backend.namespace}:{{{birth.id}}}:{what}")
            lost = Receipt(Outcome.LOST)
            assert await append(here.journal, make_append(birth, 2, 2)) == lost
            await append(here.journal, make_append(birth, 1, 2, with_birth=True))
            ring = await ear.next()
            assert ring is not None
            assert ring.events == make_events(1, 2)

    run(test)


async def take_over(backend: RedisBackend, birth: Birth, asked_ms: int) -> Reply:
    script = load_scripts()["take_over"]
    prefix = f"{backend.namespace}:{{{birth.id}}}"
    keys = [f"{prefix}:{what}" for what in ("meta", "events", "readers")]
    return await backend.say("EVALSHA", script.sha.decode(), 3, *keys, 1000, "control", asked_ms)


def test_a_take_over_that_was_asked_for_long_ago_does_nothing(redis_backend: RedisBackend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with redis_backend.process(lease_s=0) as here:
            await create(here.journal, birth)
            await here.journal.take_over([make_birth().id])  # teaches the script
            now = await redis_backend.say("TIME")
            assert isinstance(now, list)
            seconds = now[0]
            assert isinstance(seconds, bytes)
            assert await take_over(redis_backend, birth, (int(seconds) - 2) * 1000) is None
            assert await take_over(redis_backend, birth, (int(seconds) + 1) * 1000) is not None

    run(test)


# --- opening -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://x", "redis://x:port", "redis://x?surprise=1", "rediss://x?ssl_ca_certs=/no"]
)
def test_a_url_that_means_nothing_is_refused(url: str) -> None:
    async def test() -> None:
        with pytest.raises(ConfigInvalid):
            await open_redis(url, namespace="n", worker="w", lease_s=5)

    run(test)


@pytest.mark.parametrize("namespace", ["", "a{b}", "a b", "%d", "x" * 65])
def test_a_namespace_that_means_something_to_redis_is_refused(namespace: str) -> None:
    async def test() -> None:
        with pytest.raises(ConfigInvalid):
            await open_redis("redis://x", namespace=namespace, worker="w", lease_s=5)

    run(test)


def test_a_server_that_is_not_there_is_told_of_at_once() -> None:
    async def test() -> None:
        with pytest.raises(StoreUnavailable) as caught:
            await open_redis("unix:///nowhere/at.all", namespace="n", worker="w", lease_s=5)
        assert "nowhere" in caught.value.reason or "No such file" in caught.value.reason

    run(test)


def test_a_policy_that_may_throw_live_streams_away_is_warned_of(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        async def warnings() -> tuple[str, ...]:
            store = await open_redis(redis_backend.url, namespace="n", worker="w", lease_s=5)
            await store.ping()
            await store.close()
            return store.warnings

        assert await warnings() == ()
        await redis_backend.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            (warning,) = await warnings()
            assert "allkeys-lru" in warning
        finally:
            await redis_backend.say("CONFIG", "SET", "maxmemory-policy", "noeviction")

    run(test)


def test_a_user_with_a_password_and_a_database_are_part_of_the_url(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        await redis_backend.say("ACL", "SETUSER", "mid", "on", ">p@ss", "~*", "&*", "+@all")
        path = redis_backend.url.removeprefix("unix://")
        other = RedisBackend(f"unix://mid:p%40ss@{path}?db=3")
        birth = make_birth()
        async with other.process() as here:
            await create(here.journal, birth, 1)
            assert await read_all(here.journal, birth.id) == make_events(1, 1)
        assert len(await other.keys()) == 2
        redis_backend.namespace = other.namespace
        assert await redis_backend.keys() == []
        with pytest.raises(StoreUnavailable) as caught:
            await open_redis(
                f"unix://mid:wrong@{path}", namespace="n", worker="w", lease_s=5, timeout_s=1
            )
        assert "WRONGPASS" in caught.value.reason

    run(test)


def test_a_store_that_was_closed_refuses_and_leaves_no_connection(
    redis_backend: RedisBackend,
) -> None:
    async def test() -> None:
        before = await clients(redis_backend)
        store = await open_redis(redis_backend.url, namespace="n", worker="w", lease_s=5)
        birth = make_birth()
        await asyncio.gather(*(store.journal.read(birth.id, 0) for _ in range(30)))
        assert await clients(redis_backend) > before
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        async with asyncio.timeout(5):
            while await clients(redis_backend) > before:
                await asyncio.sleep(0.01)

    run(test)


async def clients(backend: RedisBackend) -> int:
    """How many connections the server has."""
    said = await backend.say("CLIENT", "LIST")
    assert isinstance(said, bytes)
    return len(said.splitlines())
