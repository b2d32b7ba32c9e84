"""Faults of the connection and of HTTP, before any event: a table."""

from tests.faults.fault import (
    CUT,
    GARBLED,
    PASSES,
    STALLED,
    UNREACHABLE,
    Come,
    Fault,
    Outcome,
    ended,
    plain,
)
from tests.upstream.fake_provider import (
    LAST_CHUNK,
    Deaf,
    Finish,
    Reset,
    Send,
    Stall,
    chunk,
    head,
    whole,
)

_SSE = ("content-type", "text/event-stream")

CONNECTIONS = {
    "it closes every connection at once": Fault(plain(Finish()), UNREACHABLE, is_at_the_door=True),
    "it resets every connection at once": Fault(plain(Reset()), UNREACHABLE, is_at_the_door=True),
    "it accepts connections and says nothing": Fault(plain(Stall()), STALLED, is_at_the_door=True),
    "it greets in another protocol": Fault(
        plain(Send(b"SSH-2.0-OpenSSH_9.6\r\n"), Finish()), GARBLED, is_at_the_door=True
    ),
    "it never reads the request": Fault(plain(Deaf(), Stall()), STALLED),
    "it closes when it has been asked": Fault(plain(Finish()), UNREACHABLE),
    "it resets when it has been asked": Fault(plain(Reset()), UNREACHABLE),
    "it never answers": Fault(plain(Stall()), STALLED),
    "it answers with bytes that are no HTTP": Fault(
        plain(Send(b"\x16\x03\x01\x02\x00\x01\r\n\r\n"), Finish()), GARBLED
    ),
    "it answers without any header": Fault(
        lambda said: [Send(b"".join(said.events)), Finish()], GARBLED
    ),
    "its headers never end": Fault(plain(Send(head()[:-2]), Stall()), STALLED),
    "its headers are cut off": Fault(plain(Send(head()[:-2]), Finish()), UNREACHABLE),
    "one of its headers is too long": Fault(
        plain(Send(head(200, [_SSE, ("x-long", "x" * 70_000)])), Stall()), GARBLED
    ),
    "its length is no number": Fault(
        plain(Send(head(framing="content-length: many")), Finish()), GARBLED
    ),
    "it redirects to where the answer is": Fault(
        lambda said: whole(301, b"", [("location", f"/good{said.path}")]),
        Come(Outcome.NEXT, 502, "provider_error"),
    ),
    "it answers 200 with a page": Fault(
        lambda _: whole(200, b"<html>Hello</html>", [("content-type", "text/html")]), GARBLED
    ),
    "it answers 200 with an error in JSON": Fault(
        lambda _: whole(200, b'{"error":{"message":"Not now.","type":"server_error"}}'), GARBLED
    ),
    "it calls its events plain text": Fault(
        lambda said: whole(200, b"".join(said.events), [("content-type", "text/plain")]), GARBLED
    ),
    "it compresses without being asked to": Fault(
        lambda _: whole(200, b"\x1f\x8b\x08", [_SSE, ("content-encoding", "gzip")]), GARBLED
    ),
    "it answers 204": Fault(plain(Send(head(204, [_SSE], framing=""))), CUT),
    "its body is empty": Fault(lambda _: ended(), CUT),
    "its body has length 0": Fault(lambda _: whole(200, b"", [_SSE]), CUT),
    "it says that something else comes first (102, 103)": Fault(
        lambda said: [
            Send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
            *ended(*said.events),
        ],
        PASSES,
    ),
    "it closes a connection that it said it would keep": Fault(
        lambda said: [*ended(*said.events), Finish()], PASSES, is_apart=True
    ),
    "it has an answer without framing, which its closing ends": Fault(
        lambda said: [Send(head(framing="") + b"".join(said.events)), Finish()], PASSES
    ),
    "it says no content type": Fault(
        lambda said: [Send(head(200, []) + chunk(b"".join(said.events)) + LAST_CHUNK)], PASSES
    ),
}
