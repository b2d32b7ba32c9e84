import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ProviderGarbled
from proxy.stream import Frame
from proxy.wire.sse import Parser, read_name
from tests.wire import recorded

BOM = b"\xef\xbb\xbf"
LIMIT = 1_000_000
patient = settings(deadline=None)

CORPUS = [
    b"data: {}\n\n",
    b"data: a\n\ndata: b\n\n\n\n\ndata: c\n\n",
    b"data: a\r\n\r\ndata: b\r\n\r\n",
    b"data: a\r\rdata: b\r\r\rdata: c\r\r",
    b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n",
    BOM + b"data: a\n\n" + BOM + b"data: b\n\n",
    BOM + b"\r\n\r\ndata: a\n\n",
    BOM[:2] + b"data: a\n\ndata: b\n\n",
    b"event: ping\ndata: {}\n\nevent: x\n\ndata: y\n\n",
    b"event:x\ndata:y\n\nevent:  z\n",
    b"data\ndata: a\ndata:\ndata:  b\n\n",
    b": ping\n\n:\ndata: a\n:data: b\n\n",
    b"id: 7\nretry: 10\nother: x\ndatas: x\ndata: a\n\n",
    b"data: a\n: c\nevent: late\n\ndata: b\n\n",
    "data: \N{SNAKE}é\u2028\u2029\x85\x00\x0b\x0c|\n\n".encode(),
    b"data: \xff\xfe\xc3\n\n\xf0\x9f\n\ndata: b\n\n",
    b"event: a\nevent: b\ndata: c\n\nevent\ndata: d\n\n",
    b"\n\r\r\n\n\rdata: a\n\n",
    b"data: a\n\ndata: unfinished\n",
]


def slow_parse(raw: bytes) -> list[Frame]:
    """The standard, line by line, on all bytes at once."""
    lines = re.split(rb"\r\n|\n|\r", raw[3:] if raw[:3] == BOM else raw)
    found, name, data = [], b"", b""
    for line in lines[:-1]:
        if line:
            match = re.match(rb"([^:]*):? ?(.*)", line, re.DOTALL)
            assert match is not None
            field, value = match.groups()
            if field == b"event":
                name = value
            elif field == b"data":
                data += value + b" "
            continue
        if data.strip(b" \t\x0b\x0c"):
            found.append(Frame(name.decode(), data[:-1]))
        name = data = b""
    return found


def parse(pieces: list[bytes], limit: int = LIMIT) -> tuple[list[Frame], bool]:
    """The frames, and whether the parser refused in the end."""
    parser = Parser(limit)
    found = []
    try:
        for piece in pieces:
            found += parser.feed(piece)
        parser.finish()
    except ProviderGarbled:
        return found, True
    return found, False


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    return [raw[start:end] for start, end in pairwise(edges)]


