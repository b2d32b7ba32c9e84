"""Servers of a store fail over, move slots or stand still in the middle of answers.

One worker produces, another one serves the same streams: whatever the store loses or says twice,
every reader sees every event once, and each stream completes.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from proxy.store.redis_slots import slot_of_tag
from tests.fleets import ClusterFleet, Instance, SentinelFleet, a_cluster, behind_sentinel
from tests.reading import Seen, ask, parse_sse, read_poll, session
from tests.server import RECORDINGS, Served, scripted, serving

STREAMS = 12
EVENTS_PER_S = 60
FROZEN_S = 10.0
LEASE_S = 2


def configured(url: str) -> str:
    return (
        f'[store]\nurl = "{url}"\ntimeout_s = 1.0\n'
        f"[streams]\nheartbeat_s = 0.5\nlease_s = {LEASE_S}\n"
        "[server]\ndrain_s = 1\n" + scripted("slow", model="slow", events_per_s=EVENTS_PER_S)
    )


def said() -> list[str]:
    raw = (RECORDINGS / "long.chat.sse").read_text()
    return [line[6:] for line in raw.split("\n") if line.startswith("data: ")]


class Reading(NamedTuple):
    """A stream that is read, and when each piece of it arrived."""

    stream: str
    arrivals: list[float]
    whole: "asyncio.Task[list[Seen]]"


async def _read(
    http: aiohttp.ClientSession, url: str, stream: str, arrivals: list[float]
) -> list[Seen]:
    """One connection from the first event to the last."""
    headers = {"Accept": "text/event-stream"}
    raw = b""
    async with http.get(f"{url}/v1/streams/{stream}/events", headers=headers) as answer:
        assert answer.status == 200
        async for chunk in answer.content.iter_any():
            raw += chunk
            if b"data: " in chunk:
                arrivals.append(time.monotonic())
    return parse_sse(raw)


@asynccontextmanager
async def answers(folder: Path, url: str) -> AsyncIterator[Sequence[Reading]]:
    """Answers in the making at one worker, read at another. On leaving all must be whole."""
    with ExitStack() as stack:
        producing, other = (
            stack.enter_context(serving(folder, configured(url), name=name))
            for name in ("producing", "other")
        )
        async with session() as http:
            readings = []
            for _ in range(STREAMS):
                stream = await ask(http, producing.url, "slow/long")
                arrivals: list[float] = []
                whole = asyncio.ensure_future(_read(http, other.url, stream, arrivals))
                readings.append(Reading(stream, arrivals, whole))
            yield readings
            for reading in readings:
                seen = await reading.whole
                assert [each.id for each in seen] == list(range(1, len(seen) + 1))
                assert [each.data for each in seen] == said()
            for served in (producing, other):
                await _compare(http, served, readings)


async def _compare(
    http: aiohttp.ClientSession, served: Served, readings: Sequence[Reading]
) -> None:
    """The journal, read by a worker at the end, is what was seen; and it is complete."""
    for reading in readings:
        assert await read_poll(http, served.url, reading.stream, 0, None) == await reading.whole
        async with http.get(f"{served.url}/v1/streams/{reading.stream}") as answer:
            assert (await answer.json())["ending"] == "completed"


def last_ids(instance: Instance, readings: Sequence[Reading]) -> list[int]:
    """How far a server's journals have come."""
    return [
        int(instance.say("HGET", f"midstream:{{{reading.stream}}}:meta", "last") or 0)
        for reading in readings
    ]


