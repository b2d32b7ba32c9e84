"""The small queue and the small event of a connection."""

import asyncio

import pytest

from proxy.downstream.websocket.waiting import Gate, Mailbox


def test_a_mailbox_gives_out_what_was_put_in_its_order() -> None:
    async def scenario() -> None:
        box = Mailbox[int]()
        reading = asyncio.create_task(box.get())
        await asyncio.sleep(0)
        assert box.empty()
        for item in (1, 2, 3):
            box.put_nowait(item)
        assert await reading == 1
        assert [await box.get(), await box.get()] == [2, 3]
        assert box.empty()

    asyncio.run(scenario())


def test_a_reader_that_gives_up_loses_nothing() -> None:
    async def scenario() -> None:
        box = Mailbox[int]()
        reading = asyncio.create_task(box.get())
        await asyncio.sleep(0)
        box.put_nowait(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await box.get() == 1

    asyncio.run(scenario())


def test_a_gate_lets_all_through_and_can_be_shut_again() -> None:
    async def scenario() -> None:
        gate = Gate()
        await gate.wait()
        gate.clear()
        waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert not any(task.done() for task in waiting)
        gate.set()
        await asyncio.gather(*waiting[1:])
        assert gate.is_set()
        gate.clear()
        assert not gate.is_set()

    asyncio.run(scenario())
