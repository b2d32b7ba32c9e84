"""Faults inside an answer that began well, and what looks like one and is none: a table."""

from collections.abc import Callable, Iterator, Sequence

from tests.faults.fault import (
    CUT,
    CUT_LATE,
    GARBLED,
    GARBLED_LATE,
    PASSES,
    STALLED,
    STALLED_LATE,
    Come,
    Fault,
    Outcome,
    begun,
    ended,
    plain,
    stream,
)
from tests.faults.provider import Script
from tests.faults.words import Words
from tests.upstream.fake_provider import (
    LAST_CHUNK,
    Finish,
    Reset,
    Send,
    Sleep,
    Stall,
    Step,
    chunk,
    head,
)

EVENT_BYTES_MAX = 256 * 1024
"""What the server must be told for `huge` to be more."""
_APART_S = 0.1
"""After that, what is sent is read by itself: what breaks HTTP in one read breaks all of it."""
_HUGE = EVENT_BYTES_MAX + 1000

_PLACES: dict[str, tuple[Callable[[Words], bytes], bool]] = {
    "after the headers": (lambda _: b"", False),
    "after a comment": (lambda _: b": hello\n\n", False),
    "after the first event": (lambda said: said.start[0], False),
    "after all that comes before content": (lambda said: b"".join(said.start), False),
    "inside the first content": (lambda said: begun(said)[:-9], False),
    "after the first content": (begun, True),
    "inside an event": (lambda said: begun(said) + said.content[1][:-9], True),
    "inside a character": (lambda said: _torn(begun(said) + said.content[1]), True),
    "before the last line end": (lambda said: b"".join(said.events)[:-1], True),
    "after all content": (lambda said: begun(said) + b"".join(said.content[1:]), True),
    "before the terminator": (lambda said: b"".join(said.events[:-1]), True),
}
"""Where an answer stops: what has come, and whether that has content."""


def _torn(raw: bytes) -> bytes:
    return raw[: raw.index("ö".encode()) + 1]


_STOPS: dict[str, tuple[Sequence[Step], Come, Come]] = {
    "ends": ((Send(LAST_CHUNK),), CUT, CUT_LATE),
    "is cut": ((Finish(),), CUT, CUT_LATE),
    "is reset": ((Reset(),), CUT, CUT_LATE),
    "falls silent": ((Stall(),), STALLED, STALLED_LATE),
}


def _stopping() -> Iterator[tuple[str, Fault]]:
    for how, (then, early, late) in _STOPS.items():
        for where, (part, has_content) in _PLACES.items():
            yield f"it {how} {where}", Fault(_at(part, then), late if has_content else early)


def _at(part: Callable[[Words], bytes], then: Sequence[Step]) -> Script:
    return lambda said: stream(*filter(None, [part(said)]), then=then)


