"""The numbers of all processes of one `midstream serve`, in memory that they share.

Each process writes a sheet of its own and reads all of them, so whoever is asked can tell the
sum, without a lock and without asking anybody. A sheet outlives its process: a worker that was
killed has told everything up to its last moment, and its successor goes on adding where it
stopped. What surprises: nothing is ever taken off a sheet, so the board is full one day if names
without bound are written on it. What finds no room then is counted nowhere but in `is_full`.
"""

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence

WORD_BYTES = 8
SHEET_WORDS = 64 * 1024
"""Of one process: 512 KiB, of which only what is used takes memory. Measured: a model takes 2 KiB,
an owner 0.5 KiB; the most names that `Counts` lets through have room."""

Cells = memoryview
"""Some of a sheet's words, each a signed number of 64 bits. To add to one takes 50 ns."""


class Sheet:
    """The numbers of one process, by key.

    Word 0 says how many words are used. Then for each key: its length and how many numbers it
    has, the key, the numbers.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._cells = dict(_entries(words))
        self.is_full = False

    def cells(self, key: bytes, count: int) -> Cells:
        """The numbers of `key`, `count` of them; zeros if they are new."""
        found = self._cells.get(key)
        if found is not None:
            return found
        words, start = self._words, self._words[0] or 1
        first = start + 1 + -(-len(key) // WORD_BYTES)
        if first + count > len(words):
            self.is_full = True
            return memoryview(array("q", bytes(WORD_BYTES * count)))
        padded = key.ljust((first - start - 1) * WORD_BYTES, b"\0")
        for place, (word,) in enumerate(struct.iter_unpack("q", padded), start + 1):
            words[place] = word
        words[start] = len(key) << 32 | count
        words[0] = first + count  # last, so that nobody reads what is half written
        self._cells[key] = found = words[first : first + count]
        return found

    def total(self, name: bytes) -> list[int]:
        """The sums over all keys of this name: itself, or with more behind a zero byte."""
        found = [
            cells.tolist() for key, cells in self._cells.items() if key.split(b"\0", 1)[0] == name
        ]
        return list(map(sum, zip(*found, strict=True)))


class Board:
    """Some sheets. `words` are zeros when it is new."""

    def __init__(self, words: memoryview) -> None:
        assert len(words) % SHEET_WORDS == 0, "a board is made of whole sheets"
        self._sheets = [
            words[start : start + SHEET_WORDS] for start in range(0, len(words), SHEET_WORDS)
        ]

    def sheet(self, number: int | None) -> Sheet:
        """The sheet of this number, to be written by one process at a time.

        None is for a process that has no place: one that is not on the board.
        """
        return Sheet(_blank() if number is None else self._sheets[number])

    def read(self) -> dict[bytes, Sequence[int]]:
        """The sums over all sheets."""
        sums: dict[bytes, Sequence[int]] = {}
        for words in self._sheets:
            for key, cells in _entries(words):
                before = sums.get(key)
                numbers = cells.tolist()
                sums[key] = numbers if before is None else list(map(int.__add__, before, numbers))
        return sums

    def clear(self, number: int, is_momentary: Callable[[bytes], bool]) -> None:
        """The process of this sheet has ended: what was true only while it lived is zero now."""
        for key, cells in _entries(self._sheets[number]):
            if is_momentary(key):
                for place in range(len(cells)):
                    cells[place] = 0


def private_board() -> Board:
    """One sheet, for a process that has no others."""
    return Board(_blank())


def _blank() -> memoryview:
    return memoryview(bytearray(SHEET_WORDS * WORD_BYTES)).cast("q")


def _entries(words: memoryview) -> Iterator[tuple[bytes, Cells]]:
    place, end = 1, words[0]
    while place < end:
        size, count = words[place] >> 32, words[place] & 0xFFFFFFFF
        first = place + 1 + -(-size // WORD_BYTES)
        key = words[place + 1 : first].tobytes()[:size]
        yield key, words[first : first + count]
        place = first + count
