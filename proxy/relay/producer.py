"""The one task that reads a provider and writes one journal.

It belongs to the stream, not to the request that started it: who reads, and whether anybody
does, it learns only from the store's receipts. It ends its stream exactly once, whatever
happens, and has closed the provider's connection when it returns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from proxy.errors import (
    InternalError,
    MidstreamError,
    ProviderTruncated,
    StoreFull,
    stream_problem,
)
from proxy.observe import Observer
from proxy.policy.quotas import Standing
from proxy.relay.estimate import Silence, did_nothing, estimated, is_known, said_in, tokens_in
from proxy.relay.lifecycle import Phase, Stop, is_detached
from proxy.relay.naming import Naming
from proxy.relay.ports import Deadline, Outcome
from proxy.relay.work import Candidate, Work
from proxy.relay.writer import Writer
from proxy.stream import Ending, Frame, Problem, State
from proxy.wire.dialect import SoFar
from proxy.wire.sse import Parser

_REARM_S = 1.0
"""How late an idle deadline may be noticed, at most: re-arming a timer for each token would
cost more than parsing it."""


class Producer:
    """See the module. `run` is the task; everything else may be called from outside."""

    def __init__(
        self,
        writer: Writer,
        work: Work,
        observer: Observer,
        naming: Naming,
        *,
        event_bytes_max: int,
    ) -> None:
        self.writer = writer
        self.work = work
        self._candidate = work.candidates[0]
        self._translator = self._candidate.listen()
        self.finished = asyncio.Event()
        """Set when `run` has returned: the provider is closed, the ledger told."""
        self.standings: Sequence[Standing] = ()
        """What was left of each limit when it was admitted."""
        self._observer = observer
        self.pace = observer.stream_started(writer.birth)
        self._is_silent = True
        self._naming = naming
        self._event_bytes_max = event_bytes_max
        self._task: asyncio.Task[None] | None = None
        self._stop: Stop | None = None
        self._empty_since: float | None = None
        self._deadline: Deadline = "first_event"
        self._may_have_worked = False
        """Whether the provider may charge for it."""
        self._silence = Silence(0.0)
        writer.on_receipt = self._look_at_receipt

    # --- from outside -----------------------------------------------------------------------

    @property
    def candidate(self) -> Candidate:
        """Who is asked now."""
        return self._candidate

    def stop(self, ending: Ending, reason: str) -> None:
        """End the stream now; the provider is closed at once. Only the first call counts."""
        if self._stop is None and self.writer.phase is Phase.OPEN:
            self._stop = Stop(ending, reason)
            if self._task is not None:
                self._task.cancel()

    def state(self) -> State:
        """As the store has it: what is not accepted yet does not count."""
        writer = self.writer
        return State(
            birth=writer.birth,
            epoch=writer.epoch,
            last_id=writer.tail.last_id,
            ending=writer.tail.ending,
            usage=writer.usage,
            has_content=writer.has_content,
            is_cancel_asked=writer.receipt.is_cancel_asked,
        )

    def _look_at_receipt(self) -> None:
        receipt = self.writer.receipt
        self._tell_pace()
        if self.writer.phase is Phase.LOST:
            self._stop = self._stop or Stop(Ending.INTERRUPTED, "its lease was lost")
            if self._task is not None and not self.finished.is_set():
                self._task.cancel()
        elif receipt.outcome is Outcome.FULL:
            self.stop(Ending.INTERRUPTED, StoreFull.code)
        elif receipt.is_cancel_asked:
            self.stop(Ending.CANCELLED, "asked for")
        elif receipt.readers is not None:
            self._look_at_readers(receipt.readers)

    def _tell_pace(self) -> None:
        writer = self.writer
        if writer.accepted_heard_ns:
            self.pace.accepted(writer.accepted_heard_ns)
            writer.accepted_heard_ns = 0
            if self._is_silent and writer.has_content and writer.spoken.is_set():
                self._is_silent = False
                self.pace.spoke()

    def _look_at_readers(self, readers: int) -> None:
        now = asyncio.get_running_loop().time()
        if readers > 0:
            self._empty_since = None
            return
        if self._empty_since is None:
            self._empty_since = now
        if is_detached(self.writer.birth.detach.grace_s, readers, now - self._empty_since):
            self.stop(Ending.CANCELLED, "its last reader left")

    # --- the task ---------------------------------------------------------------------------

    async def run(self, after_end: Callable[["Producer"], Awaitable[None]]) -> None:
        """Produce to the end. Raises only the cancellation of the whole process.

        `after_end` is awaited once the store has the end (or the writer is lost).
        """
        self._task = asyncio.current_task()
        assert self._task is not None, "a producer is a task"
        try:
            if self._stop is None:
                await self._produce()
            else:
                self._end_stopped(self._stop)
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            self._task.uncancel()
            self._end_stopped(self._stop)
        self._task = None  # from here on nobody cancels it: the end has to be written
        await self.writer.done.wait()
        await after_end(self)
        self.finished.set()

    async def _produce(self) -> None:
        name = self._candidate.provider.name
        self._may_have_worked = True
        try:
            await self._listen()
        except MidstreamError as error:
            self._may_have_worked = self.writer.has_content or not did_nothing(error)
            self._observer.provider_failed(self.writer.birth.id, name, error)
            self._end_failed(error)
        except Exception as error:  # noqa: BLE001 - a task's root: a bug must still end the stream
            self._observer.internal_error(error)
            self._end_failed(InternalError())

    async def _listen(self) -> None:
        deadlines = self._candidate.provider.deadlines
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._silence = Silence(begun)
        over_at = begun + deadlines.total_s
        self._deadline = "first_event"
        try:
            first_at = begun + min(deadlines.first_event_s, deadlines.total_s)
            async with asyncio.timeout_at(first_at) as timer:
                await self._read(timer, over_at)
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise deadlines.passed(self._deadline) from error

    async def _read(self, timer: asyncio.Timeout, over_at: float) -> None:
        """From the first byte to the terminator."""
        loop = asyncio.get_running_loop()
        idle_s = self._candidate.provider.deadlines.idle_s
        parser = Parser(self._event_bytes_max)
        rearm_at = 0.0
        async with self._candidate.provider.stream(self._candidate.request) as chunks:
            async for chunk in chunks:
                heard_ns = self.pace.now()
                frames = parser.feed(chunk)
                if not frames:
                    continue
                if self._naming.is_open:
                    await self._naming.look(frames)
                self._hear(frames, heard_ns)
                if self.writer.has_content:
                    self.pace.heard(heard_ns)
                now = loop.time()
                self._silence.hear(now)
                if self.writer.phase is not Phase.OPEN:
                    return
                if now >= rearm_at:
                    self._deadline = "idle" if now + idle_s < over_at else "total"
                    timer.reschedule(min(now + idle_s + _REARM_S, over_at))
                    rearm_at = now + min(_REARM_S, idle_s)
                if not self.writer.room.is_set():
                    await self._wait_for_room(timer, over_at)
                    self.pace.paused()
                    rearm_at = 0.0
                    self._silence.skip(loop.time())  # the wait was none of the provider's
            parser.finish()
        raise ProviderTruncated

    def _hear(self, frames: Sequence[Frame], heard_ns: int) -> None:
        """Everything that came in one read, at that moment, goes into one append."""
        writer, translator = self.writer, self._translator
        try:
            for frame in frames:
                for own in translator.hear(frame):
                    writer.add(own)
                if translator.is_complete:
                    break
        finally:
            writer.usage = translator.usage
            writer.has_content = translator.has_content
        if translator.is_complete:
            self._count(is_cut=False)
            writer.end(Ending.COMPLETED, None, (), heard_ns)
        else:
            writer.flush(heard_ns)

    async def _wait_for_room(self, timer: asyncio.Timeout, over_at: float) -> None:
        """The store is behind: stop reading. That is no fault of the provider's."""
        self._deadline = "total"
        timer.reschedule(over_at)
        await self.writer.room.wait()

    # --- how it ends ------------------------------------------------------------------------

    def _end_failed(self, error: MidstreamError) -> None:
        problem = error.problem()
        if self._candidate.request.dialect != self.work.dialect.name:
            problem = msgspec.structs.replace(problem, body=None)  # it is no error of the client's
        self._end(Ending.FAILED, problem)

    def _end_stopped(self, stop: Stop) -> None:
        stream = self.writer.birth.id
        self._end(stop.ending, stream_problem(stop.ending, stop.reason, stream))

    def _end(self, ending: Ending, problem: Problem) -> None:
        self._count(is_cut=True)
        writer = self.writer
        so_far = SoFar(writer.birth, writer.last_id, writer.events)
        writer.end(ending, problem, self.work.dialect.last_frames(ending, problem, so_far))

    def _count(self, *, is_cut: bool) -> None:
        """Guess what the provider has not said of its usage: from now on it says no more."""
        writer = self.writer
        if is_known(writer.usage) or (writer.usage is None and not self._may_have_worked):
            return
        asked = tokens_in(len(self._candidate.request.body))
        at_most = writer.birth.input_tokens_max
        said = said_in(writer.events, self.work.dialect)
        now = asyncio.get_running_loop().time()
        writer.usage = estimated(
            writer.usage,
            min(asked, at_most) if at_most else asked,  # pictures are long, and few tokens
            said,
            self._silence.unseen_s(now, said) if is_cut else 0.0,
            writer.birth,
        )
