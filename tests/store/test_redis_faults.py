"""A server that is slow, frozen, gone or restarted: nothing is mixed up, nothing is doubled."""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Coroutine

import pytest

from proxy.app import WallClock
from proxy.errors import StoreUnavailable
from proxy.relay.ports import Outcome, Receipt, Ring
from proxy.store.embedded import EmbeddedServer
from proxy.store.redis_store import RedisStore, open_redis
from proxy.stream import Ending
from tests.contracts.backends import (
    Ear,
    RedisBackend,
    append,
    create,
    make_append,
    make_birth,
    make_events,
    read_all,
    run,
)
from tests.store.conftest import OpenServer


def on_a_store(
    open_server: OpenServer,
    test: Callable[[EmbeddedServer, RedisStore], Coroutine[object, object, None]],
    *,
    timeout_s: float = 5.0,
) -> None:
    async def with_store() -> None:
        async with open_server() as server:
            store = await open_redis(
                server.url,
                namespace="n",
                worker="w",
                lease_s=5,
                clock=WallClock(),
                timeout_s=timeout_s,
            )
            try:
                await test(server, store)
            finally:
                await store.close()

    run(with_store)


async def until_it_answers(store: RedisStore) -> None:
    while True:
        try:
            return await store.ping()
        except StoreUnavailable:
            await asyncio.sleep(0.01)


# --- cancellation ------------------------------------------------------------------------------


def test_a_call_that_is_cancelled_at_any_step_leaves_no_reply_to_the_next(
    open_server: OpenServer,
) -> None:
    async def test(_: EmbeddedServer, store: RedisStore) -> None:
        births = [make_birth(tag=f"tag {n}") for n in range(4)]
        for birth in births:
            await create(store.journal, birth, 3)
        for steps in range(25):
            cut = asyncio.create_task(store.journal.read(births[0].id, 0))
            for _step in range(steps):
                await asyncio.sleep(0)
            cut.cancel()
            pages = await asyncio.gather(*(store.journal.read(b.id, 0) for b in births))
            assert [page and page.state.birth for page in pages] == births
            await asyncio.gather(cut, return_exceptions=True)

    on_a_store(open_server, test)


def test_an_append_that_is_cancelled_at_any_step_can_be_repeated(open_server: OpenServer) -> None:
    async def test(_: EmbeddedServer, store: RedisStore) -> None:
        one, other = make_birth(), make_birth()
        for birth in (one, other):
            await create(store.journal, birth)
        for n in range(1, 26):
            cut = asyncio.create_task(append(store.journal, make_append(one, n, n)))
            for _step in range(n):
                await asyncio.sleep(0)
            cut.cancel()
            receipt = await append(store.journal, make_append(other, n, n))
            assert receipt == Receipt(Outcome.WRITTEN, n)
            assert await append(store.journal, make_append(one, n, n)) == receipt
            await asyncio.gather(cut, return_exceptions=True)
        assert await read_all(store.journal, one.id) == make_events(1, 25)

    on_a_store(open_server, test)


def test_in_a_storm_of_cancellations_everybody_gets_their_own_reply(
    open_server: OpenServer,
) -> None:
    rng = random.Random(7)

    async def test(_: EmbeddedServer, store: RedisStore) -> None:
        births = [make_birth(tag=f"secret of {n}") for n in range(20)]
        for n, birth in enumerate(births):
            await create(store.journal, birth, n)
        got = 0

        async def ask(n: int) -> None:
            nonlocal got
            while True:
                page = await store.journal.read(births[n].id, 0)
                assert page is not None
                assert page.state.birth == births[n]
                assert tuple(page.events) == make_events(1, n)
                states = await store.journal.states([births[n].id, births[0].id])
                assert [state and state.birth for state in states] == [births[n], births[0]]
                got += 1

        tasks = {n: asyncio.create_task(ask(n)) for n in range(20)}
        for _cut in range(400):
            n = rng.randrange(20)
            await asyncio.sleep(rng.random() * 0.002)
            assert not tasks[n].done(), "it saw what was not its own"
            tasks[n].cancel()
            tasks[n] = asyncio.create_task(ask(n))
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert got > 0

    on_a_store(open_server, test)


# --- a frozen server ---------------------------------------------------------------------------


