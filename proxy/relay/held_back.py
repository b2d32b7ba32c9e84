"""The first frames of a try, held back until the model has said something.

Providers fail most often before that, and a frame that is written cannot be taken back: so what
only announces an answer waits here, and is forgotten if the try fails. It waits within bounds, of
time, count and bytes; past any of them it is written, and the try is the one that counts.
"""

from collections.abc import Sequence

from proxy.stream import Frame

FRAMES_MAX = 64
BYTES_MAX = 256 * 1024
"""Chosen: what announces an answer is one to five frames; the Responses dialect repeats the whole
request in them."""


class HeldBack:
    """Of one try. `is_open` until they are let go."""

    def __init__(self, *, is_open: bool) -> None:
        self.is_open = is_open
        self.frames: list[Frame] = []
        self._bytes = 0

    def add(self, frame: Frame) -> None:
        """Hold this one too."""
        self.frames.append(frame)
        self._bytes += len(frame.data)

    @property
    def is_full(self) -> bool:
        """Whether it holds as much as it may."""
        return len(self.frames) > FRAMES_MAX or self._bytes > BYTES_MAX

    def let_go(self) -> Sequence[Frame]:
        """What was held; from now on nothing is."""
        self.is_open = False
        frames, self.frames = self.frames, []
        return frames