# Pieces of what a stream is made of, so that chance meets the rare cases.
PIECES = [
    *[b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", BOM, b"\xef", b"\xbb", b"\t", b" ", b"\x00"],
    *[b"data", b"data:", b"data: ", b"event: ", b"event:x", b":", b"id: 1", b"retry: 5"],
    *[b"{}", b"a", b"\xf0\x9f\x90\x8d", b"\xe2\x80\xa8"],
]
soup = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
bad_name = re.compile(
    rb"(?:^|[\r\n])(?:\xef\xbb\xbf)?event:(?:[^\r\n]*[^A-Za-z0-9._:\r\n-]|[^\r\n]{65})"
)


@patient
@given(soup, st.lists(st.integers(min_value=0), max_size=8))
def test_every_split_parses_alike(raw: bytes, places: list[int]) -> None:
    assert parse(cut(raw, places)) == parse([raw])


@patient
@given(
    soup.map(lambda raw: raw.replace(b"event: ", b"event:")).filter(
        lambda r: not bad_name.search(r)
    )
)
def test_what_is_parsed_is_what_the_standard_says(raw: bytes) -> None:
    assert parse([raw]) == (slow_parse(raw), False)


@patient
@given(soup, st.lists(st.integers(min_value=0), max_size=8), st.integers(min_value=1, max_value=30))
def test_a_limit_is_passed_or_kept_whatever_the_split(
    raw: bytes, places: list[int], limit: int
) -> None:
    assert parse(cut(raw, places), limit) == parse([raw], limit)


@pytest.mark.parametrize("raw", CORPUS)
def test_the_corpus_parses_as_the_standard_says(raw: bytes) -> None:
    parser = Parser(LIMIT)
    assert parser.feed(raw) == slow_parse(raw)
    assert slow_parse(raw)


@pytest.mark.parametrize("raw", CORPUS)
def test_one_cut_anywhere_changes_nothing(raw: bytes) -> None:
    whole = parse([raw])
    for place in range(len(raw) + 1):
        assert parse([raw[:place], raw[place:]]) == whole


@pytest.mark.parametrize("raw", CORPUS)
def test_two_cuts_anywhere_change_nothing(raw: bytes) -> None:
    whole = parse([raw])
    for first in range(len(raw) + 1):
        for second in range(first, len(raw) + 1):
            assert parse([raw[:first], raw[first:second], raw[second:]]) == whole


@pytest.mark.parametrize("raw", CORPUS)
def test_byte_by_byte_changes_nothing(raw: bytes) -> None:
    assert parse([raw[place : place + 1] for place in range(len(raw))]) == parse([raw])


@pytest.mark.parametrize("name", recorded.ALL)
def test_a_recording_parses_alike_in_pieces_of_any_size(name: str) -> None:
    raw = recorded.raw(name)
    whole = parse([raw])
    assert whole == (slow_parse(raw), False)
    for size in (1, 2, 3, 7, 64, 1460):
        assert parse([raw[at : at + size] for at in range(0, len(raw), size)]) == whole


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_is_there_as_soon_as_its_blank_line_is(end: bytes) -> None:
    parser = Parser(LIMIT)
    assert parser.feed(b"data: a" + end) == []
    assert parser.feed(end) == [Frame("", b"a")]


def test_a_cr_is_a_line_end_before_it_is_known_whether_an_lf_follows() -> None:
    parser = Parser(LIMIT)
    assert parser.feed(b"data: a\r\n\r") == [Frame("", b"a")]
    assert parser.feed(b"\ndata: b\r\n\r\n") == [Frame("", b"b")]


def test_reads_of_nothing_change_nothing() -> None:
    pieces = [BOM[:1], BOM[1:], b"data: a\r", b"\ndata: b\r", b"\n\r", b"\ndata: c\r\r"]
    with_nothing = [piece for one in pieces for piece in (b"", one, b"")]
    expected = [Frame("", b"a b"), Frame("", b"c")]
    assert parse(with_nothing) == parse(pieces) == (expected, False)


def test_lines_of_data_become_one_line() -> None:
    frames = Parser(LIMIT).feed(b'data: {"a":\ndata:  1,\r\ndata:"b": 2}\n\n')
    assert frames == [Frame("", b'{"a":  1, "b": 2}')]


@pytest.mark.parametrize(
    "blank", [b"data:\n\n", b"data\n\n", b"data: \t\ndata:\n\n", b"event: x\n\n"]
)
def test_an_event_without_data_is_none(blank: bytes) -> None:
    assert Parser(LIMIT).feed(blank + b"data: a\n\n") == [Frame("", b"a")]


def test_what_is_unfinished_at_the_end_never_was() -> None:
    parser = Parser(LIMIT)
    assert parser.feed(b"data: a\n\ndata: b\n") == [Frame("", b"a")]
    parser.finish()


def test_a_name_does_not_outlive_its_event() -> None:
    frames = Parser(LIMIT).feed(b"event: x\n\ndata: a\n\nevent: y\ndata: b\n\ndata: c\n\n")
    assert frames == [Frame("", b"a"), Frame("y", b"b"), Frame("", b"c")]


@pytest.mark.parametrize("name", [b"a b", b"a\x00", b"\xc3\xa9", b"a\xff", b"x" * 65, b"<script>"])
def test_a_name_of_another_alphabet_is_refused(name: bytes) -> None:
    with pytest.raises(ProviderGarbled):
        read_name(name)
    with pytest.raises(ProviderGarbled):
        Parser(LIMIT).feed(b"event: " + name + b"\ndata: {}\n\n")


@pytest.mark.parametrize(
    "name", [b"", b"content_block_delta", b"response.created", b"x" * 64, b"a:-.9"]
)
def test_a_name_of_the_alphabet_passes(name: bytes) -> None:
    assert read_name(name) == name.decode()
    assert Parser(LIMIT).feed(b"event:" + name + b"\ndata: {}\n\n") == [Frame(name.decode(), b"{}")]


def test_more_names_than_are_remembered_still_pass() -> None:
    parser = Parser(LIMIT)
    for number in range(200):
        frames = parser.feed(b"event: n%d\ndata: x\n\n" % number)
        assert frames == [Frame(f"n{number}", b"x")]


def test_an_event_may_be_as_large_as_the_limit_and_no_larger() -> None:
    fits = b"data: " + b"x" * 94
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        assert parse([fits + end], 100) == ([Frame("", b"x" * 94)], False)
        assert parse([fits + b"x" + end], 100) == ([], True)
        in_bytes = [(fits + end)[at : at + 1] for at in range(100 + len(end))]
        assert parse(in_bytes, 100) == ([Frame("", b"x" * 94)], False)


def test_a_line_without_end_is_refused_once_it_is_too_long() -> None:
    parser = Parser(1000)
    for _ in range(1000 // 64 - 1):
        parser.feed(b"x" * 64)
    parser.feed(b"x" * (1000 - 14 * 64))
    with pytest.raises(ProviderGarbled):
        parser.feed(b"x")


@pytest.mark.parametrize("filler", [b": comment\n", b"data: x\n", b"id: 1\n", b"x\r", b"data:\r\n"])
def test_lines_without_a_blank_one_are_refused_once_they_are_too_many(filler: bytes) -> None:
    frames, is_refused = parse([filler] * 1000, 1000)
    assert frames == []
    assert is_refused


def test_blank_lines_do_not_add_up() -> None:
    assert parse([b"\n" * 10_000, b"\r\n" * 10_000, b"data: a\n\n"], 100) == (
        [Frame("", b"a")],
        False,
    )


def test_what_came_before_the_refusal_is_given_first() -> None:
    parser = Parser(20)
    assert parser.feed(b"data: a\n\n" + b"x" * 100) == [Frame("", b"a")]
    for _ in range(2):
        with pytest.raises(ProviderGarbled):
            parser.feed(b"\n\ndata: b\n\n")
        with pytest.raises(ProviderGarbled):
            parser.finish()


def test_a_huge_event_in_small_pieces_takes_time_by_its_size_alone() -> None:
    parser = Parser(40_000_000)
    piece = b"x" * 64
    begun = time.process_time()
    parser.feed(b"data: ")
    for _ in range(300_000):
        parser.feed(piece)
    frames = parser.feed(b"\n\n")
    assert len(frames[0].data) == 64 * 300_000
    # Copying what is held for each piece would be 3 TB, some minutes.
    assert time.process_time() - begun < 10