def run(story: Coroutine[object, object, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story

    asyncio.run(bounded())


# --- primaries that die ---------------------------------------------------------------------------


def test_what_a_lagging_replica_lacks_when_it_takes_over_is_written_again(tmp_path: Path) -> None:
    async def story(fleet: SentinelFleet) -> None:
        async with answers(tmp_path, fleet.url) as readings:
            await asyncio.sleep(1.0)
            fleet.replica.say("CONFIG", "SET", "masterauth", "wrong")  # it does not get in again
            fleet.primary.say("CLIENT", "KILL", "TYPE", "replica")
            await asyncio.sleep(1.0)
            had = last_ids(fleet.primary, readings)
            fleet.primary.kill()
            has = last_ids(fleet.replica, readings)
            lost = [before - after for before, after in zip(had, has, strict=True)]
            assert min(lost) > EVENTS_PER_S / 3, "it lags"
        assert fleet.master_port() == fleet.replica.port

    with behind_sentinel(tmp_path / "store", "valkey") as fleet:
        run(story(fleet))


def test_a_primary_of_a_cluster_is_killed_and_its_replica_takes_over(tmp_path: Path) -> None:
    async def story(fleet: ClusterFleet) -> None:
        async with answers(tmp_path, fleet.url):
            await asyncio.sleep(1.5)
            fleet.primaries[0].kill()
        assert fleet.owner(0) is fleet.replicas[0]

    with a_cluster(tmp_path / "store", "valkey", has_replica=True) as fleet:
        run(story(fleet))


# --- slots that move ------------------------------------------------------------------------------


def test_the_slots_of_running_streams_are_moved_even_for_longer_than_a_lease(
    tmp_path: Path,
) -> None:
    async def move(fleet: ClusterFleet, reading: Reading, pause_s: float) -> None:
        slot = slot_of_tag(reading.stream.encode())
        target = await asyncio.to_thread(fleet.move, slot, pause_s)
        assert fleet.owner(slot) is target
        assert not reading.whole.done(), "it was moved while it ran"

    async def story(fleet: ClusterFleet) -> None:
        async with answers(tmp_path, fleet.url) as readings:
            await asyncio.sleep(0.5)
            for reading in readings[:4]:
                await move(fleet, reading, pause_s=0.02)
            await move(fleet, readings[4], pause_s=LEASE_S / 2)

    with a_cluster(tmp_path / "store", "redis") as fleet:
        run(story(fleet))


# --- primaries that stand still -------------------------------------------------------------------


def test_a_primary_that_stands_still_costs_time_and_in_a_cluster_only_its_own_streams(
    tmp_path: Path,
) -> None:
    """Both fleets live it through at the same time, to save some."""

    async def sentinels(fleet: SentinelFleet) -> None:
        async with answers(tmp_path / "sentinel", fleet.url):
            await asyncio.sleep(1.0)
            fleet.primary.freeze()
            await asyncio.sleep(FROZEN_S)
            fleet.primary.thaw()
        assert fleet.master_port() == fleet.replica.port

    async def cluster(fleet: ClusterFleet) -> None:
        async with answers(tmp_path / "cluster", fleet.url) as readings:
            owners = {r.stream: fleet.owner(slot_of_tag(r.stream.encode())) for r in readings}
            frozen = owners[readings[0].stream]
            await asyncio.sleep(1.0)
            begun = time.monotonic()
            frozen.freeze()
            await asyncio.sleep(FROZEN_S)
            frozen.thaw()
            over = time.monotonic()
        for reading in readings:
            gap_s = longest_gap_s(reading.arrivals, begun, over)
            if owners[reading.stream] is frozen:
                assert gap_s > FROZEN_S * 0.9
            else:
                assert gap_s < FROZEN_S / 2

    async def both(one: SentinelFleet, other: ClusterFleet) -> None:
        await asyncio.gather(sentinels(one), cluster(other))

    with (
        behind_sentinel(tmp_path / "one", "redis") as one,
        a_cluster(tmp_path / "other", "valkey") as other,
    ):
        run(both(one, other))


def longest_gap_s(arrivals: Sequence[float], begun: float, over: float) -> float:
    """How long nothing arrived, while something was still to come."""
    last = min(over, arrivals[-1])
    inside = [begun, *(at for at in arrivals if begun < at < last), last]
    return max((b - a for a, b in itertools.pairwise(inside)), default=0.0)
