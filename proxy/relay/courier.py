"""The one task that carries a passage to its provider, and the whole answer back.

It belongs to the passage, not to the request that asked for it. It ends with an answer, a failure,
or nothing where nobody wants it any more, and has closed the provider's connection by then.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from proxy.errors import InternalError, MidstreamError, ProviderGarbled
from proxy.observe import Observer
from proxy.policy.quotas import Ask, Limit, Standing
from proxy.relay.estimate import did_nothing, tokens_in
from proxy.relay.ports import Deadline, Provider, UpstreamRequest
from proxy.stream import Birth, Usage
from proxy.wire.passages import Passage, read_usage


class Load(msgspec.Struct, frozen=True):
    """What a courier has to do: whom to ask, for what; and what it may use, under which limits."""

    provider: Provider
    passage: Passage
    request: UpstreamRequest
    limits: Sequence[Limit] = ()
    ask: Ask = Ask()


class Courier:
    """See the module. `run` is the task; wait for `done`, then look at `outcome`."""

    def __init__(
        self, birth: Birth, load: Load, observer: Observer, *, answer_bytes_max: int
    ) -> None:
        self.birth = birth
        self.load = load
        self.standings: Sequence[Standing] = ()
        """What was left of each limit when it was admitted."""
        self.done = asyncio.Event()
        self.outcome: bytes | MidstreamError | None = None
        """The provider's answer, or why there is none; None if it was called off."""
        self.usage: Usage | None = None
        """What it has used; None if the provider did nothing."""
        self._observer = observer
        self._answer_bytes_max = answer_bytes_max
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._deadline: Deadline = "first_event"

    def stop(self, outcome: MidstreamError | None = None) -> None:
        """Come back now, with `outcome`; the provider is closed at once."""
        if not (self._is_stopped or self.done.is_set()):
            self._is_stopped = True
            self.outcome = outcome
            if self._task is not None:
                self._task.cancel()

    async def run(self) -> None:
        """Fetch the answer. Raises only the cancellation of the whole process."""
        self._task = asyncio.current_task()
        assert self._task is not None, "a courier is a task"
        try:
            if not self._is_stopped:
                await self._carry()
        except asyncio.CancelledError:
            if not self._is_stopped:
                raise
            self._task.uncancel()
            self.usage = self._guess()
        finally:
            self._task = None
            self.done.set()

    async def _carry(self) -> None:
        try:
            answer = await self._listen()
            self.usage = read_usage(self.load.passage, answer) or self._guess()
            self.outcome = answer
        except MidstreamError as error:
            self.usage = None if did_nothing(error) else self._guess()
            self.outcome = error
            self._observer.provider_failed(self.birth.id, self.birth.provider, error)
        except Exception as error:  # noqa: BLE001 - a task's root: a bug must still be answered
            self.usage = self._guess()
            self.outcome = InternalError()
            self._observer.internal_error(error)

    async def _listen(self) -> bytes:
        """The whole answer, within the provider's deadlines."""
        deadlines = self.load.provider.deadlines
        over_at = (begun := asyncio.get_running_loop().time()) + deadlines.total_s
        first_at = begun + deadlines.first_event_s
        self._deadline = "first_event" if first_at < over_at else "total"
        try:
            async with asyncio.timeout_at(min(first_at, over_at)) as timer:
                return await self._read(timer, over_at)
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise deadlines.passed(self._deadline) from error

    async def _read(self, timer: asyncio.Timeout, over_at: float) -> bytes:
        load, loop, answer = self.load, asyncio.get_running_loop(), bytearray()
        idle_s = load.provider.deadlines.idle_s
        async with load.provider.fetch(load.passage.name, load.request) as chunks:
            async for chunk in chunks:
                answer += chunk
                if len(answer) > self._answer_bytes_max:
                    raise ProviderGarbled(f"an answer of more than {self._answer_bytes_max} bytes")
                idle_at = loop.time() + idle_s
                self._deadline = "idle" if idle_at < over_at else "total"
                timer.reschedule(min(idle_at, over_at))
        return bytes(answer)

    def _guess(self) -> Usage | None:
        """What it has used, where the provider does not say."""
        if self.load.passage.is_free:
            return None
        return Usage(input_tokens=tokens_in(len(self.load.request.body)), is_estimate=True)
