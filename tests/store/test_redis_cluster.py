"""A real cluster that changes under a store that is open."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app import WallClock
from proxy.errors import ConfigInvalid, StoreUnavailable
from proxy.relay.ports import Outcome
from proxy.store.redis_ledger import RedisLedger
from proxy.store.redis_slots import slot_of_call, slot_of_tag
from proxy.store.redis_store import open_redis
from proxy.stream import Birth, StreamId
from tests.contracts.backends import (
    Ear,
    append,
    create,
    make_append,
    make_birth,
    make_events,
    read_all,
    run,
)
from tests.fleets import ClusterFleet, Instance, a_cluster, binary_of, until
from tests.store.conftest import opened


@pytest.fixture(scope="module", params=["valkey", "redis"])
def fleet(request: pytest.FixtureRequest) -> Iterator[ClusterFleet]:
    with (
        tempfile.TemporaryDirectory() as folder,
        a_cluster(Path(folder), request.param) as made,
    ):
        yield made


def births_on(fleet: ClusterFleet, instance: Instance, count: int) -> list[Birth]:
    """Streams whose slot a node has."""
    births: list[Birth] = []
    while len(births) < count:
        birth = make_birth()
        if fleet.owner(slot_of_tag(birth.id.encode())) is instance:
            births.append(birth)
    return births


def test_a_slot_is_the_one_that_the_cluster_says(fleet: ClusterFleet) -> None:
    for tag in ("ledger", make_birth().id, "é", "123456789"):
        key = f"n:{{{tag}}}:meta"
        slot = slot_of_call(f"*2\r\n$4\r\nEVAL\r\n$9\r\n{key}\r\n$3\r\n{{x}}\r\n".encode())
        assert slot == slot_of_tag(tag.encode())
        assert slot == fleet.primaries[0].say("CLUSTER", "KEYSLOT", key)
    assert slot_of_call(b"*1\r\n$4\r\nPING\r\n") is None
    assert slot_of_call(b"n:{}:x{y}") is None, "an empty tag is none"


def test_many_streams_on_all_nodes_are_answered_in_the_order_of_the_question(
    fleet: ClusterFleet,
) -> None:
    async def test() -> None:
        async with opened(fleet.url) as store:
            births = [make_birth() for _ in range(60)]
            assert len({store.journal.part(birth.id) for birth in births}) == 3
            receipts = await store.journal.append([make_append(b, with_birth=True) for b in births])
            assert {receipt.outcome for receipt in receipts} == {Outcome.WRITTEN}
            states = await store.journal.states([birth.id for birth in births])
            assert [state and state.birth for state in states] == births

    run(test)


def test_a_slot_that_has_moved_is_found_and_one_that_is_moving_puts_off_only_its_own(
    fleet: ClusterFleet,
) -> None:
    async def test() -> None:
        async with opened(fleet.url) as store:
            source, target, _ = fleet.primaries
            moving, other = births_on(fleet, source, 2)
            slot = slot_of_tag(moving.id.encode())
            for birth in (moving, other):
                await create(store.journal, birth, 2)
            source_id, target_id = (i.say("CLUSTER", "MYID") for i in (source, target))
            target.say("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            first: list[str] = source.say("CLUSTER", "GETKEYSINSLOT", slot, 1)
            for keys in (first, []):
                receipts = await store.journal.append(
                    [make_append(b, 3, 3) for b in (moving, other)]
                )
                assert [r.outcome for r in receipts] == [Outcome.MOVING, Outcome.WRITTEN]
                with pytest.raises(StoreUnavailable):
                    await store.journal.take_over([moving.id])
                if keys:
                    source.say("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            rest = source.say("CLUSTER", "GETKEYSINSLOT", slot, 9)
            source.say("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *rest)
            assert await read_all(store.journal, moving.id) == make_events(1, 2), "by ASK"
            target.say("SCRIPT", "FLUSH")
            assert await read_all(store.journal, moving.id) == make_events(1, 2), (
                "by ASK, unlearned"
            )
            for instance in (target, source, fleet.primaries[2]):
                instance.say("CLUSTER", "SETSLOT", slot, "NODE", target_id)
            receipt = await append(store.journal, make_append(moving, 3, 4))
            assert (receipt.outcome, receipt.last_id) == (Outcome.WRITTEN, 4)
            assert store.journal.part(moving.id) != store.journal.part(other.id)

    run(test)


def test_a_hint_reaches_its_worker_whichever_node_it_listens_to(fleet: ClusterFleet) -> None:
    async def test() -> None:
        async with opened(fleet.url) as store:
            hints: asyncio.Queue[StreamId] = asyncio.Queue()
            store.journal.on_hint(hints.put_nowait)
            for primary in fleet.primaries:
                (birth,) = births_on(fleet, primary, 1)
                await create(store.journal, birth)
                await store.journal.ask_cancel(birth.id)
                async with asyncio.timeout(5):
                    assert await hints.get() == birth.id

    run(test)


def test_bells_go_on_at_another_node_when_theirs_stands_still(fleet: ClusterFleet) -> None:
    async def test() -> None:
        async with opened(fleet.url) as store:
            ears = {}
            for primary in fleet.primaries:
                (birth,) = births_on(fleet, primary, 1)
                await create(store.journal, birth)
                ears[primary] = (birth, Ear())
                await store.journal.watch(birth.id, ears[primary][1].hear)
            silent = next(
                i for i in fleet.primaries if b"n:worker:w" in i.say("PUBSUB", "CHANNELS", "n:w*")
            )
            silent.freeze()
            try:
                for primary, (birth, ear) in ears.items():
                    assert await ear.next() is None, "look for yourself"
                    if primary is not silent:
                        await append(store.journal, make_append(birth, 1, 1))
                        ring = await ear.next()
                        assert ring is not None
                        assert ring.events == make_events(1, 1)
            finally:
                silent.thaw()
            until(lambda: all(fleet.is_well(primary) for primary in fleet.primaries))

    run(test)


def test_a_policy_that_may_throw_live_streams_away_is_warned_of_with_its_node(
    fleet: ClusterFleet,
) -> None:
    async def test() -> None:
        culprit = fleet.owner(0)
        culprit.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            async with opened(fleet.url) as store:
                (warning,) = store.warnings
                assert f"on 127.0.0.1:{culprit.port} is allkeys-lru" in warning
        finally:
            culprit.say("CONFIG", "SET", "maxmemory-policy", "noeviction")

    run(test)


def test_keys_that_do_not_share_a_slot_are_found_at_the_start(
    fleet: ClusterFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        monkeypatch.setattr(RedisLedger, "_claim", lambda *_: "n:{other}:claim")
        with pytest.raises(ConfigInvalid) as caught:
            async with opened(fleet.url):
                pass
        assert "servers that cannot serve: " in str(caught.value)
        assert "CROSSSLOT" in str(caught.value)

    run(test)


def test_a_right_that_is_missing_on_one_node_alone_is_found_at_the_start(
    fleet: ClusterFleet,
) -> None:
    async def test() -> None:
        every = ["on", ">pw", "~n:*", "&n:*", "+@all"]
        for primary in fleet.primaries:
            primary.say("ACL", "SETUSER", "mid", "reset", *every)
        known = fleet.url.replace("://", "://mid:pw@")
        async with opened(known) as store:
            assert store.warnings == ()
        fleet.primaries[2].say("ACL", "SETUSER", "mid", "-xadd")
        with pytest.raises(ConfigInvalid) as caught:
            async with opened(known):
                pass
        assert "its user may not run XADD" in str(caught.value)

    run(test)


def test_an_address_of_the_wrong_kind_is_refused_with_the_right_one(
    fleet: ClusterFleet, tmp_path: Path
) -> None:
    async def refusal(url: str) -> str:
        with pytest.raises(ConfigInvalid) as caught:
            await open_redis(url, namespace="n", worker="w", lease_s=5, clock=WallClock())
        return str(caught.value)

    async def test() -> None:
        assert "use redis+cluster://" in await refusal(
            f"redis://127.0.0.1:{fleet.primaries[0].port}"
        )
        alone = Instance(binary_of("valkey"), tmp_path, [])
        try:
            until(lambda: alone.say("PING"))
            told = await refusal(f"redis+cluster://127.0.0.1:{alone.port}")
            assert "cluster support disabled" in told
        finally:
            alone.end()

    run(test)
