"""A line that is cut is mended at a provider that keeps its answers, and nothing is heard twice."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from proxy.errors import (
    ProviderError,
    ProviderGarbled,
    ProviderRefused,
    ProviderTruncated,
    ProviderUnreachable,
)
from proxy.relay.lines import MEND_S, Line
from proxy.relay.ports import Kept, Place, UpstreamRequest
from proxy.stream import Frame
from tests.relay.charging import BODY, Told
from tests.simulation.virtual_loop import run

REQUEST = UpstreamRequest("openai.chat", "m", BODY)
WHOLE = [b"%d" % number for number in range(1, 21)]


class Keeping(Told):
    """Keeps the answer, whose events it numbers. Each line ends as the next of `ends` says."""

    def __init__(
        self, *ends: tuple[int, Exception | None], refusals: Sequence[Exception] = ()
    ) -> None:
        super().__init__(())
        self.ends = list(ends)
        self.refusals = list(refusals)
        self.resumed: list[Place] = []
        self.closed = 0
        self.name = "kept"
        self.says_name = True

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterable[bytes]]:
        self.asked.append(request)
        async with self._line(0) as line:
            yield line

    @asynccontextmanager
    async def resume(
        self, request: UpstreamRequest, name: str, place: Place
    ) -> AsyncIterator[AsyncIterable[bytes]]:
        assert (request, name) == (REQUEST, "one")
        self.resumed.append(place)
        if self.refusals:
            raise self.refusals.pop(0)
        async with self._line(int(place.event_id or 0)) as line:
            yield line

    async def cancel(self, request: UpstreamRequest, name: str) -> None:
        raise ProviderRefused(request.model, 404, message=name)

    def number_in(self, frame: Frame) -> int | None:
        del frame
        return None

    def name_in(self, frame: Frame) -> str | None:
        return "one" if frame.data == b"3" else None

    @asynccontextmanager
    async def _line(self, after: int) -> AsyncIterator[AsyncIterable[bytes]]:
        playing = self._play(after)
        try:
            yield Kept(playing, self, "one" if self.says_name else "")
        finally:
            await playing.aclose()
            self.closed += 1

    async def _play(self, after: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        count, error = self.ends.pop(0) if self.ends else (len(WHOLE), None)
        for number, data in enumerate(WHOLE[after : after + count], after + 1):
            yield b": \n\nid: %d\nda" % number
            yield b"ta: %b\n\n" % data
        if after + count < len(WHOLE):
            yield b"id: %d\ndata: torn" % (after + count + 1)
        if error is not None:
            raise error


def heard(provider: Told, *, begun_as: str = "") -> tuple[list[bytes], ProviderError | None, float]:
    """All that is heard, what it failed of, and how long it took."""

    async def story() -> tuple[list[bytes], ProviderError | None, float]:
        line = Line(provider, REQUEST, 1000, now_ns=lambda: 7, draw=lambda: 0.5, begun_as=begun_as)
        begun = asyncio.get_running_loop().time()
        frames: list[Frame] = []
        try:
            async with line:
                async for some in line:
                    assert some
                    assert line.heard_ns == 7
                    frames += some
                    if len(frames) >= len(WHOLE):
                        break
        except ProviderError as error:
            failure: ProviderError | None = error
        else:
            failure = None
        return [f.data for f in frames], failure, asyncio.get_running_loop().time() - begun

    return run(story())


@pytest.mark.parametrize("error", [ProviderTruncated(), None])
def test_a_line_that_is_cut_again_and_again_gives_every_frame_once(error: Exception | None) -> None:
    provider = Keeping((4, error), (1, error), (1, error), (9, error))
    frames, failure, took_s = heard(provider)
    assert frames == WHOLE
    assert failure is None
    assert [place.event_id for place in provider.resumed] == ["4", "5", "6", "15"]
    assert [place.frames for place in provider.resumed] == [4, 5, 6, 15]
    assert provider.closed == 5
    assert len(provider.asked) == 1
    assert took_s < 1


def test_a_line_that_is_cut_before_anything_was_heard_is_mended_too() -> None:
    provider = Keeping((0, ProviderTruncated()))
    assert heard(provider)[0] == WHOLE
    assert provider.resumed == [Place()]


def test_a_provider_that_restarts_may_refuse_for_a_while() -> None:
    away = ProviderUnreachable("p", "it is refused", was_asked=False)
    refusals = [away, ProviderRefused("p", 503), *[away] * 20]
    provider = Keeping((4, ProviderTruncated()), refusals=refusals)
    frames, failure, took_s = heard(provider)
    assert frames == WHOLE
    assert failure is None
    assert 10 < took_s < MEND_S


def test_who_stays_away_is_given_up_in_time_and_for_the_cut() -> None:
    away = ProviderUnreachable("p", "it is refused", was_asked=False)
    provider = Keeping((4, ProviderTruncated()), refusals=[away] * 1000)
    frames, failure, took_s = heard(provider)
    assert frames == WHOLE[:4]
    assert isinstance(failure, ProviderTruncated)
    assert MEND_S - 2 < took_s < MEND_S + 2


@pytest.mark.parametrize("status", [401, 404, 409, 410])
def test_who_has_not_got_the_rest_is_asked_once(status: int) -> None:
    provider = Keeping((4, ProviderTruncated()), refusals=[ProviderRefused("p", status)] * 9)
    _, failure, _ = heard(provider)
    assert isinstance(failure, ProviderTruncated)
    assert len(provider.resumed) == 1


def test_an_answer_that_has_ended_at_the_place_is_asked_for_once() -> None:
    provider = Keeping((4, ProviderTruncated()), refusals=[ProviderTruncated()] * 9)
    assert isinstance(heard(provider)[1], ProviderTruncated)
    assert len(provider.resumed) == 1


def test_what_cannot_be_read_is_not_asked_for_again() -> None:
    provider = Keeping((4, ProviderGarbled("nonsense")))
    assert isinstance(heard(provider)[1], ProviderGarbled)
    assert not provider.resumed


def test_a_name_that_comes_in_a_frame_is_found_there() -> None:
    early, late = Keeping((2, ProviderTruncated())), Keeping((3, ProviderTruncated()))
    early.says_name = late.says_name = False
    assert isinstance(heard(early)[1], ProviderTruncated)
    assert heard(late)[0] == WHOLE


def test_an_answer_that_has_begun_is_heard_from_its_start_and_not_asked_for_anew() -> None:
    provider = Keeping()
    assert heard(provider, begun_as="one")[0] == WHOLE
    assert not provider.asked
    assert provider.resumed == [Place()]


def test_a_provider_that_keeps_nothing_is_as_it_was() -> None:
    frames, failure, _ = heard(Told([b"1", b"2"], ProviderTruncated()))
    assert frames == [b"1", b"2"]
    assert isinstance(failure, ProviderTruncated)


@pytest.mark.parametrize("does", [Keeping, lambda: Told([b"1"])])
def test_a_cancel_that_is_refused_or_has_nobody_to_hear_it_is_no_failure(
    does: Callable[[], Told],
) -> None:
    async def story() -> None:
        line = Line(does(), REQUEST, 1000, now_ns=lambda: 0, draw=lambda: 0.5)
        async with line:
            async for _ in line:
                break
        await line.cancel()

    run(story())
