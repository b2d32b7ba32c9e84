"""How a response fails: what a provider's events say of it, and what ours say.

A provider fails with ``response.failed``, or with an ``error`` event, flat or nested, after which
some send that too. We end with ``response.failed``, and a stream that was cancelled with
``response.incomplete``: they hold what was answered until then, under the id that the client
knows, because the SDKs take no other.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderReported
from proxy.stream import Ending, Event, Frame, Problem
from proxy.wire.assembly import encode
from proxy.wire.dialect import SoFar
from proxy.wire.json_text import ABSENT, says_nothing
from proxy.wire.openai_errors import reported
from proxy.wire.responses.fold import response_of
from proxy.wire.responses.numbers import numbered

_TOLD_BYTES_MAX = 1024 * 1024
"""Of an answer that its last event holds once more. Chosen: some 10 ms; longer ones are heard."""


class _Response(msgspec.Struct, gc=False):
    error: msgspec.Raw = ABSENT


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    sequence_number: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    response: _Response | None = None


_event_decoder = msgspec.json.Decoder(_Event)


def failure(data: bytes) -> ProviderReported:
    """What an event says of which the type is ``error`` or ``response.failed``."""
    try:
        event = _event_decoder.decode(data)
    except msgspec.DecodeError:
        event = _Event()
    error = event.response.error if event.response else event.error
    if says_nothing(error):  # flat
        error = msgspec.Raw(data) if event.type == "error" else msgspec.Raw(b"{}")
    return reported(data, error)


def last_frames(ending: Ending, problem: Problem, so_far: SoFar) -> Sequence[Frame]:
    """See `Dialect.last_frames`. The provider's own words come first, or alone."""
    own = _own_event(problem, so_far.last_id)
    if own is None:
        return (_last_frame(ending, problem, so_far, so_far.last_id),)
    if own.name == "response.failed":
        return (own,)
    return (own, _last_frame(ending, problem, so_far, so_far.last_id + 1))


def _own_event(problem: Problem, number: int) -> Frame | None:
    """The event with which the provider failed, if it was one.

    The body of an HTTP error is none, and has no number.
    """
    if problem.body is None:
        return None
    try:
        event = _event_decoder.decode(problem.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    said = event.sequence_number
    if event.type not in {"error", "response.failed"} or said == ABSENT:
        return None
    is_right = bytes(said) == b"%d" % number
    return Frame(event.type, problem.body if is_right else numbered(problem.body, said, number))


def _last_frame(ending: Ending, problem: Problem, so_far: SoFar, number: int) -> Frame:
    is_cancelled = ending is Ending.CANCELLED
    kind = "response.incomplete" if is_cancelled else "response.failed"
    error = {"code": problem.code or f"stream_{ending}", "message": problem.message}
    outcome = {
        "status": "cancelled" if is_cancelled else "failed",
        "error": None if is_cancelled else error,
    }

    def told(events: Sequence[Event]) -> Frame:
        response = response_of(so_far.birth, events) | outcome
        event = {"type": kind, "sequence_number": number, "response": response}
        return Frame(kind, encode(event))

    try:
        return told(_to_tell(so_far))
    except (RecursionError, ValueError):  # what passes can be too deep, or too long a number, here
        return told(())


def _to_tell(so_far: SoFar) -> Sequence[Event]:
    """All events, if they are at hand and not too long; else only the one that says whose."""
    events = so_far.events
    is_whole = bool(events) and events[-1].id == so_far.last_id
    is_short = is_whole and sum(len(event.data) for event in events) <= _TOLD_BYTES_MAX
    return events if is_short else events[:1]