_NONSENSE: dict[str, bytes] = {
    "what is no JSON": b"data: {oh no\n\n",
    "JSON that is no object": b"data: [1, 2]\n\n",
    "an event with a name that is none": b"event: <b>\ndata: {}\n\n",
    "NUL bytes": b'data: {"type":"\x00"}\n\n',
    "bytes that are no UTF-8": b'data: {"choices":"\xff\xfe","type":"\xff"}\n\n',
    "a huge event": b"data: " + b"x" * _HUGE + b"\n\n",
    "a huge comment": b":" + b"x" * _HUGE + b"\n\n",
    "many lines that are one event": b"data: 1\n" * (_HUGE // 7),
    "a line without end": b"data: " + b"x" * (8 * _HUGE),
}


def _garbling() -> Iterator[tuple[str, Fault]]:
    for what, raw in _NONSENSE.items():
        yield f"it begins with {what}", Fault(_first(raw), GARBLED)
        yield f"it goes on with {what}", Fault(_later(raw), GARBLED_LATE)


def _first(raw: bytes) -> Script:
    return lambda _: stream(raw, then=(Stall(),))


def _later(raw: bytes) -> Script:
    return lambda said: stream(begun(said), raw, then=(Stall(),))


_ERRORS = {
    "overloaded": Come(Outcome.AGAIN, 529),
    "limited": Come(Outcome.AGAIN, 429),
    "invalid": Come(Outcome.REFUSED, 400),
    "broken": Come(Outcome.AGAIN, 500),
}


_OPENAI_IS_OVERLOADED = Come(Outcome.AGAIN, 503)
"""529 is Anthropic's own."""


def _reporting() -> Iterator[tuple[str, Fault]]:
    for kind, come in _ERRORS.items():
        but = dict.fromkeys(("chat", "responses"), _OPENAI_IS_OVERLOADED)
        if kind != "overloaded":
            but = {}
        for place, where in (("first", "first of all"), ("start", "after the start")):
            fault = Fault(_reports(kind, place), come, but)
            yield f"it reports that it is {kind}, {where}", fault
        late = Come(Outcome.LATE)
        yield f"it reports that it is {kind}, after content", Fault(_reports(kind, "late"), late)


def _reports(kind: str, place: str) -> Script:
    def script(said: Words) -> Sequence[Step]:
        before = {"first": b"", "start": said.start[0], "late": begun(said)}[place]
        return ended(before + said.errors[kind])

    return script


def _with(change: Callable[[bytes], bytes]) -> Script:
    return lambda said: ended(change(b"".join(said.events)))


def _byte_by_byte(said: Words) -> Sequence[Step]:
    return ended(*(bytes([byte]) for byte in b"".join(said.events)))


def _of_length(change: int) -> Script:
    def script(said: Words) -> Sequence[Step]:
        raw = b"".join(said.events)
        first = head(framing=f"content-length: {len(raw) + change}") + begun(said)
        return [Send(first), Sleep(_APART_S), Send(raw[len(begun(said)) :]), Finish()]

    return script


STREAMS = {
    **dict(_stopping()),
    **dict(_garbling()),
    **dict(_reporting()),
    "it sends only comments, and ends": Fault(lambda _: ended(b": a\n\n", b": b\n\n"), CUT),
    "it sends only comments, and falls silent": Fault(
        lambda _: stream(b": a\n\n", b": b\n\n", then=(Stall(),)), STALLED
    ),
    "it sends only bytes that mean nothing": Fault(lambda _: ended(bytes(range(256))), CUT),
    "it breaks its framing at once": Fault(
        plain(Send(head() + b"zz\r\nhello\r\n"), Stall()), GARBLED
    ),
    # aiohttp closes the connection then, and tells nobody: the deadline finds out
    "it breaks its framing before an event": Fault(
        plain(Send(head()), Sleep(_APART_S), Send(b"zz\r\nhello\r\n"), Stall()), STALLED
    ),
    "it breaks its framing after content": Fault(
        lambda said: [
            Send(head() + chunk(begun(said))),
            Sleep(_APART_S),
            Send(b"zz\r\nhello\r\n"),
            Stall(),
        ],
        STALLED_LATE,
    ),
    "it is shorter than it said, but whole": Fault(_of_length(5), PASSES),
    "it is longer than it said": Fault(_of_length(-5), CUT_LATE, is_apart=True),
    "it has no finish": Fault(
        lambda said: ended(*said.start, *said.content, said.terminator),
        CUT_LATE,
        but={"responses": PASSES, "messages": Come(Outcome.PASSES, is_counted=False)},
    ),
    "it has nothing but a terminator": Fault(
        lambda said: ended(said.terminator),
        CUT,
        but={"responses": Come(Outcome.PASSES, has_text=False)},
    ),
    "it ends twice": Fault(lambda said: ended(*said.events, said.terminator), PASSES),
    "it talks on after its end": Fault(
        lambda said: ended(*said.events, *said.content, b"data: {oh no\n\n"), PASSES
    ),
    "it never closes after its end": Fault(
        lambda said: stream(*said.events, then=(Stall(),)), PASSES
    ),
    "it ends its lines with CRLF": Fault(_with(lambda raw: raw.replace(b"\n", b"\r\n")), PASSES),
    "it ends its lines with CR": Fault(_with(lambda raw: raw.replace(b"\n", b"\r")), PASSES),
    "it begins with a byte order mark": Fault(_with(lambda raw: b"\xef\xbb\xbf" + raw), PASSES),
    "it is sent byte by byte": Fault(_byte_by_byte, PASSES),
    "it has comments, ids and retries between": Fault(
        lambda said: ended(*(b": hi\nretry: 1\nid: 7\n\n" + event for event in said.events)), PASSES
    ),
}
