"""The WebSocket in the OpenAPI document, which has no word for it: a GET, and what is said then."""

from proxy import errors
from proxy.downstream.schema_answers import answer, websocket_headers
from proxy.downstream.schema_bodies import Json
from proxy.downstream.schema_errors import (
    BOTH_SHAPES,
    failures,
    of_authentication,
    responses,
)
from proxy.downstream.schema_parameters import caller_dialect, handshake, subprotocol

_DESCRIPTION = """\
A handshake of RFC 6455, version 13, opens it; any other GET here gets 426. The subprotocol is
`midstream.v1`. Messages are JSON texts; binary ones are refused, and nothing is compressed.

**Who it is** is said before anything else: with a key in a header of the handshake; or, by
browsers, as a second subprotocol `midstream.auth.KEY`, which is never repeated in the answer; or
with the first message, within 10 s: `{"type":"auth","token":KEY}`. The server answers
`{"type":"ready","heartbeat_s":15.0}`, or closes with 4401. Before a key expires it says
`{"type":"reauthenticate","deadline_s":60.0}`; `auth` may come again at any time, from the same
owner.

**What the client says, and what it is answered:**

* `{"type":"subscribe","stream":ID,"after":N}`:
  `{"type":"event","stream":ID,"id":N+1,"event":NAME,"data":…}` and so on, at the end of the stream
  `{"type":"end","stream":ID,"ending":"completed","last_id":M}`.
* `{"type":"unsubscribe","stream":ID}`: `{"type":"unsubscribed","stream":ID}`, and no event of that
  stream after it.
* `{"type":"create","path":"/v1/messages","body":{…}}`: `{"type":"created","stream":ID}`, then its
  events.
* `{"type":"cancel","stream":ID}`: `{"type":"cancelled","stream":ID,…}`, with the fields of the
  stream's state.
* `{"type":"ping"}`: `{"type":"pong"}`.
* What cannot be done: `{"type":"error","code":…,"message":…}`, and the connection stays.

Every message of the client may have a `ref`, a string or a whole number, which whatever answers it
repeats. `after` is 0 unless it is given. `data` is the JSON of the event, or the string `"[DONE]"`.
`create` takes what a POST to its `path` takes as body, and what that takes as headers in
`idempotency_key`, `tag`, `detach` and `retention_s`. An error has the codes of HTTP, and repeats
`ref` and `stream` where they are known. A stream is read once on a connection, and 100 at a time.

The server pings, and drops who does not answer within two heartbeats. **Close codes**: 1001 this
worker stops, connect again; 1009 the message is larger than configured (4 MiB, unless set
otherwise); 1011 no pong, or a bug; 4400 not text; 4401 no valid key, or no more; 4403 the key is
another owner's; 4408 nothing was taken for too long, resume; 4429 too many messages."""


def websocket_paths() -> dict[str, Json]:
    """The one path."""
    found = [
        *of_authentication(),
        *failures(
            errors.MalformedRequest,
            errors.AlreadySubscribed,
            errors.SubscriptionLimit,
            errors.UpgradeRequired,
        ),
    ]
    opened = answer("The connection is a WebSocket now.", headers=websocket_headers())
    operation = {
        "operationId": "openWebSocket",
        "tags": ["Streams"],
        "summary": "Make, read and stop many streams on one WebSocket",
        "description": _DESCRIPTION,
        "parameters": [*handshake(), subprotocol(), caller_dialect()],
        "responses": {"101": opened} | responses(found, *BOTH_SHAPES),
    }
    return {"/v1/ws": {"get": operation}}
