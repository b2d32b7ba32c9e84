"""What every journal does. See `proxy.relay.ports.Journal`."""

import asyncio
import secrets

import msgspec

from proxy.relay.ports import Alive, Append, End, Outcome, Receipt, Ring
from proxy.stream import Ending, Event, Problem, State, StreamId, Usage, new_stream_id
from tests.contracts.backends import (
    Backend,
    Ear,
    append,
    create,
    make_append,
    make_birth,
    make_events,
    read_all,
    run,
)

WRITTEN = Outcome.WRITTEN

# --- appending ---------------------------------------------------------------------------------


def test_a_new_stream_is_known_everywhere_with_all_of_its_birth(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth(tag='a "tag" 🦊')
        async with backend.process() as here, backend.process() as there:
            await create(here.journal, birth)
            page = await there.journal.read(birth.id, 0)
            assert page is not None
            assert page.state.birth == birth
            assert (page.state.epoch, page.state.last_id, list(page.events)) == (1, 0, [])
            assert page.state.ending is None
            assert not page.state.is_erased

    run(test)


def test_events_are_read_back_byte_for_byte_from_every_place(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here, backend.process() as there:
            await create(here.journal, birth, 7)
            assert await append(here.journal, make_append(birth, 8, 20)) == Receipt(WRITTEN, 20)
            for after in range(21):
                assert await read_all(there.journal, birth.id, after) == make_events(after + 1, 20)

    run(test)


def test_a_place_beyond_the_end_reads_no_events(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth, 3)
            page = await here.journal.read(birth.id, 2**53 - 1)
            assert page is not None
            assert (page.state.last_id, list(page.events)) == (3, [])

    run(test)


def test_several_streams_are_appended_to_in_one_call(backend: Backend) -> None:
    async def test() -> None:
        births = [make_birth() for _ in range(50)]
        async with backend.process() as here:
            steps = [make_append(b, 1, n, with_birth=True) for n, b in enumerate(births)]
            receipts = await here.journal.append(steps)
            assert list(receipts) == [Receipt(WRITTEN, n) for n in range(50)]
            for n, birth in enumerate(births):
                assert await read_all(here.journal, birth.id) == make_events(1, n)

    run(test)


def test_an_append_whose_reply_was_lost_can_be_repeated(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            steps = [
                make_append(birth, 1, 3, with_birth=True),
                make_append(birth, 4, 6),
                make_append(birth, 7, 7, ending=Ending.COMPLETED),
            ]
            for step in steps:
                first = await append(here.journal, step)
                assert first.outcome is WRITTEN
                assert await append(here.journal, step) == first
            assert await read_all(here.journal, birth.id) == make_events(1, 7)

    run(test)


def test_events_that_are_there_already_are_passed_over(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth, 5)
            assert await append(here.journal, make_append(birth, 3, 9)) == Receipt(WRITTEN, 9)
            assert await append(here.journal, make_append(birth, 2, 4)) == Receipt(WRITTEN, 9)
            assert await read_all(here.journal, birth.id) == make_events(1, 9)

    run(test)


def test_a_gap_is_refused_and_told(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth, 5)
            gap = Receipt(Outcome.GAP, 5)
            assert await append(here.journal, make_append(birth, 7, 9)) == gap
            assert await append(here.journal, make_append(birth, 7)) == gap
            ending = make_append(birth, 7, 7, ending=Ending.COMPLETED)
            assert await append(here.journal, ending) == gap
            assert await read_all(here.journal, birth.id) == make_events(1, 5)

    run(test)


def test_a_stream_that_the_store_does_not_know_is_lost_until_its_birth_comes_again(
    backend: Backend,
) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            lost = Receipt(Outcome.LOST)
            assert await append(here.journal, make_append(birth, 3, 4, epoch=2)) == lost
            late = make_append(birth, 3, 4, epoch=2, with_birth=True)
            assert await append(here.journal, late) == Receipt(Outcome.GAP)
            assert await here.journal.read(birth.id, 0) is None
            whole = make_append(birth, 1, 4, epoch=2, with_birth=True)
            assert await append(here.journal, whole) == Receipt(WRITTEN, 4)
            (state,) = await here.journal.states([birth.id])
            assert state is not None
            assert state.epoch == 2

    run(test)


def test_another_epoch_is_fenced(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth, 2)
            for epoch in (0, 2):
                step = make_append(birth, 3, 3, epoch=epoch, with_birth=True)
                assert await append(here.journal, step) == Receipt(Outcome.FENCED, 2)
            assert await read_all(here.journal, birth.id) == make_events(1, 2)

    run(test)


def test_usage_content_and_problem_are_kept(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        usage = Usage(input_tokens=7, output_tokens=9, cached_input_tokens=1)
        problem = Problem(502, "c", 'm "é"', "p", 1.5, is_retryable=True, body=b"\xff{}\x00")
        async with backend.process() as here:
            await create(here.journal, birth)
            step = make_append(birth, 1, 1)
            await append(here.journal, msgspec.structs.replace(step, usage=usage, has_content=True))
            await append(here.journal, make_append(birth, 2, 2))
            end = End(Ending.FAILED, problem)
            await append(here.journal, Append(birth.id, 1, 3, make_events(3, 3), end=end))
            (state,) = await here.journal.states([birth.id])
            assert state is not None
            assert (state.usage, state.has_content) == (usage, True)
            assert (state.ending, state.problem) == (Ending.FAILED, problem)

    run(test)


# --- the end -----------------------------------------------------------------------------------


def test_a_stream_ends_once(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth, 2)
            await append(here.journal, make_append(birth, 3, 3, ending=Ending.COMPLETED))
            others = [
                make_append(birth, 4, 4),
                make_append(birth, 4),
                make_append(birth, 4, 4, ending=Ending.COMPLETED),
                make_append(birth, 3, 3, ending=Ending.FAILED),
            ]
            for other in others:
                assert await append(here.journal, other) == Receipt(Outcome.FENCED, 3)
            page = await here.journal.read(birth.id, 0)
            assert page is not None
            assert page.state.ending is Ending.COMPLETED
            assert tuple(page.events) == make_events(1, 3)
            ended_at, expires_at = page.state.ended_at, page.state.expires_at
            assert ended_at is not None
            assert expires_at is not None
            assert abs(expires_at - ended_at - birth.retention_s) < 0.01

    run(test)


def test_an_end_needs_no_event_of_its_own(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth, 2)
            step = make_append(birth, 3, ending=Ending.COMPLETED)
            assert await append(here.journal, step) == Receipt(WRITTEN, 2)
            assert await append(here.journal, step) == Receipt(WRITTEN, 2)

    run(test)


def test_after_its_retention_a_stream_is_a_tombstone(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth(retention_s=0.5)
        async with backend.process() as here:
            await create(here.journal, birth, 2)
            await append(here.journal, make_append(birth, 3, 3, ending=Ending.COMPLETED))
            assert await read_all(here.journal, birth.id) == make_events(1, 3)
            await backend.pass_time(0.6)
            page = await here.journal.read(birth.id, 0)
            (state,) = await here.journal.states([birth.id])
            assert page is not None
            assert state == page.state
            assert (state.is_erased, list(page.events)) == (True, [])
            assert (state.ending, state.last_id, state.birth) == (Ending.COMPLETED, 3, birth)

    run(test)


def test_with_no_retention_the_end_erases_but_the_bell_still_tells(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth(retention_s=0)
        ear = Ear()
        async with backend.process() as here, backend.process() as there:
            await create(here.journal, birth)
            await there.journal.watch(birth.id, ear.hear)
            end = make_append(birth, 1, 3, ending=Ending.COMPLETED)
            assert await append(here.journal, end) == Receipt(WRITTEN, 3)
            assert await append(here.journal, end) == Receipt(WRITTEN, 3)
            assert await ear.next() == Ring(make_events(1, 3), Ending.COMPLETED)
            page = await there.journal.read(birth.id, 0)
            assert page is not None
            assert (page.state.is_erased, list(page.events)) == (True, [])

    run(test)


def test_an_erased_stream_takes_nothing_and_is_remembered(backend: Backend) -> None:
    async def test() -> None:
        running, ended = make_birth(), make_birth()
        async with backend.process(lease_s=0) as here:
            await create(here.journal, running, 2)
            await create(here.journal, ended, 2)
            await append(here.journal, make_append(ended, 3, 3, ending=Ending.FAILED))
            for birth, ending, last_id in ((running, None, 2), (ended, Ending.FAILED, 3)):
                await here.journal.erase(birth.id)
                await here.journal.erase(birth.id)
                receipt = await append(here.journal, make_append(birth, 3, 4))
                assert receipt.outcome is Outcome.ERASED
                page = await here.journal.read(birth.id, 0)
                assert page is not None
                assert (page.state.is_erased, list(page.events)) == (True, [])
                assert (page.state.ending, page.state.last_id) == (ending, last_id)
            assert list(await here.journal.take_over([running.id, ended.id])) == [None, None]

    run(test)


def test_an_unknown_stream_is_none_everywhere_and_nothing_comes_of_asking(
    backend: Backend,
) -> None:
    async def test() -> None:
        stream = new_stream_id(secrets.token_bytes(20))
        async with backend.process() as here:
            await here.journal.ask_cancel(stream)
            await here.journal.attend(stream, "reader", 10)
            await here.journal.leave(stream, "reader")
            await here.journal.erase(stream)
            watch = await here.journal.watch(stream, Ear().hear)
            await watch.close()
            assert await here.journal.read(stream, 0) is None
            assert list(await here.journal.take_over([stream])) == [None]
            assert list(await here.journal.states([stream])) == [None]

    run(test)


def test_the_states_of_many_streams_come_in_their_order(backend: Backend) -> None:
    async def test() -> None:
        births = [make_birth() for _ in range(5)]
        async with backend.process() as here:
            for n, birth in enumerate(births):
                await create(here.journal, birth, n)
            unknown = new_stream_id(secrets.token_bytes(20))
            asked = [births[3].id, unknown, births[1].id, births[3].id]
            states = await here.journal.states(asked)
            assert [state and state.last_id for state in states] == [3, None, 1, 3]
            assert list(await here.journal.states([])) == []

    run(test)


# --- cancelling, readers, hints ----------------------------------------------------------------


def test_the_wish_to_cancel_reaches_the_producer_by_hint_and_by_receipt(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        hints: asyncio.Queue[StreamId] = asyncio.Queue()
        async with backend.process() as producing, backend.process() as other:
            producing.journal.on_hint(hints.put_nowait)
            await create(producing.journal, birth, 1)
            await other.journal.ask_cancel(birth.id)
            async with asyncio.timeout(10):
                assert await hints.get() == birth.id
            receipt = await append(producing.journal, make_append(birth, 2))
            assert receipt == Receipt(WRITTEN, 1, is_cancel_asked=True)
            (state,) = await other.journal.states([birth.id])
            assert state is not None
            assert state.is_cancel_asked

    run(test)


def test_a_stream_that_has_ended_cannot_be_cancelled(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth, 1)
            await append(here.journal, make_append(birth, 2, ending=Ending.COMPLETED))
            await here.journal.ask_cancel(birth.id)
            (state,) = await here.journal.states([birth.id])
            assert state is not None
            assert not state.is_cancel_asked

    run(test)


def test_readers_are_counted_over_all_processes_until_they_leave(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        hints: asyncio.Queue[StreamId] = asyncio.Queue()
        async with backend.process() as producing, backend.process() as other:
            producing.journal.on_hint(hints.put_nowait)
            await create(producing.journal, birth)
            renewal = make_append(birth, 1)
            assert (await append(producing.journal, renewal)).readers is None
            await producing.journal.attend(birth.id, "a", 10)
            await other.journal.attend(birth.id, "b", 10)
            await other.journal.attend(birth.id, "b", 20)
            assert (await append(producing.journal, renewal)).readers == 2
            await other.journal.leave(birth.id, "b")
            assert (await append(producing.journal, renewal)).readers == 1
            assert hints.empty()
            await producing.journal.leave(birth.id, "a")
            async with asyncio.timeout(10):
                assert await hints.get() == birth.id
            assert (await append(producing.journal, renewal)).readers == 0

    run(test)


def test_a_reader_that_does_not_renew_is_no_longer_counted(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth)
            await here.journal.attend(birth.id, "dies", 0.05)
            await here.journal.attend(birth.id, "stays", 10)
            await backend.pass_time(0.1)
            assert (await append(here.journal, make_append(birth, 1))).readers == 1
            await here.journal.attend(birth.id, "stays", 0.05)
            await backend.pass_time(0.1)
            assert (await append(here.journal, make_append(birth, 1))).readers == 0

    run(test)


def test_erasing_tells_the_producer_and_the_watchers_to_look(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        hints: asyncio.Queue[StreamId] = asyncio.Queue()
        ear = Ear()
        async with backend.process() as producing, backend.process() as other:
            producing.journal.on_hint(hints.put_nowait)
            await create(producing.journal, birth, 1)
            await other.journal.watch(birth.id, ear.hear)
            await other.journal.erase(birth.id)
            assert await ear.next() is None
            async with asyncio.timeout(10):
                assert await hints.get() == birth.id

    run(test)


# --- bells -------------------------------------------------------------------------------------


def test_bells_tell_what_was_written_in_order_and_end_with_the_end(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        ear = Ear()
        async with backend.process() as here, backend.process() as there:
            await create(here.journal, birth, 2)
            await there.journal.watch(birth.id, ear.hear)
            for n in range(3, 30):
                await append(here.journal, make_append(birth, n, n))
            await append(here.journal, make_append(birth, 30, 31, ending=Ending.CANCELLED))
            for n in range(3, 30):
                assert await ear.next() == Ring(make_events(n, n), None)
            assert await ear.next() == Ring(make_events(30, 31), Ending.CANCELLED)

    run(test)


def test_a_bell_rings_for_new_events_alone(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        ear = Ear()
        async with backend.process() as here:
            await create(here.journal, birth, 2)
            await here.journal.watch(birth.id, ear.hear)
            await append(here.journal, make_append(birth, 3))  # a renewal
            await append(here.journal, make_append(birth, 1, 2))  # a repetition
            await append(here.journal, make_append(birth, 9, 9))  # a gap
            await append(here.journal, make_append(birth, 2, 4))  # partly a repetition
            await append(here.journal, make_append(birth, 5, ending=Ending.COMPLETED))
            await append(here.journal, make_append(birth, 5, ending=Ending.COMPLETED))
            assert await ear.next() == Ring(make_events(3, 4), None)
            assert await ear.next() == Ring((), Ending.COMPLETED)
            assert ear.rings.empty()

    run(test)


def test_what_is_appended_right_after_watch_returns_is_not_missed(backend: Backend) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            for _ in range(50):
                birth, ear = make_birth(), Ear()
                await create(here.journal, birth)
                watch = await there.journal.watch(birth.id, ear.hear)
                await append(here.journal, make_append(birth, 1, 1))
                assert await ear.next() == Ring(make_events(1, 1), None)
                await watch.close()

    run(test)


def test_a_stream_can_be_watched_twice_and_each_watch_closed_alone(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        one, two = Ear(), Ear()
        async with backend.process() as here:
            await create(here.journal, birth)
            first, second = await asyncio.gather(
                here.journal.watch(birth.id, one.hear), here.journal.watch(birth.id, two.hear)
            )
            await append(here.journal, make_append(birth, 1, 1))
            assert await one.next() == await two.next() == Ring(make_events(1, 1), None)
            await first.close()
            await first.close()
            await append(here.journal, make_append(birth, 2, 2))
            assert await two.next() == Ring(make_events(2, 2), None)
            assert one.rings.empty()
            await second.close()
            third = await here.journal.watch(birth.id, one.hear)
            await append(here.journal, make_append(birth, 3, 3))
            assert await one.next() == Ring(make_events(3, 3), None)
            assert two.rings.empty()
            await third.close()

    run(test)


# --- leases ------------------------------------------------------------------------------------


def test_a_stream_is_taken_over_only_after_its_lease_has_run_out(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with (
            backend.process(lease_s=1) as dying,
            backend.process() as heir,
            backend.process() as late,
        ):
            await create(dying.journal, birth, 2)
            (alive,) = await heir.journal.take_over([birth.id])
            assert isinstance(alive, Alive)
            assert 0.4 < alive.lease_s <= 1
            await backend.pass_time(0.6)
            await append(dying.journal, make_append(birth, 3))
            await backend.pass_time(0.6)
            (alive,) = await heir.journal.take_over([birth.id])
            assert isinstance(alive, Alive)
            await backend.pass_time(0.6)
            (state,) = await heir.journal.take_over([birth.id])
            assert isinstance(state, State)
            assert (state.epoch, state.last_id, state.birth) == (2, 2, birth)
            (alive,) = await late.journal.take_over([birth.id])
            assert isinstance(alive, Alive)
            assert alive.lease_s > 10
            zombie = await append(dying.journal, make_append(birth, 3, 3))
            assert zombie == Receipt(Outcome.FENCED, 2)
            step = make_append(birth, 3, 3, epoch=2, ending=Ending.INTERRUPTED)
            assert await append(heir.journal, step) == Receipt(WRITTEN, 3)

    run(test)


def test_of_many_that_take_over_at_once_each_stream_has_one_heir(backend: Backend) -> None:
    async def test() -> None:
        births = [make_birth() for _ in range(20)]
        streams = [birth.id for birth in births]
        async with (
            backend.process(lease_s=0) as dead,
            backend.process() as one,
            backend.process() as two,
        ):
            for birth in births:
                await create(dead.journal, birth)
            taken = await asyncio.gather(
                *(process.journal.take_over(streams) for process in (one, two, one, two))
            )
            for heirs in zip(*taken, strict=True):
                assert sum(isinstance(state, State) for state in heirs) == 1

    run(test)


def test_hints_follow_a_stream_to_its_heir(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        hints: asyncio.Queue[tuple[str, StreamId]] = asyncio.Queue()
        async with backend.process(lease_s=0) as dead, backend.process() as heir:
            dead.journal.on_hint(lambda stream: hints.put_nowait(("dead", stream)))
            heir.journal.on_hint(lambda stream: hints.put_nowait(("heir", stream)))
            await create(dead.journal, birth)
            await heir.journal.take_over([birth.id])
            await dead.journal.ask_cancel(birth.id)
            async with asyncio.timeout(10):
                assert await hints.get() == ("heir", birth.id)

    run(test)


def test_a_stream_that_has_ended_is_not_taken_over(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process(lease_s=0) as here:
            await create(here.journal, birth)
            await append(here.journal, make_append(birth, 1, 1, ending=Ending.COMPLETED))
            assert list(await here.journal.take_over([birth.id])) == [None]

    run(test)


# --- sizes -------------------------------------------------------------------------------------


def test_a_page_is_bounded_but_never_empty_before_the_end(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        events = [Event(n, "", b"%d" % n) for n in range(1, 1201)]
        events.append(Event(1201, "big", b"x" * 3_000_000))
        events.extend(Event(n, "", b"y" * 200_000) for n in range(1202, 1212))
        async with backend.process() as here:
            await create(here.journal, birth)
            for start in range(0, len(events), 400):
                step = Append(birth.id, 1, start + 1, events[start : start + 400])
                assert (await append(here.journal, step)).outcome is WRITTEN
            page = await here.journal.read(birth.id, 0)
            assert page is not None
            assert 1 <= len(page.events) <= 500
            assert await read_all(here.journal, birth.id) == tuple(events)

    run(test)


# --- recipes -----------------------------------------------------------------------------------


def test_a_recipe_is_there_while_its_stream_runs_and_gone_in_the_step_that_ends_it(
    backend: Backend,
) -> None:
    async def test() -> None:
        async with backend.process() as here, backend.process() as there:
            for how in ("ended", "erased"):
                birth = make_birth()
                recipe = bytes(range(256))
                born = Append(birth.id, 1, 1, birth=birth, recipe=recipe)
                assert await append(here.journal, born) == Receipt(WRITTEN, 0)
                assert await append(here.journal, make_append(birth, 1, 3)) == Receipt(WRITTEN, 3)
                assert await there.journal.recipe(birth.id) == recipe
                if how == "ended":
                    end = Append(birth.id, 1, 4, end=End(Ending.COMPLETED))
                    assert await append(here.journal, end) == Receipt(WRITTEN, 3)
                else:
                    await here.journal.erase(birth.id)
                assert await there.journal.recipe(birth.id) is None

    run(test)


def test_a_stream_without_a_recipe_has_none(backend: Backend) -> None:
    async def test() -> None:
        birth = make_birth()
        async with backend.process() as here:
            await create(here.journal, birth)
            assert await here.journal.recipe(birth.id) is None
            assert await here.journal.recipe(make_birth().id) is None

    run(test)
