"""Lanes of the committer, in virtual time: what one part of the store does is not the others' loss."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from proxy.errors import StoreUnavailable
from proxy.relay.committer import Committer
from proxy.relay.ports import Append, Outcome, Receipt
from proxy.relay.tail import Tail
from proxy.relay.writer import Limits, Writer
from proxy.store.memory import MemoryJournal, MemoryStore
from proxy.stream import Birth, Ending, Frame, StreamId
from tests.simulation.virtual_loop import run
from tests.simulation.world import VirtualClock, silent_observer

GRACE_S = 30.0
TIMEOUT_S = 1.0


class PartedJournal(MemoryJournal):
    """A store of parts: a stream's is the first letter of its id, unless it was moved."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, lease_s=5.0)
        self.frozen: set[str] = set()
        self.moving: set[str] = set()
        self.moved: dict[StreamId, str] = {}
        self.batches: list[list[StreamId]] = []

    def part(self, stream: StreamId) -> str:
        return self.moved.get(stream, stream[0])

    async def append(self, appends: Sequence[Append]) -> Sequence[Receipt]:
        if any(self.part(append.stream) in self.frozen for append in appends):
            await asyncio.sleep(TIMEOUT_S)
            raise StoreUnavailable("frozen")
        await asyncio.sleep(0.001)
        self.batches.append([append.stream for append in appends])
        put_off = [Receipt(Outcome.MOVING) if a.stream in self.moving else None for a in appends]
        written = await super().append(
            [a for a, p in zip(appends, put_off, strict=True) if p is None]
        )
        rest = iter(written)
        return [each or next(rest) for each in put_off]


class Worker:
    def __init__(self) -> None:
        self.journal = PartedJournal(MemoryStore(VirtualClock()))
        self.committer = Committer(self.journal, silent_observer(), lease_s=5.0, grace_s=GRACE_S)

    async def write(self, name: str) -> Writer:
        """A new stream, whose first event is not written yet."""
        birth = Birth(
            id=StreamId(name),
            owner="o",
            dialect="openai.chat",
            model="m",
            provider="p",
            created_at=0.0,
            retention_s=60.0,
        )
        await MemoryJournal.append(self.journal, [Append(birth.id, 1, 1, birth=birth)])
        writer = Writer(
            birth,
            epoch=1,
            tail=Tail(birth.id, last_id=0, is_local=True),
            limits=Limits(event_bytes_max=1000, stream_bytes_max=10_000),
            on_ready=self.committer.ready,
        )
        self.committer.enlist(writer)
        say(writer)
        return writer


def say(writer: Writer) -> None:
    writer.add(Frame("", b"{}"))
    writer.flush()


def at_work(story: Callable[[Worker], Awaitable[None]]) -> None:
    async def lived() -> None:
        worker = Worker()
        tasks = [
            asyncio.ensure_future(worker.committer.run()),
            asyncio.ensure_future(worker.committer.keep_leases()),
        ]
        try:
            await story(worker)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    run(lived())


def test_a_part_that_stands_still_holds_up_no_other() -> None:
    async def story(worker: Worker) -> None:
        worker.journal.frozen.add("a")
        held, free = await worker.write("a1"), await worker.write("b1")
        for n in range(1, 21):
            await asyncio.sleep(1.0)
            assert free.tail.last_id == n
            say(free)
        assert held.tail.last_id == 0
        assert worker.committer.is_store_lost
        assert worker.committer.well_for_s <= TIMEOUT_S + 1.0, (
            "it is one store to who judges leases"
        )
        worker.journal.frozen.clear()
        await asyncio.sleep(2.0 + TIMEOUT_S)
        assert held.tail.last_id == 1
        assert not worker.committer.is_store_lost

    at_work(story)


def test_only_streams_of_a_part_that_stays_away_are_given_up() -> None:
    async def story(worker: Worker) -> None:
        worker.journal.frozen.add("a")
        held, free = await worker.write("a1"), await worker.write("b1")
        await asyncio.sleep(GRACE_S - 1)
        assert not held.done.is_set()
        await asyncio.sleep(5.0)
        assert held.done.is_set()
        assert held.tail.ending is None
        free.end(Ending.COMPLETED, None, ())
        await asyncio.sleep(1.0)
        assert free.tail.ending is Ending.COMPLETED
        assert not worker.committer.is_store_lost, "nothing waits for it any more"

    at_work(story)


def test_what_waits_for_a_part_goes_on_by_another_once_it_has_moved_there() -> None:
    async def story(worker: Worker) -> None:
        worker.journal.frozen.add("a")
        writer = await worker.write("a1")
        await asyncio.sleep(5.0)
        worker.journal.moved[writer.birth.id] = "b"
        await asyncio.sleep(1.0 + 2 * TIMEOUT_S)
        assert writer.tail.last_id == 1
        assert not worker.committer.is_store_lost

    at_work(story)


def test_a_stream_that_is_being_moved_is_put_off_and_nobody_may_judge_its_lease() -> None:
    async def story(worker: Worker) -> None:
        worker.journal.moving.add("a1")
        moving, other = await worker.write("a1"), await worker.write("a2")
        await asyncio.sleep(8.0)
        assert (moving.tail.last_id, other.tail.last_id) == (0, 1)
        assert worker.committer.well_for_s < 1.0
        worker.journal.moving.clear()
        await asyncio.sleep(0.5)
        assert moving.tail.last_id == 1

    at_work(story)


def test_what_is_ready_in_one_part_at_the_same_time_goes_in_one_batch() -> None:
    async def story(worker: Worker) -> None:
        for name in ("a1", "a2", "b1"):
            await worker.write(name)
        await asyncio.sleep(1.0)
        assert sorted(worker.journal.batches) == [["a1", "a2"], ["b1"]]

    at_work(story)


def test_a_lane_that_nobody_uses_is_taken_down_and_comes_back_when_it_is_needed() -> None:
    async def story(worker: Worker) -> None:
        writer = await worker.write("a1")
        writer.end(Ending.COMPLETED, None, ())
        await asyncio.sleep(400.0)
        assert len(asyncio.all_tasks()) == 3, "this one, and the committer's own two"
        again = await worker.write("a2")
        await asyncio.sleep(1.0)
        assert again.tail.last_id == 1

    at_work(story)
