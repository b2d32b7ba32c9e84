"""How a response fails: what a provider's events say of it, and what ours say.

A provider fails with ``response.failed``, or with an ``error`` event, flat or nested, after which
some send that too. We end with ``response.failed``, and a stream that was cancelled with
``response.incomplete``: they hold what was answered until then, under the id that the client
knows, because the SDKs take no other.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import ProviderReported
from proxy.stream import Ending, Frame, Problem
from proxy.wire.assembly import Object, encode
from proxy.wire.dialect import SoFar
from proxy.wire.json_text import ABSENT, says_nothing
from proxy.wire.openai_errors import reported
from proxy.wire.responses.fold import response_of

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
    body = _own_event(problem)
    if body is None:
        return (_last_frame(ending, problem, so_far, so_far.last_id),)
    if body[0] == "response.failed":
        return (Frame(*body),)
    return (Frame(*body), _last_frame(ending, problem, so_far, so_far.last_id + 1))


def _own_event(problem: Problem) -> tuple[str, bytes] | None:
    """Type and data of the event with which the provider failed, if it was one.

    The body of an HTTP error is none, and has no number.
    """
    body = problem.body
    if body is None:
        return None
    try:
        event = _event_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    is_own = event.type in {"error", "response.failed"} and event.sequence_number != ABSENT
    return (event.type, body) if is_own else None


def _last_frame(ending: Ending, problem: Problem, so_far: SoFar, number: int) -> Frame:
    response = _answered(so_far)
    is_cancelled = ending is Ending.CANCELLED
    if is_cancelled:
        response |= {"status": "cancelled", "error": None}
    else:
        error = {"code": problem.code or f"stream_{ending}", "message": problem.message}
        response |= {"status": "failed", "error": error}
    kind = "response.incomplete" if is_cancelled else "response.failed"
    event = {"type": kind, "sequence_number": number, "response": response}
    return Frame(kind, encode(event))


def _answered(so_far: SoFar) -> Object:
    """What was answered, if all of it is at hand and not too long; else only whose answer it is."""
    events, birth = so_far.events, so_far.birth
    is_whole = bool(events) and events[-1].id == so_far.last_id
    is_short = is_whole and sum(len(event.data) for event in events) <= _TOLD_BYTES_MAX
    try:
        return response_of(birth, events if is_short else events[:1])
    except (RecursionError, ValueError):
        return response_of(birth, ())