def test_a_frozen_server_is_unavailable_in_time_and_nothing_is_doubled_after_it(
    open_server: OpenServer,
) -> None:
    async def test(server: EmbeddedServer, store: RedisStore) -> None:
        birth = make_birth()
        await create(store.journal, birth, 2)
        pid = await RedisBackend(server.url).pid()
        loop = asyncio.get_running_loop()
        step = make_append(birth, 3, 5)
        os.kill(pid, signal.SIGSTOP)
        try:
            for call in (
                lambda: store.journal.append([step]),
                lambda: store.journal.read(birth.id, 0),
                lambda: store.ledger.overdue(1),
                lambda: store.journal.watch(birth.id, lambda _: None),
                store.ping,
            ):
                begun = loop.time()
                with pytest.raises(StoreUnavailable):
                    await call()
                assert loop.time() - begun < 3
        finally:
            os.kill(pid, signal.SIGCONT)
        await until_it_answers(store)
        assert await append(store.journal, step) == Receipt(Outcome.WRITTEN, 5)
        assert await read_all(store.journal, birth.id) == make_events(1, 5)

    on_a_store(open_server, test, timeout_s=0.3)


def test_watchers_of_a_frozen_server_are_told_to_look_when_it_goes_on(
    open_server: OpenServer,
) -> None:
    async def test(server: EmbeddedServer, store: RedisStore) -> None:
        birth, ear = make_birth(), Ear()
        await create(store.journal, birth)
        await store.journal.watch(birth.id, ear.hear)
        pid = await RedisBackend(server.url).pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.8)  # as long as it takes to give a silent connection up
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await ear.next() is None
        await append(store.journal, make_append(birth, 1, 1))
        assert await ear.next() == Ring(make_events(1, 1), None)

    on_a_store(open_server, test, timeout_s=0.2)


# --- a server that goes away -------------------------------------------------------------------


def test_a_killed_server_comes_back_with_everything_and_all_goes_on(
    open_server: OpenServer,
) -> None:
    async def test(server: EmbeddedServer, store: RedisStore) -> None:
        births = [make_birth() for _ in range(10)]
        running, ear = births[0], Ear()
        for birth in births:
            await create(store.journal, birth, 5)
        await append(store.journal, make_append(births[1], 6, ending=Ending.COMPLETED))
        await store.journal.watch(running.id, ear.hear)
        os.kill(await RedisBackend(server.url).pid(), signal.SIGKILL)
        assert await ear.next() is None
        await until_it_answers(store)
        for birth in births:
            assert await read_all(store.journal, birth.id) == make_events(1, 5)
        step = make_append(running, 4, 8)
        assert await append(store.journal, step) == Receipt(Outcome.WRITTEN, 8)
        assert await ear.next() == Ring(make_events(6, 8), None)

    on_a_store(open_server, test)


def test_a_severed_subscription_is_made_again_and_every_watcher_told(
    open_server: OpenServer,
) -> None:
    async def test(server: EmbeddedServer, store: RedisStore) -> None:
        births = [make_birth() for _ in range(30)]
        ears = [Ear() for _ in births]
        for birth, ear in zip(births, ears, strict=True):
            await create(store.journal, birth)
            await store.journal.watch(birth.id, ear.hear)
        for n in (1, 2):
            await RedisBackend(server.url).say("CLIENT", "KILL", "TYPE", "pubsub")
            assert [await ear.next() for ear in ears] == [None] * 30
            await store.journal.append([make_append(birth, n, n) for birth in births])
            rings = [await ear.next() for ear in ears]
            assert rings == [Ring(make_events(n, n), None)] * 30

    on_a_store(open_server, test)


def test_connections_that_the_server_closed_are_not_used_again(open_server: OpenServer) -> None:
    async def test(server: EmbeddedServer, store: RedisStore) -> None:
        birth = make_birth()
        await create(store.journal, birth, 1)
        await asyncio.gather(*(store.journal.read(birth.id, 0) for _ in range(8)))
        await RedisBackend(server.url).say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for _ in range(10):
            page = await store.journal.read(birth.id, 0)
            assert page is not None
            assert tuple(page.events) == make_events(1, 1)

    on_a_store(open_server, test)
