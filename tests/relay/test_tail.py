import asyncio

from proxy.relay.ports import Ring
from proxy.relay.tail import Tail, bounded_batch
from proxy.stream import Ending, Event, StreamId

STREAM = StreamId("st_" + "0" * 26)


def events(first: int, last: int, size: int = 10) -> list[Event]:
    return [Event(n, "", b"x" * size) for n in range(first, last + 1)]


def ids(tail: Tail, after: int) -> list[int] | None:
    batch = tail.batch_after(after)
    return None if batch is None else [event.id for event in batch.events]


def test_a_cursor_gets_what_follows_it_and_nothing_else() -> None:
    tail = Tail(STREAM, last_id=0, is_local=True)
    tail.extend(events(1, 5), None)
    assert ids(tail, 0) == [1, 2, 3, 4, 5]
    assert ids(tail, 3) == [4, 5]
    assert ids(tail, 5) is None


def test_cursors_at_the_same_place_share_one_batch() -> None:
    tail = Tail(STREAM, last_id=0, is_local=True)
    tail.extend(events(1, 2), None)
    tail.extend(events(3, 4), None)
    assert tail.batch_after(2) is tail.batch_after(2)


def test_what_rings_twice_is_taken_once() -> None:
    tail = Tail(STREAM, last_id=0, is_local=False)
    tail.ring(Ring(events(1, 3), None))
    tail.ring(Ring(events(2, 5), None))
    assert ids(tail, 0) == [1, 2, 3, 4, 5]


def test_a_missed_ring_raises_a_doubt_and_leaves_no_gap() -> None:
    tail = Tail(STREAM, last_id=0, is_local=False)
    tail.ring(Ring(events(1, 3), None))
    tail.ring(Ring(events(5, 6), Ending.COMPLETED))
    assert tail.is_in_doubt
    assert tail.last_id == 3
    assert tail.ending is None


def test_a_doubt_raised_while_the_journal_is_read_stays() -> None:
    tail = Tail(STREAM, last_id=0, is_local=False)
    tail.ring(None)
    seen = tail.doubts
    tail.ring(None)
    tail.settle(seen)
    assert tail.is_in_doubt
    tail.settle(tail.doubts)
    assert not tail.is_in_doubt


def test_a_remote_tail_is_bounded_and_forgets_the_oldest() -> None:
    tail = Tail(STREAM, last_id=0, is_local=False)
    for n in range(1, 101):
        tail.ring(Ring(events(n, n, size=10_000), None))
    assert ids(tail, 0) is None
    assert ids(tail, 99) == [100]
    assert tail.last_id == 100


def test_a_batch_is_cut_before_it_grows_large_but_is_never_empty() -> None:
    large = events(1, 3, size=50_000)
    assert len(bounded_batch(large, 0, Ending.COMPLETED).events) == 1
    assert bounded_batch(large, 0, Ending.COMPLETED).ending is None
    assert bounded_batch(large, 2, Ending.COMPLETED).ending is Ending.COMPLETED
    assert len(bounded_batch(events(1, 1, size=10**6), 0, None).events) == 1


def test_every_waiter_is_woken_in_the_order_it_came() -> None:
    async def scenario() -> list[int]:
        tail = Tail(STREAM, last_id=0, is_local=True)
        woken: list[int] = []

        async def wait(n: int) -> None:
            future = asyncio.get_running_loop().create_future()
            tail.wait(future)
            await future
            woken.append(n)

        tasks = [asyncio.ensure_future(wait(n)) for n in range(5)]
        await asyncio.sleep(0)
        tail.extend(events(1, 1), None)
        await asyncio.gather(*tasks)
        return woken

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4]
