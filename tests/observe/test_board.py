"""The board: sums over sheets that outlive who writes them."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.board import SHEET_WORDS, WORD_BYTES, Board

KEYS = st.binary(min_size=1, max_size=40).filter(lambda key: not key.endswith(b"\0"))


def new_board(sheets: int) -> Board:
    return Board(memoryview(bytearray(sheets * SHEET_WORDS * WORD_BYTES)).cast("q"))


@given(told=st.lists(st.tuples(st.integers(0, 2), KEYS, st.integers(-(2**40), 2**40))))
def test_the_board_tells_the_sums_of_whatever_was_added_on_its_sheets(
    told: list[tuple[int, bytes, int]],
) -> None:
    board = new_board(3)
    sheets = [board.sheet(number) for number in range(3)]
    expected: dict[bytes, int] = {}

    for number, key, more in told:
        sheets[number].cells(key, 1)[0] += more
        expected[key] = expected.get(key, 0) + more

    assert {key: list(numbers) for key, numbers in board.read().items()} == {
        key: [number] for key, number in expected.items()
    }


def test_a_successor_goes_on_where_the_last_writer_of_its_sheet_stopped() -> None:
    board = new_board(2)
    board.sheet(1).cells(b"deaths", 1)[0] += 3
    board.sheet(1).cells(b"deaths", 1)[0] += 1
    board.sheet(0).cells(b"deaths", 1)[0] += 1

    assert board.read() == {b"deaths": [5]}


def test_what_was_true_only_while_its_process_lived_is_cleared_and_nothing_else() -> None:
    board = new_board(2)
    for number in range(2):
        sheet = board.sheet(number)
        sheet.cells(b"running", 1)[0] += 2
        sheet.cells(b"made", 3)[1] += 5

    board.clear(1, lambda key: key == b"running")

    assert board.read() == {b"running": [2], b"made": [0, 10, 0]}


def test_a_full_sheet_takes_no_more_names_and_breaks_nothing() -> None:
    board = new_board(1)
    sheet = board.sheet(0)
    count = 0
    while not sheet.is_full:
        sheet.cells(b"key %d" % count, 20)[19] += 1
        count += 1

    told = board.read()

    assert len(told) == count - 1 > 1000
    assert all(list(numbers) == [0] * 19 + [1] for numbers in told.values())
