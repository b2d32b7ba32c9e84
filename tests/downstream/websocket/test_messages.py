"""What is said on a WebSocket, as bytes."""

import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.downstream.websocket import messages
from proxy.downstream.websocket.messages import batch_frames, encode, encode_events, read_message
from proxy.downstream.wishes import read_wishes
from proxy.errors import AheadOfStream, Draining, MalformedRequest
from proxy.relay.tail import Batch
from proxy.stream import DONE, Birth, Detach, Event, State, StreamId

STREAM = StreamId("st_0123456789abcdefghijklmnop")


def payloads(frames: bytes) -> list[str]:
    """The texts of a run of frames, after RFC 6455 5.2; each must be whole, final and unmasked."""
    found = []
    while frames:
        assert frames[0] == 0x81
        size, start = frames[1], 2
        assert size < 128
        if size == 126:
            (size,), start = struct.unpack(">H", frames[2:4]), 4
            assert size >= 126
        elif size == 127:
            (size,), start = struct.unpack(">Q", frames[2:10]), 10
            assert size >= 65_536
        assert len(frames) >= start + size
        found.append(frames[start : start + size].decode())
        frames = frames[start + size :]
    return found


EVENTS = st.lists(
    st.builds(
        Event,
        st.integers(1, 2**53 - 1),
        st.sampled_from(["", "message_start", "a.b:c-d"]),
        st.one_of(
            st.just(DONE),
            st.dictionaries(st.text(), st.text(), max_size=2).map(
                lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            ),
        ),
    ),
    max_size=5,
)


@given(events=EVENTS)
def test_each_event_is_one_message_that_holds_its_data_byte_for_byte(events: list[Event]) -> None:
    texts = payloads(encode_events(STREAM, events))

    assert len(texts) == len(events)
    for text, event in zip(texts, events, strict=True):
        said = json.loads(text)
        assert said == {
            "type": "event",
            "stream": STREAM,
            "id": event.id,
            "event": event.name,
            "data": "[DONE]" if event.data == DONE else json.loads(event.data),
        }
        assert event.data.decode() in text


@pytest.mark.parametrize("size", [10, 125, 126, 127, 65_535, 65_536, 100_000])
def test_a_frame_of_any_size_says_its_size_in_the_shortest_way(size: int) -> None:
    bare = len(payloads(encode_events(STREAM, [Event(1, "", b'""')]))[0])
    event = Event(1, "", b'"%b"' % (b"x" * max(0, size - bare)))

    (text,) = payloads(encode_events(STREAM, [event]))

    assert len(text) == max(size, bare)


def test_a_batch_is_encoded_once_for_all_who_read_it() -> None:
    batch = Batch([Event(1, "", b"{}"), Event(2, "", DONE)], None)

    assert batch_frames(STREAM, batch) is batch_frames(STREAM, batch)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type":"auth","token":"t"}', messages.Auth(token="t")),
        ('{"type":"ping","ref":"r"}', messages.Ping(ref="r")),
        ('{"ref":1,"type":"ping"}', messages.Ping(ref=1)),
        ('{"type":"subscribe","stream":"s"}', messages.Subscribe(stream="s", after=0)),
        ('{"type":"subscribe","stream":"s","after":7}', messages.Subscribe(stream="s", after=7)),
        ('{"type":"unsubscribe","stream":"s"}', messages.Unsubscribe(stream="s")),
        ('{"type":"cancel","stream":"s"}', messages.Cancel(stream="s")),
    ],
)
def test_a_message_is_read_as_what_it_says(text: str, said: messages.Said) -> None:
    assert read_message(text) == said


def test_the_body_of_a_create_keeps_its_bytes() -> None:
    body = '{ "model" : "m",\n "x":1.0e2, "é":"\\u00e9" }'

    said = read_message(f'{{"type":"create","path":"/p","body":{body},"tag":null}}')

    assert isinstance(said, messages.Create)
    assert bytes(said.body) == body.encode()
    assert said.as_headers() == {}


@given(
    tag=st.text(
        st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128
    ),
    detach=st.one_of(st.sampled_from(["finish", "cancel"]), st.integers(0, 86_400)),
    retention_s=st.integers(0, 1000),
)
def test_the_wishes_of_a_create_are_read_as_headers_are(
    tag: str, detach: str | int, retention_s: int
) -> None:
    create: dict[str, Any] = {"type": "create", "path": "/p", "body": {}}
    create |= {"tag": tag, "detach": detach, "retention_s": retention_s, "idempotency_key": "k"}
    said = read_message(json.dumps(create))
    assert isinstance(said, messages.Create)

    wishes = read_wishes(said.as_headers(), detach=Detach(), retention_s=9, retention_max_s=1000)

    assert wishes.tag == tag
    graces = {"finish": Detach(None), "cancel": Detach(0)}
    assert wishes.detach == (graces[detach] if isinstance(detach, str) else Detach(detach))
    assert wishes.retention_s == retention_s
    assert wishes.idempotency_key == "k"


@given(text=st.text())
def test_whatever_else_is_said_is_refused_in_words(text: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        read_message(text)

    assert str(refused.value).startswith("This message cannot be read: ")
    messages.about(text)


def test_an_error_repeats_no_more_than_it_must() -> None:
    known = messages.about(json.dumps({"type": "x", "ref": "r" * 128, "stream": "s" * 1000}))

    assert known == messages.About("r" * 128, "s" * 64)
    assert messages.about('{"ref":"%s"}' % ("r" * 129)) == messages.About()


def test_an_error_has_the_code_and_sentence_of_http() -> None:
    error = AheadOfStream(9, 3)
    (text,) = payloads(encode(messages.failed(error, 5, STREAM)))

    assert json.loads(text) == {
        "type": "error",
        "code": "ahead_of_stream",
        "message": str(error),
        "ref": 5,
        "stream": STREAM,
    }
    (text,) = payloads(encode(messages.failed(Draining())))
    assert json.loads(text)["retry_after_s"] == 1.0


def test_a_receipt_has_the_fields_of_the_state() -> None:
    state = State(Birth(STREAM, "ann", "openai.chat", "m", "p", 0.0, 60.0), epoch=1, last_id=3)

    (text,) = payloads(encode(messages.cancelled(state, None)))

    receipt = json.loads(text)
    assert receipt["type"] == "cancelled"
    assert receipt["stream"] == receipt["id"] == STREAM
    assert (receipt["status"], receipt["ending"], receipt["last_event_id"]) == ("running", None, 3)
    assert "ref" not in receipt
    assert msgspec.json.decode(encode(messages.cancelled(state, 1))[4:])["ref"] == 1
