"""What `midstream tail` shows, and where: the answer on stdout, all else dimly on stderr.

On a terminal both are one screen, so it keeps account of which line is begun: what is of
another kind begins a new one, and a status takes the place of the status before it. In a pipe
stdout has the answer's bytes and nothing else. What surprises: on a terminal characters that
would control it are shown, not sent, because a model may say anything.
"""

import codecs
from typing import BinaryIO, Final

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from proxy.stream import Event
from proxy.terminal.server import visible

_ERASE: Final = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class Screen:
    """See the module."""

    def __init__(self, out: BinaryIO, errors: Console, *, is_terminal: bool) -> None:
        self._out = out
        self._errors = errors
        self._is_terminal = is_terminal
        """Whether stdout is one."""
        self._is_one = is_terminal and errors.is_terminal
        """Whether both are the same lines."""
        self._can_overwrite = errors.is_terminal and not errors.is_dumb_terminal
        self._begun = ""
        """What the line holds that the cursor stands in; "" at a line's beginning."""
        self._halves = codecs.getincrementaldecoder("utf-16-le")("replace")
        """Puts surrogate pairs together that were torn in two."""

    def text(self, piece: str) -> None:
        """More of the answer's text."""
        whole = self._halves.decode(piece.encode("utf-16-le", "surrogatepass"))
        self._write((visible(whole) if self._is_terminal else whole).encode())

    def event(self, event: Event) -> None:
        """A whole event on a line of its own: id, name and data, with tabs between."""
        line = b"%d\t%b\t%b\n" % (event.id, event.name.encode(), event.data)
        if self._is_terminal:
            line = visible(line.decode("utf-8", "replace")).encode()
        self._write(line)

    def aside(self, piece: str, kind: str, *, is_new: bool = False) -> None:
        """More of what is not the answer's text; its line goes on while `kind` is the same."""
        if is_new or self._begun != kind:
            self._end_line()
        self._print(visible(piece), end="")
        self._begun = kind

    def status(self, sentence: str) -> None:
        """What is being done now: on a terminal one line, that the next status overwrites."""
        if not self._can_overwrite:
            self.say(sentence)
            return
        self._clear_line()
        shown = f"· {sentence}"
        room = self._errors.width - 1
        self._print(shown if len(shown) <= room else shown[: room - 1] + "…", end="")
        self._begun = "status"

    def say(self, sentence: str) -> None:
        """A last word, however long. It takes the place of a status too."""
        self._clear_line()
        self._print(f"· {sentence}")

    def close(self) -> None:
        """Leave the cursor at a line's beginning."""
        self._end_line()

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._is_one:
            if self._begun != "text":
                self._end_line()
            self._begun = "" if data.endswith(b"\n") else "text"
        self._out.write(data)
        self._out.flush()

    def _clear_line(self) -> None:
        """Stand at a line's beginning, in place of a status if there is one."""
        if self._begun == "status":
            self._errors.control(_ERASE)
            self._begun = ""
        self._end_line()

    def _end_line(self) -> None:
        if self._begun:
            self._print("")
        self._begun = ""

    def _print(self, text: str, end: str = "\n") -> None:
        self._errors.print(Text(text, style="dim"), end=end, soft_wrap=True)
