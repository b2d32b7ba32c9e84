"""What is said on a WebSocket: JSON text messages, and the frames that carry them.

Pure. A client's message is one of a closed choice, checked whole; what it says of a new stream is
checked by the same code as the headers of a POST. Of what the server says, events are by far the
most: their data is spliced in as it is kept, and a batch becomes one run of frames, made once for
all who read it.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from proxy.downstream.describe import StreamView, view
from proxy.errors import MalformedRequest, MidstreamError
from proxy.relay.tail import Batch
from proxy.stream import DONE, Event, State, StreamId

Ref = Annotated[str, Meta(max_length=128)] | Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A client's own name for one of its messages, given back with whatever answers it."""

# --- what a client says -------------------------------------------------------------------------


class _Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ref: Ref | None = None


class Auth(_Said, frozen=True, kw_only=True, tag="auth"):
    """Who it is, at the beginning or again."""

    token: str


class Subscribe(_Said, frozen=True, kw_only=True, tag="subscribe"):
    """The events of a stream, after one of them."""

    stream: str
    after: int = 0


class Unsubscribe(_Said, frozen=True, kw_only=True, tag="unsubscribe"):
    """No more of them."""

    stream: str


class Create(_Said, frozen=True, kw_only=True, tag="create"):
    """A new answer: what a POST to `path` would ask for."""

    path: str
    body: msgspec.Raw
    idempotency_key: str | None = None
    stream_tag: str | None = msgspec.field(default=None, name="tag")
    detach: str | int | None = None
    retention_s: int | None = None

    HEADERS: ClassVar = {
        "idempotency-key": "idempotency_key",
        "midstream-tag": "stream_tag",
        "midstream-detach": "detach",
        "midstream-retention": "retention_s",
    }

    def as_headers(self) -> dict[str, str]:
        """Its wishes, as a POST would carry them: text as latin-1 of its UTF-8."""
        said = {name: getattr(self, field) for name, field in self.HEADERS.items()}
        return {
            name: str(value).encode().decode("latin-1")
            for name, value in said.items()
            if value is not None
        }


class Cancel(_Said, frozen=True, kw_only=True, tag="cancel"):
    """Stop a stream, for everybody."""

    stream: str


class Ping(_Said, frozen=True, kw_only=True, tag="ping"):
    """Is anybody there?"""


Said = Auth | Subscribe | Unsubscribe | Create | Cancel | Ping


class About(msgspec.Struct, frozen=True):
    """As much of a message as an error about it repeats."""

    ref: Ref | None = None
    stream: str | None = None


_SAID: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)
_ABOUT = msgspec.json.Decoder(About)
_STREAM_CHARS_MAX = 64
"""Of a stream's id that an error repeats. Chosen: twice what one has."""


def read_message(text: str) -> Said:
    """Raises `MalformedRequest`, which says what is wrong with it."""
    try:
        return _SAID.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedRequest(f"This message cannot be read: {error}.") from error


def about(text: str) -> About:
    """What can be known of a message that cannot be read."""
    try:
        found = _ABOUT.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return About()
    return About(found.ref, found.stream[:_STREAM_CHARS_MAX] if found.stream else None)


# --- what the server says -----------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, tag="ready", omit_defaults=True):
    """It is known who the client is."""

    heartbeat_s: float
    ref: Ref | None = None


class Reauthenticate(msgspec.Struct, frozen=True, tag="reauthenticate"):
    """Its credential is about to run out."""

    deadline_s: float


class Unsubscribed(msgspec.Struct, frozen=True, tag="unsubscribed", omit_defaults=True):
    """No event of this stream comes after this."""

    stream: str
    ref: Ref | None = None


class Created(msgspec.Struct, frozen=True, tag="created", omit_defaults=True):
    """The stream that was made, or was made before; its events follow."""

    stream: StreamId
    ref: Ref | None = None


class Cancelled(StreamView, frozen=True, kw_only=True, tag="cancelled"):
    """How a stream ended, and what it used. `ending` is null if it has not ended yet."""

    stream: StreamId
    ref: Ref | msgspec.UnsetType = msgspec.UNSET


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last of a subscription: the stream's last event was sent before."""

    stream: StreamId
    ending: str
    last_id: int


class Pong(msgspec.Struct, frozen=True, tag="pong", omit_defaults=True):
    """Somebody is."""

    ref: Ref | None = None


class Failed(msgspec.Struct, frozen=True, tag="error", omit_defaults=True):
    """What was asked for cannot be had; the connection stays."""

    code: str
    message: str
    ref: Ref | None = None
    stream: str | None = None
    param: str | None = None
    retry_after_s: float | None = None


Answer = Ready | Reauthenticate | Unsubscribed | Created | Cancelled | End | Pong | Failed


def cancelled(state: State, ref: Ref | None) -> Cancelled:
    """The receipt."""
    seen = msgspec.structs.asdict(view(state))
    return Cancelled(**seen, stream=state.birth.id, ref=msgspec.UNSET if ref is None else ref)


def failed(error: MidstreamError, ref: Ref | None = None, stream: str | None = None) -> Failed:
    """The same code and sentence as over HTTP."""
    problem = error.problem()
    return Failed(
        code=problem.code,
        message=problem.message,
        ref=ref,
        stream=stream,
        param=problem.param,
        retry_after_s=problem.retry_after_s,
    )


# --- frames -------------------------------------------------------------------------------------


def encode(answer: Answer) -> bytes:
    """One message, as a frame."""
    return frame(msgspec.json.encode(answer))


def batch_frames(stream: StreamId, batch: Batch) -> bytes:
    """The messages of a batch, one frame for each event; made once for all who read it."""
    if batch.messages is None:
        batch.messages = encode_events(stream, batch.events)
    return batch.messages


def encode_events(stream: StreamId, events: Sequence[Event]) -> bytes:
    """A message for each event. Its data is spliced in: it is JSON already."""
    begin = b'{"type":"event","stream":"%b","id":' % stream.encode()
    return b"".join(
        frame(
            b'%b%d,"event":"%b","data":%b}'
            % (
                begin,
                event.id,
                event.name.encode(),
                b'"[DONE]"' if event.data == DONE else event.data,
            )
        )
        for event in events
    )


def frame(payload: bytes) -> bytes:
    """A final text frame, unmasked, as a server sends it (RFC 6455 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)
