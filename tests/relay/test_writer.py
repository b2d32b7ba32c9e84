import pytest

from proxy.errors import ProviderGarbled
from proxy.relay.lifecycle import Phase
from proxy.relay.ports import Outcome, Receipt
from proxy.relay.tail import Tail
from proxy.relay.writer import Limits, Writer
from proxy.stream import Birth, Ending, Frame, StreamId

STREAM = StreamId("st_" + "0" * 26)
BIRTH = Birth(
    id=STREAM,
    owner="o",
    dialect="openai.chat",
    model="m",
    provider="p",
    created_at=0.0,
    retention_s=60.0,
)


def new_writer(*, last_id: int = 0, stream_bytes_max: int = 10_000) -> Writer:
    return Writer(
        BIRTH,
        epoch=1,
        tail=Tail(STREAM, last_id=last_id, is_local=True),
        limits=Limits(event_bytes_max=1000, stream_bytes_max=stream_bytes_max),
        on_ready=lambda _: None,
    )


def add(writer: Writer, count: int) -> None:
    for _ in range(count):
        writer.add(Frame("", b"{}"))
    writer.flush()


def accept(writer: Writer) -> list[int]:
    append = writer.next_append()
    last_id = append.first_id + len(append.events) - 1
    writer.settle(append, Receipt(Outcome.WRITTEN, last_id), 0.0)
    return [event.id for event in append.events]


def test_ids_are_dense_from_one_and_written_once() -> None:
    writer = new_writer()
    add(writer, 3)
    assert accept(writer) == [1, 2, 3]
    add(writer, 2)
    assert accept(writer) == [4, 5]
    assert not writer.has_more


def test_nobody_sees_an_event_before_the_store_has_it() -> None:
    writer = new_writer()
    add(writer, 2)
    append = writer.next_append()
    assert writer.tail.last_id == 0
    writer.settle(append, Receipt(Outcome.WRITTEN, 2), 0.0)
    assert writer.tail.last_id == 2


def test_an_unknown_outcome_offers_the_same_again() -> None:
    writer = new_writer()
    add(writer, 2)
    first = writer.next_append()
    writer.retry()
    assert list(writer.next_append().events) == list(first.events)


def test_a_gap_is_filled_from_memory() -> None:
    writer = new_writer()
    add(writer, 5)
    accept(writer)
    add(writer, 1)
    append = writer.next_append()
    writer.settle(append, Receipt(Outcome.GAP, 2), 0.0)
    assert accept(writer) == [3, 4, 5, 6]
    assert writer.tail.last_id == 6


def test_a_store_that_forgot_the_stream_gets_all_of_it_again() -> None:
    writer = new_writer()
    add(writer, 3)
    accept(writer)
    add(writer, 1)
    writer.settle(writer.next_append(), Receipt(Outcome.LOST), 0.0)
    append = writer.next_append()
    assert append.birth == BIRTH
    assert [event.id for event in append.events] == [1, 2, 3, 4]


def test_a_successor_cannot_fill_what_only_the_dead_had() -> None:
    writer = new_writer(last_id=7)
    writer.end(Ending.INTERRUPTED, None, (Frame("", b"{}"),))
    writer.settle(writer.next_append(), Receipt(Outcome.GAP, 5), 0.0)
    assert writer.phase is Phase.LOST


def test_the_end_goes_with_the_last_event_and_never_before_it() -> None:
    writer = new_writer()
    add(writer, 600)  # more than one append holds
    writer.end(Ending.COMPLETED, None, ())
    first = writer.next_append()
    assert first.end is None
    writer.settle(first, Receipt(Outcome.WRITTEN, len(first.events)), 0.0)
    last = writer.next_append()
    assert last.end is not None
    writer.settle(last, Receipt(Outcome.WRITTEN, 600), 0.0)
    assert writer.phase is Phase.ENDED
    assert writer.tail.ending is Ending.COMPLETED


def test_only_the_first_end_counts() -> None:
    writer = new_writer()
    writer.end(Ending.CANCELLED, None, (Frame("", b"1"),))
    writer.end(Ending.COMPLETED, None, (Frame("", b"2"),))
    append = writer.next_append()
    assert append.end is not None
    assert append.end.ending is Ending.CANCELLED
    assert [event.data for event in append.events] == [b"1"]


@pytest.mark.parametrize("outcome", [Outcome.FENCED, Outcome.ERASED])
def test_an_ousted_writer_writes_nothing_more(outcome: Outcome) -> None:
    writer = new_writer()
    add(writer, 1)
    writer.settle(writer.next_append(), Receipt(outcome), 0.0)
    add(writer, 1)
    assert writer.phase is Phase.LOST
    assert not writer.has_more
    assert writer.done.is_set()


def test_an_answer_beyond_its_bound_is_refused() -> None:
    writer = new_writer(stream_bytes_max=3)
    writer.add(Frame("", b"{}"))
    with pytest.raises(ProviderGarbled):
        writer.add(Frame("", b"{}"))


def test_a_producer_waits_while_too_much_is_unwritten() -> None:
    writer = new_writer(stream_bytes_max=10**9)
    writer.add(Frame("", b"x" * 5_000_000))
    writer.flush()
    assert not writer.room.is_set()
    accept(writer)
    assert writer.room.is_set()


@pytest.mark.parametrize("outcome", [Outcome.FENCED, Outcome.GAP])
def test_readers_of_a_lost_stream_are_sent_to_the_journal(outcome: Outcome) -> None:
    writer = new_writer(last_id=3)
    add(writer, 1)
    writer.settle(writer.next_append(), Receipt(outcome, 2), 0.0)
    assert writer.phase is Phase.LOST
    assert not writer.tail.is_local
    assert writer.tail.is_in_doubt


def test_a_store_that_stayed_away_too_long_leaves_no_reader_behind() -> None:
    writer = new_writer()
    add(writer, 1)
    writer.oust()
    assert not writer.tail.is_local
    assert writer.tail.is_in_doubt


def test_what_a_full_store_refuses_makes_room_for_the_end() -> None:
    writer = new_writer()
    add(writer, 2)
    accept(writer)
    add(writer, 600)
    writer.settle(writer.next_append(), Receipt(Outcome.FULL), 0.0)
    assert not writer.has_more
    writer.end(Ending.INTERRUPTED, None, (Frame("", b"{}"),))
    assert accept(writer) == [3]
    assert writer.phase is Phase.ENDED
