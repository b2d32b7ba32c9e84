"""All tries of one answer: one candidate after the other, until the answer is had, or cannot be.

Carries out what `attempts` decides, and writes down in the legs who was asked. What surprises: what
the journal has of an answer never goes away, so a try that has written something is not repeated;
the rest can be asked for instead, from whoever can take it up.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

import msgspec

from proxy.errors import CannotContinue, ProviderError
from proxy.observe import Observer, Pace
from proxy.relay.attempts import Attempts, Step
from proxy.relay.heritage import NOTHING, Heritage
from proxy.relay.legs import WORKER_DIED, Legs
from proxy.relay.lifecycle import Phase
from proxy.relay.listening import Try
from proxy.relay.naming import Naming
from proxy.relay.rests import Resting, Verdict, none_may
from proxy.relay.work import Candidate, Part, Rest, Work
from proxy.relay.writer import Writer
from proxy.stream import Ending, Event
from proxy.wire.dialect import Dialect


class Tries:
    """Of one stream. See the module."""

    def __init__(
        self,
        writer: Writer,
        work: Work,
        legs: Legs,
        attempts: Attempts,
        observer: Observer,
        pace: Pace,
        new_naming: Callable[[Dialect | None], Naming],
        has_room: Callable[[Candidate], Awaitable[bool]],
        resting: Resting,
        *,
        heritage: Heritage = NOTHING,
        event_bytes_max: int,
        draw: Callable[[], float],
        run_beside: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self._writer = writer
        self._work = work
        self._legs = legs
        self._attempts = attempts
        self._observer = observer
        self._pace = pace
        self._new_naming = new_naming
        self._has_room = has_room
        self._resting = resting
        self._heritage = heritage
        self._event_bytes_max = event_bytes_max
        self._draw = draw
        self._run_beside = run_beside
        self._try: Try | None = None
        self._place = 0
        self._is_translated = False
        self._held_until = 0.0

    @property
    def candidate(self) -> Candidate:
        """Who is asked now, or was last."""
        return self._work.candidates[self._place]

    async def run(self) -> None:
        """Have the answer made. Raises what the last try failed of, if none is left."""
        loop = asyncio.get_running_loop()
        held_until = self._held_until = loop.time() + self._work.hold_back_s
        over_at = loop.time() + self._work.total_s - self._heritage.age_s
        self._leave_dead()
        step, is_again = await self._first(), False
        part = self._part(step)
        while True:
            if isinstance(part, Rest):
                self._finish(part)
                return
            if self._heritage.name:
                self._legs.take_over()
            else:
                self._begin(step, is_again=is_again)
            trying = self._try = self._new_try(step, part, held_until, over_at)
            try:
                await trying.run()
            except ProviderError as error:
                following = await self._after(step, trying, error)
                if following is None:
                    raise
                is_again = following.place == step.place and not trying.is_written
                if not is_again:
                    self._give_up(trying)
                self._heritage = msgspec.structs.replace(self._heritage, name="", takes_up=False)
                part = self._part_after(following, error)
            else:
                if trying.is_complete and not trying.has_content:
                    self._resting.succeeded(trying.candidate)
                return
            await asyncio.sleep(following.wait_s)
            step = following

    def _leave_dead(self) -> None:
        """Nobody hears more of what the dead worker listened to, unless its provider keeps it."""
        heritage = self._heritage
        if heritage.legs and not heritage.name and not self._legs.newest.failure:
            self._legs.give_up(WORKER_DIED, heritage.lost)

    async def _first(self) -> Step:
        """Whom to ask first of those that do not rest. Raises `TargetsResting`.

        Raises `CannotContinue` for an heir, where all that do not rest have no room: what a new
        stream asks for is held before it begins.

        Whoever keeps the answer makes nothing anew, so it is asked for the rest even if it rests.
        """
        step, verdicts = self._attempts.step, list[Verdict]()
        if self._heritage.name:
            return step
        is_new = self._heritage is NOTHING
        while True:
            verdict = await self._resting.may(self._work.candidates[step.place])
            is_held = is_new and step.place == 0
            if verdict.may_be_asked and (is_held or await self._has_room_at(step)):
                return step
            verdicts.append(verdict)
            following = self._attempts.skip()
            if following is None and all(each.may_be_asked for each in verdicts):
                raise CannotContinue("no_room")
            if following is None:
                raise none_may(verdicts)
            step = following

    async def _has_room_at(self, step: Step) -> bool:
        return await self._has_room(self._work.candidates[step.place])

    async def _after(self, step: Step, trying: Try, error: ProviderError) -> Step | None:
        """What comes next; None if nothing does, and the failure is the stream's."""
        writer = self._writer
        self._observer.provider_failed(writer.birth.id, trying.candidate.provider.name, error)
        if writer.phase is not Phase.OPEN or writer.is_full:
            return None
        self._resting.failed(trying.candidate, error)
        following = self._attempts.after(
            error,
            is_written=trying.is_written,
            may_take_up=self._may_take_up,
            patience_s=self._patience_s,
        )
        while following is not None:
            verdict = await self._resting.may(self._work.candidates[following.place])
            is_other = following.place != step.place
            if verdict.may_be_asked and (not is_other or await self._has_room_at(following)):
                break
            following = self._attempts.skip()
        if following is not None:
            chosen = self._work.candidates[following.place]
            kind = "again" if following.place == step.place else "next"
            self._observer.asked_again(
                writer.birth,
                trying.candidate.name,
                chosen.name,
                "rest" if trying.is_written else kind,
                following.wait_s,
            )
        return following

    @property
    def _patience_s(self) -> float:
        """How long a response still waits to have a status; if it has one, there is no hurry."""
        left_s = self._held_until - asyncio.get_running_loop().time()
        return left_s if left_s > 0 else math.inf

    @property
    def _may_take_up(self) -> bool:
        """Whether what is written could be gone on with. Asking is cheap, beside the request."""
        return any(candidate.take_up is not None for candidate in self._work.candidates)

    def _part(self, step: Step) -> Part | Rest:
        candidate = self._work.candidates[step.place]
        if not step.takes_up:
            return Part(candidate.request, candidate.listen())
        assert candidate.take_up is not None, "a route's targets may all go on, or none"
        return candidate.take_up(self.events, self._legs.used_before)

    def _finish(self, rest: Rest) -> None:
        """Only the end was missing."""
        for frame in rest.frames:
            self._writer.add(frame)
        self._writer.end(Ending.COMPLETED, None, ())

    def _part_after(self, step: Step, failed: ProviderError) -> Part | Rest:
        """Raises the failure before it, where it cannot be gone on with."""
        try:
            return self._part(step)
        except CannotContinue as cannot:
            self._observer.not_taken_up(self._writer.birth, cannot.reason)
            raise failed from cannot

    def _begin(self, step: Step, *, is_again: bool) -> None:
        self._place = step.place
        if is_again:
            self._legs.again(step.wait_s)
        else:
            self._legs.begin(self.candidate, step.wait_s)
            self._pace.asks(self.candidate.provider.name)

    def _new_try(self, step: Step, part: Part, held_until: float, over_at: float) -> Try:
        dialect = self._work.dialect
        is_named = part.request.dialect == dialect.name and not step.takes_up
        candidate = self._work.candidates[step.place]
        return Try(
            self._writer,
            self._legs,
            candidate,
            part,
            self._new_naming(dialect if is_named else None),
            self._pace,
            dialect,
            partial(self._resting.succeeded, candidate),
            held_until=held_until,
            over_at=over_at,
            event_bytes_max=self._event_bytes_max,
            heritage=self._heritage,
            draw=self._draw,
            tell_mended=partial(
                self._observer.resumed_upstream,
                self._writer.birth,
                self._work.candidates[step.place].provider.name,
            ),
        )

    def _give_up(self, trying: Try) -> None:
        """Another is asked. What has said nothing that is written costs nothing."""
        assert trying.failure is not None, "it has failed"
        self._is_translated = trying.is_translated
        used = trying.used(is_cut=True) if trying.is_written else None
        self._legs.give_up(trying.failure.code, used)
        self._forsake(trying)
        self._try = None

    def _forsake(self, trying: Try) -> None:
        """Nobody wants what it would still say: a provider that keeps it need not make it.

        Whoever has lost the stream to another worker says nothing: that one may go on with it.
        """
        if trying.line.keeper is not None and self._writer.phase is not Phase.LOST:
            self._run_beside(trying.line.cancel())

    @property
    def events(self) -> Sequence[Event]:
        """All of the stream: those that another worker has written, and those of this one."""
        return [*self._heritage.events, *self._writer.events]

    @property
    def is_broken_off(self) -> bool:
        """Whether what a dead worker began could not be gone on with from its place."""
        if self._try is None:
            return self._heritage.takes_up
        return not self._try.has_retold

    # --- how it ends ------------------------------------------------------------------------

    @property
    def is_translated(self) -> bool:
        """Whether whoever was asked last speaks another dialect than the client."""
        return self._is_translated if self._try is None else self._try.is_translated

    def close(self) -> None:
        """The stream ends without the answer's own end: count what was used until then."""
        if self._try is not None:
            self._legs.over(self._try.used(is_cut=True))
            self._forsake(self._try)
