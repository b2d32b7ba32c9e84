"""To take up an answer: another request goes on with it, from the text so far.

Owns what may be gone on with, what is asked for the rest, and how the rest is told, so that the
client sees one answer: one beginning, one set of ids, one end, one usage. Pure. Knows no dialect
but by its contract. What surprises: nothing is gone on with that one model alone could make, or
that a seam would make untrue (D28); and an answer that lacks only its terminator is ended without
asking anybody.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from proxy.errors import CannotContinue, ProviderGarbled, ProviderTruncated, ProviderUntranslatable
from proxy.stream import Event, Frame, Usage
from proxy.wire.answer import (
    Began,
    Cited,
    Closed,
    Counted,
    Making,
    Opened,
    PartKind,
    Said,
    Step,
    Telling,
)
from proxy.wire.dialect import Ask, Dialect, Translator
from proxy.wire.seam import Seam
from proxy.wire.translation import Translation

_TOKEN_BYTES = 4
"""Of text that no provider has counted. Chosen: as in `relay.estimate`."""
_OUTPUT_TOKENS_MIN = 16
"""What is left to be said at least. Documented: Responses takes no smaller bound."""
_CANNOT = {PartKind.TOOL: "tool_call", PartKind.REFUSAL: "refusal"}
"""Parts that nobody goes on with: half a call may have been acted on by a client that reads its
arguments as they come, and what a model refuses no other is asked to say after it."""


class Partial(NamedTuple):
    """An answer, as far as its client was told it."""

    has_begun: bool
    text: str
    """All words, of all its parts."""
    has_stopped: bool
    """Nothing is missing but the terminator, or what stands before it."""
    usage: Usage | None
    """As far as the client was told it."""


class Finish(NamedTuple):
    """What an answer lacks of which the model has said everything."""

    frames: Sequence[Frame]


class Continuation(NamedTuple):
    """What is asked of the provider that goes on, and what hears it."""

    ask: Ask
    translator: Translator


TakenUp: TypeAlias = Finish | Continuation


def take_up(
    ours: Dialect,
    theirs: Dialect,
    ask: Ask,
    anew: Ask,
    making: Making,
    model: str,
    events: Sequence[Event],
    *,
    prefill: bool | None = None,
    used: Usage | None = None,
) -> TakenUp:
    """How `model`, whose provider speaks `theirs`, goes on with an answer to `ask`.

    `events` is all of the journal, in `ours`. `anew` is what the model would be asked if nothing
    had been said yet, in its dialect and with its bound. With `prefill` the text so far is the
    beginning of its answer; without it an instruction follows; None leaves that to its dialect.
    `used` is what the providers before it have counted, where that is known better than by what
    the client was told. Raises `CannotContinue`.
    """
    so_far = said_so_far(ours, ask, events)
    try:
        telling = ours.telling(making, events)
    except (
        ProviderGarbled,
        RecursionError,
        ValueError,
    ) as error:  # a number of thousands of digits
        raise CannotContinue("unheard") from error
    if so_far.has_stopped:
        return Finish(telling.finish())
    field = ours.indivisible(ask)
    if field is not None:
        raise CannotContinue(field)
    counted = used or so_far.usage or Usage()
    asked, seam = anew, Seam("", may_repeat=False)
    if so_far.text.strip():
        asked, is_prefilled = theirs.continuing(anew, model, so_far.text, prefill)
        asked = _less(theirs, asked, so_far.text, counted)
        seam = Seam(so_far.text, may_repeat=not is_prefilled)
    heard = theirs.translator(msgspec.structs.replace(asked, wants_usage=True))
    going_on = _GoingOn(telling, seam, counted, has_begun=so_far.has_begun)
    return Continuation(asked, Translation(heard, theirs.hearing(), going_on))


def said_so_far(ours: Dialect, ask: Ask, events: Sequence[Event]) -> Partial:
    """What the client was told by these events. Raises `CannotContinue`."""
    heard, hearing = ours.translator(ask), ours.hearing()
    steps: list[Step] = []
    try:
        for event in events:
            frame = Frame(event.name, event.data)
            heard.hear(frame)
            steps += hearing.hear(frame)
    except (ProviderUntranslatable, ProviderGarbled, ProviderTruncated) as error:
        raise CannotContinue("unheard") from error
    if heard.is_complete:
        raise CannotContinue("complete")
    usage, has_stopped = heard.usage, _has_stopped(heard)
    if not has_stopped:
        _check(steps)
    return Partial(
        has_begun=any(isinstance(step, Began) for step in steps),
        text=_text(steps),
        has_stopped=has_stopped,
        usage=usage,
    )


def _has_stopped(heard: Translator) -> bool:
    """Whether all that was asked for has been said. Nothing more is heard then."""
    try:
        heard.end_of_body()
    except ProviderTruncated:
        return False
    return True


def _check(steps: Sequence[Step]) -> None:
    for step in steps:
        if isinstance(step, Opened) and step.kind in _CANNOT:
            raise CannotContinue(_CANNOT[step.kind])
        if isinstance(step, Cited):  # places in a text that another model goes on with
            raise CannotContinue("citations")


def _text(steps: Sequence[Step]) -> str:
    texts = {step.part for step in steps if isinstance(step, Opened) and step.kind is PartKind.TEXT}
    said = (step.text for step in steps if isinstance(step, Said) and step.part in texts)
    return "".join(said)


def _less(theirs: Dialect, asked: Ask, text: str, counted: Usage) -> Ask:
    """`asked`, with a bound that is smaller by what was said. Never larger than it was."""
    bound = theirs.bounded(asked, None).output_tokens
    bytes_said = len(text.encode("utf-8", "surrogatepass"))
    said = max(counted.output_tokens, -(-bytes_said // _TOKEN_BYTES))
    return theirs.bounded(asked, max(_OUTPUT_TOKENS_MIN, bound - said)).ask


class _GoingOn:
    """A `Telling` of the rest of an answer, in front of the one that told what is before it.

    It leaves out what would stand twice, and tells of all that was used, by the rest and `before`.
    """

    def __init__(self, telling: Telling, seam: Seam, before: Usage, *, has_begun: bool) -> None:
        self._telling = telling
        self._seam: Seam | None = seam
        self._seam_part: int | None = None
        """The part that begins at the seam: the first text."""
        self._before = before
        self._has_begun = has_begun

    def tell(self, step: Step) -> Sequence[Frame]:
        """See `Telling`."""
        tell, seam = self._telling.tell, self._seam
        match step:
            case Counted(usage):
                return tell(Counted(added(self._before, usage)))
            case Began():
                if self._has_begun:
                    return ()
                self._has_begun = True
            case Opened(part, kind):
                if kind is PartKind.TEXT and seam is not None and self._seam_part is None:
                    self._seam_part = part
            case Said(part, text) if part == self._seam_part and seam is not None:
                new = seam.hear(text)
                return tell(Said(part, new)) if new else ()
            case Cited(part) if part == self._seam_part and seam is not None:
                return tell(_moved(step, seam.left_out))
            case Closed(part) if part == self._seam_part and seam is not None:
                self._seam = None
                rest = seam.finish()
                return [*(tell(Said(part, rest)) if rest else ()), *tell(step)]
        return tell(step)

    def finish(self) -> Sequence[Frame]:
        """See `Telling`."""
        return self._telling.finish()


def _moved(cited: Cited, chars: int) -> Cited:
    """Places in a text of which so many characters at its beginning were left out."""

    def moved(place: int | None) -> int | None:
        return None if place is None else max(0, place - chars)

    return msgspec.structs.replace(cited, start=moved(cited.start), end=moved(cited.end))


def added(one: Usage, other: Usage) -> Usage:
    """What both have used together."""
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_input_tokens=one.cached_input_tokens + other.cached_input_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        is_estimate=one.is_estimate or other.is_estimate,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
    )
