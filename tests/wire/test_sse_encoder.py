import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.stream import DONE, Event, Frame
from proxy.wire.sse import Parser, encode, encode_batch, encode_first

patient = settings(deadline=None)
names = st.text(string.ascii_letters + string.digits + "._:-", max_size=64)
one_line = st.binary(min_size=1).filter(
    lambda data: not re.search(rb"[\r\n]", data) and not data.isspace()
)
events = st.builds(Event, st.integers(min_value=1, max_value=2**53), names, one_line)


def test_an_event_is_its_id_its_name_and_its_data() -> None:
    event = Event(7, "message_stop", b'{"type":"message_stop"}')
    assert encode(event) == b'id: 7\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'


def test_an_event_without_a_name_has_no_line_for_it() -> None:
    assert encode(Event(8, "", DONE)) == b"id: 8\ndata: [DONE]\n\n"


def test_retry_rides_in_the_first_event() -> None:
    assert encode_first(Event(1, "", b"{}"), 1000) == b"retry: 1000\nid: 1\ndata: {}\n\n"


@patient
@given(st.lists(events, max_size=10))
def test_what_is_encoded_is_what_is_parsed(some: list[Event]) -> None:
    frames = Parser(1_000_000).feed(encode_batch(some))
    assert frames == [Frame(event.name, event.data) for event in some]


@patient
@given(st.lists(events, max_size=10))
def test_a_batch_is_its_events_one_after_the_other(some: list[Event]) -> None:
    assert encode_batch(some) == b"".join(encode(event) for event in some)


@patient
@given(events)
def test_the_first_event_parses_like_any(event: Event) -> None:
    assert Parser(1_000_000).feed(encode_first(event, 250)) == [Frame(event.name, event.data)]


@patient
@given(st.binary(), st.binary(), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_data_can_never_begin_another_line(before: bytes, after: bytes, end: bytes) -> None:
    with pytest.raises(AssertionError):
        encode(Event(1, "", before + end + after))


@patient
@given(st.text(max_size=70))
def test_a_name_can_never_be_more_than_a_name(name: str) -> None:
    event = Event(1, name, b"{}")
    if re.fullmatch(r"[A-Za-z0-9._:-]{0,64}", name, re.ASCII):
        assert Parser(1_000_000).feed(encode(event)) == [Frame(name, b"{}")]
    else:
        with pytest.raises((AssertionError, UnicodeEncodeError)):
            encode(event)
