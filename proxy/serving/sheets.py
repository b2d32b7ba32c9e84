"""The memory that a supervisor and its workers count in, and who has which sheet of it.

It is multiprocessing's own kind: a mapping without a name in any file system, of which only what
is written takes room. See D17.
"""

from multiprocessing.heap import BufferWrapper

from proxy.observe import Board
from proxy.observe.board import SHEET_WORDS, WORD_BYTES
from proxy.observe.counts import is_momentary

_FOR_EACH_POST = 4
"""Its worker, and those of before that still drain. Chosen: nobody stops more workers by hand while
one drains."""


def board_on(memory: BufferWrapper) -> Board:
    """The board that is in this memory, in any process."""
    return Board(memory.create_memoryview().cast("q"))


class Sheets:
    """See the module. The first sheet is the supervisor's."""

    def __init__(self, posts: int) -> None:
        count = 1 + _FOR_EACH_POST * posts
        self.memory = BufferWrapper(count * SHEET_WORDS * WORD_BYTES)
        self.board = board_on(self.memory)
        self._free = list(range(1, count))

    def take(self) -> int | None:
        """A sheet that no process writes; None if there is none."""
        return self._free.pop(0) if self._free else None

    def give_back(self, sheet: int | None) -> None:
        """Its process has ended."""
        if sheet is not None:
            self.board.clear(sheet, is_momentary)
            self._free.insert(0, sheet)  # so that few are used, and read
