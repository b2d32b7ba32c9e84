"""The one task that reads a provider and writes one journal.

It belongs to the stream, not to the request that started it: who reads, and whether anybody
does, it learns only from the store's receipts. It ends its stream exactly once, whatever
happens, and has closed the provider's connection when it returns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from proxy.errors import (
    CannotContinue,
    InternalError,
    MidstreamError,
    StoreFull,
    stream_problem,
)
from proxy.observe import Observer, Pace
from proxy.policy.quotas import Standing
from proxy.relay.lifecycle import Phase, Stop, is_detached
from proxy.relay.ports import Outcome
from proxy.relay.tries import Tries
from proxy.relay.work import Candidate, Work
from proxy.relay.writer import Writer
from proxy.stream import Ending, Problem, State
from proxy.wire.dialect import SoFar


class Producer:
    """See the module. `run` is the task; everything else may be called from outside."""

    def __init__(
        self,
        writer: Writer,
        work: Work,
        observer: Observer,
        pace: Pace,
        tries: Tries,
    ) -> None:
        self.writer = writer
        self.work = work
        self.finished = asyncio.Event()
        """Set when `run` has returned: the provider is closed, the ledger told."""
        self.standings: Sequence[Standing] = ()
        """What was left of each limit when it was admitted."""
        self._observer = observer
        self.pace = pace
        self._tries = tries
        self._is_silent = True
        self._task: asyncio.Task[None] | None = None
        self._stop: Stop | None = None
        self._empty_since: float | None = None
        writer.on_receipt = self._look_at_receipt

    # --- from outside -----------------------------------------------------------------------

    @property
    def candidate(self) -> Candidate:
        """Who is asked now."""
        return self._tries.candidate

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
            legs=writer.legs,
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
        try:
            await self._tries.run()
        except MidstreamError as error:
            if self._tries.is_broken_off or isinstance(error, CannotContinue):
                self._end_stopped(Stop(Ending.INTERRUPTED, "its worker died"))
            else:
                self._end_failed(error)
        except Exception as error:  # noqa: BLE001 - a task's root: a bug must still end the stream
            self._observer.internal_error(error)
            self._end_failed(InternalError())

    # --- how it ends ------------------------------------------------------------------------

    def _end_failed(self, error: MidstreamError) -> None:
        problem = error.problem()
        if self._tries.is_translated:
            problem = msgspec.structs.replace(problem, body=None)  # it is no error of the client's
        self._end(Ending.FAILED, problem)

    def _end_stopped(self, stop: Stop) -> None:
        stream = self.writer.birth.id
        self._end(stop.ending, stream_problem(stop.ending, stop.reason, stream))

    def _end(self, ending: Ending, problem: Problem) -> None:
        self._tries.close()
        writer = self.writer
        so_far = SoFar(writer.birth, writer.last_id, self._tries.events)
        writer.end(ending, problem, self.work.dialect.last_frames(ending, problem, so_far))
