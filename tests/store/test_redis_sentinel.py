"""Real Sentinels: whom they call the master is found, asked, and followed."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.errors import ConfigInvalid, StoreUnavailable
from proxy.store.redis_store import RedisStore
from tests.contracts.backends import Ear, append, create, make_append, make_birth, make_events, run
from tests.fleets import SentinelFleet, behind_sentinel, until
from tests.store.conftest import opened


@pytest.fixture(params=["valkey", "redis"])
def fleet(request: pytest.FixtureRequest) -> Iterator[SentinelFleet]:
    with (
        tempfile.TemporaryDirectory() as folder,
        behind_sentinel(Path(folder), request.param) as made,
    ):
        yield made


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A Sentinel with a view of its own: on a port, it answers each question so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while question := await reader.read(1000):
                writer.write(answer(question))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def until_it_answers(store: RedisStore) -> None:
    while True:
        try:
            return await store.ping()
        except StoreUnavailable:
            await asyncio.sleep(0.02)


def test_calls_and_bells_follow_the_master(fleet: SentinelFleet) -> None:
    async def test() -> None:
        async with opened(fleet.url) as store:
            birth, ear = make_birth(), Ear()
            await create(store.journal, birth)
            await store.journal.watch(birth.id, ear.hear)
            meta = f"n:{{{birth.id}}}:meta"
            until(lambda: fleet.replica.say("HGET", meta, "watched"))
            fleet.sentinels[0].say("SENTINEL", "FAILOVER", "mymaster")
            await asyncio.to_thread(until, lambda: fleet.master_port() == fleet.replica.port)
            assert await ear.next() is None, "look for yourself"
            await until_it_answers(store)
            await append(store.journal, make_append(birth, 1, 1))
            ring = await ear.next()
            assert ring is not None
            assert ring.events == make_events(1, 1)
            assert fleet.replica.say("HGET", meta, "last") == b"1"

    run(test)


def test_sentinels_that_are_gone_or_stand_still_are_passed_over(fleet: SentinelFleet) -> None:
    async def test() -> None:
        fleet.sentinels[0].kill()
        fleet.sentinels[1].freeze()
        async with opened(fleet.url) as store:
            await store.ping()

    run(test)


def test_a_server_that_is_no_master_is_not_believed_to_be_one(fleet: SentinelFleet) -> None:
    async def test() -> None:
        def answer(_: bytes) -> bytes:
            port = str(fleet.replica.port).encode()
            return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port)

        async with answering(answer) as port:
            with pytest.raises(StoreUnavailable) as caught:
                async with opened(f"redis+sentinel://127.0.0.1:{port}/mymaster"):
                    pass
        assert "it says that it is a replica" in caught.value.reason

    run(test)


def test_what_no_sentinel_knows_is_said(fleet: SentinelFleet) -> None:
    async def test() -> None:
        place = fleet.url.removesuffix("/mymaster")
        with pytest.raises(StoreUnavailable) as caught:
            async with opened(f"{place}/other"):
                pass
        assert caught.value.reason.count("it knows no master other") == 3
        with pytest.raises(ConfigInvalid) as invalid:
            async with opened(f"redis://127.0.0.1:{fleet.sentinels[0].port}"):
                pass
        assert "use redis+sentinel://" in str(invalid.value)

    run(test)


def test_sentinels_with_a_password_of_their_own_are_given_it(fleet: SentinelFleet) -> None:
    async def test() -> None:
        for sentinel in fleet.sentinels:
            sentinel.say("ACL", "SETUSER", "asks", "on", ">p@ss", "allchannels", "+@all")
            sentinel.say("ACL", "SETUSER", "default", "off")
        own = "sentinel_username=asks&sentinel_password"
        with pytest.raises(StoreUnavailable) as caught:
            async with opened(f"{fleet.url}?{own}=wrong"):
                pass
        assert "WRONGPASS" in caught.value.reason
        async with opened(f"{fleet.url}?{own}=p%40ss") as store:
            await store.ping()

    run(test)
