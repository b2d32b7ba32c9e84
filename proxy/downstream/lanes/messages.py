"""What is said on a Responses WebSocket: OpenAI's messages, and one of ours, to resume.

Pure. A client's message is read as far as a proxy must understand it: the envelope is taken off,
and what is left of a create is the body of a POST, each field byte for byte. An event of the
journal is sent as it is; in a named lane, with the lane's name spliced in as its last field. What
surprises: an error is a message of its own here, with the status that it would have had over HTTP,
so no answer has to be held back until it is known whether it fails.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from proxy.downstream.websocket.messages import frame
from proxy.errors import InvalidLane, MalformedRequest
from proxy.stream import DONE, EVENT_ID_MAX, Event, Problem
from proxy.wire.dialect import Dialect
from proxy.wire.json_text import TRUE, Fields
from proxy.wire.responses.fold import blank

T = TypeVar("T")

_LANE = re.compile(r"[A-Za-z0-9_.-]{1,256}", re.ASCII)

# --- what a client says -------------------------------------------------------------------------


class Create(msgspec.Struct, frozen=True):
    """A new response."""

    fields: Fields
    """The body of the POST that would ask for the same."""
    idempotency_key: str | None
    previous_response_id: str | None
    is_stored: bool
    is_generated: bool
    """Else it only says beforehand what a later one follows from."""


class Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The events of a response that is there already: ours, for whoever lost the connection."""

    response_id: str
    starting_after: int | None = None
    """The `sequence_number` of the last event that came; without it, all from the first one."""

    @property
    def after(self) -> int:
        """As an event id: sequence numbers start at 0, event ids at 1."""
        return 0 if self.starting_after is None else self.starting_after + 1


class Steer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """More input for a response in the making."""

    previous_response_id: str
    input: msgspec.Raw


Said = Create | Resume | Steer


class _Envelope(msgspec.Struct):
    """Of a create: what the body of a POST has not, or has otherwise."""

    type: str
    stream_id: str | None = None
    idempotency_key: str | None = None
    stream: bool | None = None
    background: bool | None = None
    generate: bool | None = None


class _Known(_Envelope):
    """And what of the body matters to the connection."""

    previous_response_id: str | None = None
    store: bool | None = None


_ENVELOPE = frozenset(_Envelope.__struct_fields__)
_KNOWN = frozenset(_Known.__struct_fields__)

_FIELDS = msgspec.json.Decoder(Fields)


def read_fields(text: str) -> Fields:
    """Raises `MalformedRequest` for what is no JSON object."""
    try:
        return _FIELDS.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedRequest(f"This message cannot be read: {error}.") from error


def read_lane(fields: Fields) -> str | None:
    """The lane's name, or None for the one without a name. Raises `InvalidLane`."""
    if "stream_id" not in fields:
        return None
    try:
        lane = msgspec.json.decode(fields["stream_id"], type=str)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidLane from error
    if not _LANE.fullmatch(lane):
        raise InvalidLane
    return lane


def read_message(fields: Fields) -> Said:
    """Raises `MalformedRequest`, which names the field."""
    match bytes(fields.get("type", b"")):
        case b'"response.create"':
            return _create(fields)
        case b'"response.resume"':
            rest = {name: raw for name, raw in fields.items() if name not in {"type", "stream_id"}}
            said = _struct(rest, Resume)
            if said.starting_after is not None and not 0 <= said.starting_after < EVENT_ID_MAX:
                what = "starting_after must be a sequence number, which is a whole number from 0."
                raise MalformedRequest(what, param="starting_after")
            return said
        case b'"response.steer"':
            return _struct({name: raw for name, raw in fields.items() if name != "type"}, Steer)
        case _:
            known = "response.create, response.resume or response.steer"
            raise MalformedRequest(f"type must be {known}.", param="type")


