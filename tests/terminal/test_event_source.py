"""Server-sent events with their ids, whatever the network does to the bytes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import PromiseBroken
from proxy.stream import Event
from proxy.terminal.event_source import EventSource
from proxy.wire.sse import encode_batch, encode_first

EVENTS = [
    Event(1, "", b'{"text":"\xf0\x9f\xa6\x8a"}'),
    Event(2, "content_block_delta", b'{"a": ": b"}'),
    Event(3, "", b"[DONE]"),
]
SENT = encode_first(EVENTS[0], 1000) + b": ping\n" + encode_batch(EVENTS[1:])


@given(cuts=st.lists(st.integers(0, len(SENT)), max_size=12))
def test_any_split_of_what_the_proxy_sends_gives_the_same_events(cuts: list[int]) -> None:
    source = EventSource(1000)
    places = [0, *sorted(cuts), len(SENT)]

    seen = [
        event for begin, end in itertools.pairwise(places) for event in source.feed(SENT[begin:end])
    ]

    assert seen == EVENTS


def test_an_event_without_its_blank_line_is_not_given_out() -> None:
    assert list(EventSource(1000).feed(SENT[:-1])) == EVENTS[:-1]


def test_an_event_beyond_the_limit_is_an_error() -> None:
    with pytest.raises(PromiseBroken):
        list(EventSource(10).feed(b"data: 123456"))
