"""The memory store is the specification: whatever is done to both, Redis says the same.

Time stands still but for two choices that need no waiting: a lease, an attendance or a
retention has run out as soon as it begins, or never does.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.relay.ports import Append, End, Journal, Page, Ring
from proxy.stream import Birth, Ending, Problem, State, StreamId, Usage, new_stream_id
from tests.contracts.backends import (
    LONG_S,
    Backend,
    MemoryBackend,
    RedisBackend,
    create,
    make_birth,
    make_events,
    run,
)

LEASES_S = (0.0, LONG_S)
"""Of the two processes: one is as good as dead after each append."""


class Step(msgspec.Struct, frozen=True):
    """One thing that one process does with one stream."""

    what: str
    process: int
    stream: int
    offset: int
    """From the place or the epoch that would be right."""
    count: int
    with_birth: bool
    ending: Ending
    usage: Usage | None
    reader: str
    is_lasting: bool


STEPS = st.builds(
    Step,
    what=st.sampled_from(
        ["append"] * 6
        + ["end", "epoch", "read", "states", "take_over", "cancel", "erase", "attend", "leave"]
    ),
    process=st.sampled_from([0, 1]),
    stream=st.sampled_from([0, 1, 2]),
    offset=st.sampled_from([0, 0, 0, -1, -2, 1]),
    count=st.integers(0, 3),
    with_birth=st.booleans(),
    ending=st.sampled_from(Ending),
    usage=st.none() | st.builds(Usage, input_tokens=st.integers(0, 9)),
    reader=st.sampled_from(["a", "b"]),
    is_lasting=st.booleans(),
)


class Side:
    """One store, in two processes, with everything that it was heard to say."""

    def __init__(self, journals: Sequence[Journal], births: Sequence[Birth]) -> None:
        self.journals = journals
        self.births = births
        self.said: list[object] = []
        self.rings: list[tuple[StreamId, Ring | None]] = []
        self.hints: list[tuple[int, StreamId]] = []

    async def begin(self) -> None:
        """The first two streams exist and are watched; the third is unknown."""
        for process, journal in enumerate(self.journals):
            journal.on_hint(lambda stream, process=process: self.hints.append((process, stream)))  # type: ignore[misc]
        for birth in self.births[:2]:
            await create(self.journals[0], birth, 2)
            await self.journals[1].watch(
                birth.id,
                lambda ring, stream=birth.id: self.rings.append((stream, told(ring))),  # type: ignore[misc]
            )

    async def take(self, step: Step) -> None:
        journal, birth = self.journals[step.process], self.births[step.stream]
        match step.what:
            case "append" | "end" | "epoch":
                self.said.extend(await journal.append([await self._append(step)]))
            case "read":
                page = await journal.read(birth.id, max(step.offset + step.count, 0))
                self.said.append(page and Page(timeless(page.state), tuple(page.events)))
            case "states":
                self.said.append(await self._states())
            case "take_over":
                taken = await journal.take_over([birth.id for birth in self.births])
                self.said.append(
                    [timeless(each) if isinstance(each, State) else each is None for each in taken]
                )
            case "cancel":
                await journal.ask_cancel(birth.id)
            case "erase":
                await journal.erase(birth.id)
            case "attend":
                await journal.attend(birth.id, step.reader, LONG_S if step.is_lasting else 0)
            case "leave":
                await journal.leave(birth.id, step.reader)

    async def _append(self, step: Step) -> Append:
        birth = self.births[step.stream]
        (state,) = await self.journals[0].states([birth.id])
        last_id, epoch = (0, 1) if state is None else (state.last_id, state.epoch)
        first_id = max(last_id + 1 + step.offset, 1)
        ends = step.what == "end"
        return Append(
            stream=birth.id,
            epoch=epoch + (step.offset if step.what == "epoch" else 0),
            first_id=first_id,
            events=make_events(first_id, first_id + step.count - 1),
            birth=birth if step.with_birth else None,
            end=End(step.ending, Problem(500, "c", "m")) if ends else None,
            usage=step.usage,
            has_content=step.usage is not None,
        )

    async def _states(self) -> list[State | None]:
        states = await self.journals[0].states([birth.id for birth in self.births])
        return [state and timeless(state) for state in states]

    async def finish(self) -> None:
        """Everything that is under way arrives before the answer to one more subscription."""
        for journal in self.journals:
            watch = await journal.watch(new_stream_id(secrets.token_bytes(20)), self.never)
            await watch.close()
        await asyncio.sleep(0)
        self.said.append(await self._states())

    @staticmethod
    def never(ring: Ring | None) -> None:
        pytest.fail(f"a stream that does not exist rang: {ring}")


def told(ring: Ring | None) -> Ring | None:
    return ring and Ring(tuple(ring.events), ring.ending)


def timeless(state: State) -> State:
    """The two stores have different clocks."""
    return msgspec.structs.replace(
        state,
        ended_at=None if state.ended_at is None else 1.0,
        expires_at=None if state.expires_at is None else 2.0,
    )


@settings(max_examples=60, deadline=None, database=None)
@given(steps=st.lists(STEPS, min_size=5, max_size=30), retention_s=st.sampled_from([0.0, LONG_S]))
def agree(url: str, steps: list[Step], retention_s: float) -> None:
    async def test() -> None:
        births = [make_birth(retention_s=kept_s) for kept_s in (LONG_S, retention_s, LONG_S)]
        async with AsyncExitStack() as stack:
            sides = [
                await open_side(stack, backend, births)
                for backend in (MemoryBackend(), RedisBackend(url))
            ]
            for side in sides:
                for step in steps:
                    await side.take(step)
                await side.finish()
        memory, redis = sides
        assert redis.said == memory.said
        assert redis.rings == memory.rings
        assert redis.hints == memory.hints

    run(test)


async def open_side(stack: AsyncExitStack, backend: Backend, births: Sequence[Birth]) -> Side:
    processes = [
        await stack.enter_async_context(backend.process(lease_s=lease_s)) for lease_s in LEASES_S
    ]
    side = Side([process.journal for process in processes], births)
    await side.begin()
    return side


def test_redis_says_what_the_specification_says(redis_backend: RedisBackend) -> None:
    agree(redis_backend.url)