def _create(fields: Fields) -> Create:
    """Without what belongs to the connection. A response is always streamed here."""
    envelope = _struct({name: fields[name] for name in _KNOWN if name in fields}, _Known)
    if envelope.stream is False:
        raise MalformedRequest("Responses on a WebSocket are always streamed.", param="stream")
    if envelope.background:
        what = "background has no meaning on a WebSocket: a response goes on without its reader."
        raise MalformedRequest(what, param="background")
    body = {name: raw for name, raw in fields.items() if name not in _ENVELOPE}
    return Create(
        fields={**body, "stream": TRUE},
        idempotency_key=envelope.idempotency_key,
        previous_response_id=envelope.previous_response_id,
        is_stored=envelope.store is not False,
        is_generated=envelope.generate is not False,
    )


def _struct(fields: Fields, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(msgspec.json.encode(fields), type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedRequest(f"This message cannot be read: {error}.") from error


# --- what the server says -----------------------------------------------------------------------


def lane_tail(lane: str | None) -> bytes | None:
    """How each event of a lane ends; None for the lane without a name, where nothing is changed."""
    return None if lane is None else b',"stream_id":"%b"}' % lane.encode()


def event_frames(events: Iterable[Event], tail: bytes | None) -> bytes:
    """A frame for each event, in the lane with this `lane_tail`."""
    datas = (event.data for event in events if event.data != DONE)
    if tail is None:
        return b"".join(map(frame, datas))
    return b"".join(frame(data[: data.rindex(b"}")] + tail) for data in datas)


def warmed_frames(response_id: str, model: str, created_at: int, lane: str | None) -> bytes:
    """All that comes of a create that generates nothing: it has begun, and is complete."""
    response = {**blank(), "id": response_id, "model": model, "created_at": created_at}
    nothing = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    details = {
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    told = [
        ("response.created", {**response, "status": "in_progress"}),
        ("response.completed", {**response, "status": "completed", "usage": nothing | details}),
    ]
    events = (
        Event(number + 1, kind, _event(kind, number, said))
        for number, (kind, said) in enumerate(told)
    )
    return event_frames(events, lane_tail(lane))


def _event(kind: str, number: int, response: object) -> bytes:
    said = {"type": kind, "sequence_number": number, "response": response}
    return msgspec.json.encode(said)


class _Begun(msgspec.Struct):
    response: "_Response"


class _Response(msgspec.Struct):
    id: str


def response_id(event: Event) -> str | None:
    """Of the response whose first event this is; None if it does not say."""
    try:
        return msgspec.json.decode(event.data, type=_Begun).response.id
    except msgspec.MsgspecError:
        return None


class _Error(msgspec.Struct, frozen=True, tag="error", omit_defaults=True):
    status: int
    error: Fields
    stream_id: str | None = None


class _ErrorBody(msgspec.Struct):
    error: Fields


def error_frame(
    problem: Problem,
    lane: str | None,
    dialect: Dialect,
    headers: Sequence[tuple[str, str]],
    request: str,
) -> bytes:
    """The error that the same request would get over HTTP, with that answer's `headers`."""
    try:
        body = msgspec.json.decode(dialect.error_body(problem, request), type=_ErrorBody)
    except msgspec.MsgspecError:  # a provider's own, which is passed on as it is
        plain = msgspec.structs.replace(problem, body=None)
        body = msgspec.json.decode(dialect.error_body(plain, request), type=_ErrorBody)
    error = {**body.error, "headers": msgspec.Raw(msgspec.json.encode(dict(headers)))}
    return frame(msgspec.json.encode(_Error(problem.status, error, lane)))


class _SteerFailed(msgspec.Struct, frozen=True, tag="response.steer.failed", omit_defaults=True):
    error: Mapping[str, str]
    steer: Steer
    sequence_number: int
    stream_id: str | None = None


def steer_failed_frame(
    steer: Steer, code: str, message: str, *, lane: str | None, sequence_number: int
) -> bytes:
    """The input is given back: it can go into the next create."""
    error = {"type": "invalid_request_error", "code": code, "message": message}
    return frame(msgspec.json.encode(_SteerFailed(error, steer, sequence_number, lane)))
