"""One try: a candidate is asked, and what it says goes to the writer.

Owns the deadlines of a provider and what is held back before the first content. It raises what went
wrong, and judges nothing; who asks again, and whom, is the producer's affair. The provider's
connection is closed when `run` returns.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from proxy.errors import CannotContinue, MidstreamError, ProviderTruncated
from proxy.observe.counts import Pace
from proxy.relay.estimate import Silence, asked_in, did_nothing, estimated, is_known, said_in
from proxy.relay.held_back import HeldBack
from proxy.relay.heritage import NOTHING, Heritage
from proxy.relay.legs import Legs
from proxy.relay.lifecycle import Phase
from proxy.relay.lines import Line
from proxy.relay.naming import Naming
from proxy.relay.ports import Deadline
from proxy.relay.work import Candidate, Part
from proxy.relay.writer import Writer
from proxy.stream import Ending, Frame, Usage
from proxy.wire.dialect import Dialect

_REARM_S = 1.0
"""How late an idle deadline may be noticed, at most: re-arming a timer for each token would
cost more than parsing it."""


class Try:
    """See the module. Times are the loop's. `on_spoken` is called at its first content."""

    def __init__(
        self,
        writer: Writer,
        legs: Legs,
        candidate: Candidate,
        part: Part,
        naming: Naming,
        pace: Pace,
        dialect: Dialect,
        on_spoken: Callable[[], None],
        *,
        held_until: float,
        over_at: float,
        event_bytes_max: int,
        draw: Callable[[], float],
        tell_mended: Callable[[float], None],
        heritage: Heritage = NOTHING,
    ) -> None:
        self.candidate = candidate
        self._writer = writer
        self._legs = legs
        self._request, self._translator = part
        self._naming = naming
        self._pace = pace
        self._dialect = dialect
        self._on_spoken = on_spoken
        self._has_spoken = False
        self._held_until = held_until
        self._over_at = over_at
        self._tell_mended = tell_mended
        self.line = Line(
            candidate.provider,
            self._request,
            event_bytes_max,
            now_ns=pace.now,
            draw=draw,
            begun_as=heritage.name,
        )
        self.line.on_named = legs.named
        self.line.on_mended = self._mended
        self._earlier = heritage.events
        self._retold = 0 if heritage.name else len(self._earlier)
        """How many of the earlier events it has told again."""
        self._after = 0 if heritage.name else writer.last_id
        self._deadline: Deadline = "first_event"
        self._silence = Silence(asyncio.get_running_loop().time())
        may_hold = held_until > asyncio.get_running_loop().time() and not self._earlier
        self._held = HeldBack(is_open=may_hold)
        self._timer: asyncio.TimerHandle | None = None
        self._overflow: MidstreamError | None = None
        self.failure: MidstreamError | None = None
        """What it failed of."""

    @property
    def is_written(self) -> bool:
        """Whether anything of it is, so that it cannot be forgotten."""
        return self._writer.last_id > self._after

    @property
    def has_retold(self) -> bool:
        """Whether it has told all again that was told before it."""
        return self._retold == len(self._earlier)

    @property
    def is_translated(self) -> bool:
        """Whether the provider's words are not the client's."""
        return self._request.dialect != self._dialect.name

    @property
    def has_content(self) -> bool:
        """Whether the model has said something."""
        return self._translator.has_content

    @property
    def is_complete(self) -> bool:
        """Whether the provider has said its last word."""
        return self._translator.is_complete

    async def run(self) -> None:
        """To the provider's terminator, or until the writer takes no more.

        Raises `ProviderError`, and what is a bug.
        """
        deadlines = self.candidate.provider.deadlines
        begun = asyncio.get_running_loop().time()
        try:
            first_at = begun + deadlines.first_event_s
            if first_at >= self._over_at:
                first_at, self._deadline = self._over_at, "total"
            async with asyncio.timeout_at(first_at) as timer:
                await self._read(timer)
        except TimeoutError as error:
            if not timer.expired():
                raise
            self.failure = deadlines.passed(self._deadline)
            raise self.failure from error
        except MidstreamError as error:
            self.failure = error
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _read(self, timer: asyncio.Timeout) -> None:
        """From the first byte to the terminator."""
        loop = asyncio.get_running_loop()
        idle_s = self.candidate.provider.deadlines.idle_s
        over_at = self._over_at
        rearm_at = 0.0
        async with self.line as line:
            async for frames in line:
                await self._take(frames, line.heard_ns)
                now = loop.time()
                self._silence.hear(now)
                if self._writer.phase is not Phase.OPEN:
                    return
                if line.failure is not None:
                    raise line.failure
                if now >= rearm_at:
                    self._deadline = "idle" if now + idle_s < over_at else "total"
                    timer.reschedule(min(now + idle_s + _REARM_S, over_at))
                    rearm_at = now + min(_REARM_S, idle_s)
                if not self._writer.room.is_set():
                    await self._wait_for_room(timer)
                    self._pace.paused()
                    rearm_at = 0.0
                    self._silence.skip(loop.time())  # the wait was none of the provider's
            if not self._translator.is_complete:
                self._end_of_body()

    async def _take(self, frames: Sequence[Frame], heard_ns: int) -> None:
        """Everything that came in one read, at that moment, goes into one append."""
        if self._naming.is_open:
            await self._naming.look(frames)
        self._hear(frames, heard_ns)
        if self._translator.has_content:
            self._pace.heard(heard_ns)
            if not self._has_spoken:
                self._has_spoken = True
                self._on_spoken()

    def _end_of_body(self) -> None:
        """It has ended in good order, without a terminator."""
        if not self.candidate.provider.may_leave_out_terminator:
            raise ProviderTruncated
        add = self._add
        for own in self._translator.end_of_body():
            add(own)
        self._pass_on(self._pace.now())

    def _mended(self, away_s: float) -> None:
        self._legs.resumed()
        self._tell_mended(away_s)

    def _hear(self, frames: Sequence[Frame], heard_ns: int) -> None:
        if self._overflow is not None:
            raise self._overflow
        writer, translator = self._writer, self._translator
        add = self._add
        try:
            for frame in frames:
                for own in translator.hear(frame):
                    add(own)
                if translator.is_complete:
                    break
        finally:
            if self._held.is_open and (translator.has_content or self._held.is_full):
                self._let_go()
            if not self._held.is_open:
                self._legs.heard(translator.usage)
                writer.has_content = writer.has_content or translator.has_content
        self._pass_on(heard_ns)

    def _pass_on(self, heard_ns: int) -> None:
        """Write what was heard, or go on holding it back."""
        writer, translator = self._writer, self._translator
        if translator.is_complete:
            if self._held.is_open:
                self._let_go()
            self._legs.over(self.used(is_cut=False))
            writer.end(Ending.COMPLETED, None, (), heard_ns)
        elif not self._held.is_open:
            writer.flush(heard_ns)
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._held_until, partial(self._wait_no_longer, heard_ns))

    @property
    def _add(self) -> Callable[[Frame], None]:
        """Where what it says goes."""
        if self._held.is_open:
            return self._held.add
        return self._writer.add if self.has_retold else self._retell

    def _retell(self, frame: Frame) -> None:
        """What the journal has already must be what is told again, or nothing fits together."""
        if self.has_retold:
            self._writer.add(frame)
            return
        event = self._earlier[self._retold]
        if (event.name, event.data) != (frame.name, frame.data):
            raise CannotContinue("its provider tells it otherwise now")
        self._retold += 1

    def _wait_no_longer(self, heard_ns: int) -> None:
        """The first content takes too long. A timer's call: nobody would hear what it raised."""
        try:
            self._let_go()
        except MidstreamError as error:
            self._overflow = error
        self._legs.heard(self._translator.usage)
        self._writer.flush(heard_ns)

    def _let_go(self) -> None:
        """Write what was held back: from here on this try counts."""
        if self._timer is not None:
            self._timer.cancel()
        for frame in self._held.let_go():
            self._writer.add(frame)

    async def _wait_for_room(self, timer: asyncio.Timeout) -> None:
        """The store is behind: stop reading. That is no fault of the provider's."""
        self._deadline = "total"
        timer.reschedule(self._over_at)
        await self._writer.room.wait()

    def used(self, *, is_cut: bool) -> Usage | None:
        """What it has used, guessed as far as the provider has not said it: it says no more."""
        usage = self._translator.usage
        failure = self.failure
        may_have_worked = self.has_content or failure is None or not did_nothing(failure)
        if is_known(usage) or (usage is None and not may_have_worked):
            return usage
        writer = self._writer
        own = [*self._earlier, *writer.events][self._after :]
        said = said_in(own, self._dialect)
        now = asyncio.get_running_loop().time()
        return estimated(
            usage,
            asked_in(len(self._request.body), writer.birth),
            said,
            self._silence.unseen_s(now, said) if is_cut else 0.0,
            writer.birth,
        )
