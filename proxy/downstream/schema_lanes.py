"""The Responses WebSocket in the OpenAPI document: a GET, and what is said then."""

from proxy import errors
from proxy.downstream.schema_answers import answer, lanes_headers
from proxy.downstream.schema_bodies import Json
from proxy.downstream.schema_errors import failures, of_authentication, responses
from proxy.downstream.schema_parameters import handshake, kept_wishes

_DESCRIPTION = """\
OpenAI's WebSocket mode, as `client.responses.connect()` of its SDKs speaks it, for every model. A
handshake of RFC 6455, version 13, with a key in a header opens it; there is no subprotocol.
Messages are JSON texts. The `midstream-*` headers of the handshake hold for every response made
on it.

**What the client says:**

* `{"type":"response.create",…}`: a new response, with the fields of a POST. `stream` and
  `background` do not belong here. `stream_id` names its lane (1 to 256 of `A-Z a-z 0-9 _ . -`);
  without it, it is in the lane that has no name. `idempotency_key` is what the header is in a
  POST.
* `{"type":"response.resume","response_id":ID,"starting_after":N,"stream_id":LANE}`: the events of
  a response that was made before, here or anywhere, after the one whose `sequence_number` is N,
  or all of them. ID may be that of the stream.
* `{"type":"response.steer",…}`: is answered with `response.steer.failed`, which gives the input
  back: no provider takes input while it answers.

**What it is answered:** the events of the response, each as it stands in the journal, in a named
lane with `stream_id`. What cannot be done is `{"type":"error","status":…,"error":{…}}`, with the
code and the status that it has over HTTP, in `error.headers` what would be headers there; so is a
provider's failure before it has said anything. A later failure is `response.failed`. The
connection stays.

**Lanes.** In each, one response comes after the other. 16 are made or sent at a time on a
connection, others wait: up to 128, with as many bytes together as one message may have. 32 names
can be used.

**After a lost connection** every response goes on, or has ended. Whoever comes back says
`response.resume` for each, in the lane it had; the SDKs reconnect by themselves if they are told
to (`on_reconnecting`), and what is sent in that callback goes out first. Where not even the first
event had come, the same `response.create` with the same `idempotency_key` gives the same
response. Or read on over HTTP: `GET /v1/responses/{name}?stream=true&starting_after=N`.

**`previous_response_id`** with `store: false`, or of a model whose provider keeps no responses,
goes by what the connection remembers: the conversation is sent again as input, but for reasoning
that is not encrypted. It is in memory alone, and gone with the connection; the oldest goes first.
A create with `generate: false` only puts its input there, reaches no provider, and makes no
stream.

The server pings, and drops who does not answer within two heartbeats. **Close codes**: 1001 this
worker stops, connect again; 1009 the message is larger than configured (4 MiB, unless set
otherwise); 1011 no pong, or a bug; 1013 nothing was taken for too long, connect again and resume;
4400 not text; 4401 no valid key any more; 4429 too many messages."""


def lanes_paths() -> dict[str, Json]:
    """The one path."""
    found = [
        *of_authentication(),
        *failures(
            errors.MalformedRequest,
            errors.InvalidLane,
            errors.LaneLimit,
            errors.WaitingLimit,
            errors.UpgradeRequired,
        ),
    ]
    opened = answer("The connection is a WebSocket now.", headers=lanes_headers())
    operation = {
        "operationId": "connectResponses",
        "tags": ["Answers"],
        "summary": "Make many responses on one WebSocket, as OpenAI's SDKs do",
        "description": _DESCRIPTION,
        "parameters": [*handshake(), *kept_wishes()],
        "responses": {"101": opened} | responses(found, "OpenAIError"),
    }
    return {"/v1/responses": {"get": operation}}
