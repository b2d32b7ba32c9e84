"""Where on a terminal the answer and everything else stand."""

import io

import pytest
from rich.console import Console

from proxy.stream import Event
from proxy.terminal.screen import Screen


class Both:
    """stdout and stderr of one terminal, or of two pipes."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.out = io.BytesIO()
        self._errors = io.TextIOWrapper(
            self.out if is_terminal else io.BytesIO(), encoding="utf-8", write_through=True
        )
        console = Console(
            file=self._errors,
            force_terminal=is_terminal,
            width=40,
            color_system="standard" if is_terminal else None,
            _environ={"TERM": "xterm" if is_terminal else ""},
        )
        self.screen = Screen(self.out, console, is_terminal=is_terminal)

    @property
    def text(self) -> str:
        """Of the terminal, or of stdout, without what makes it dim."""
        return self.out.getvalue().decode().replace("\x1b[2m", "").replace("\x1b[0m", "")

    @property
    def errors(self) -> str:
        buffer = self._errors.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


ERASE = "\r\x1b[2K"


def test_a_status_takes_the_place_of_the_one_before_and_gives_way_to_text() -> None:
    both = Both(is_terminal=True)

    both.screen.status("connected")
    both.screen.text("Hello")
    both.screen.status("line lost")
    both.screen.status("connected again")
    both.screen.text(" world\n")
    both.screen.say("completed")
    both.screen.close()

    assert both.text == (
        f"· connected\nHello\n· line lost{ERASE}· connected again\n world\n· completed\n"
    )


def test_asides_have_lines_of_their_own_and_text_goes_on_after_them() -> None:
    both = Both(is_terminal=True)

    both.screen.aside("let me", "reasoning")
    both.screen.aside(" think", "reasoning")
    both.screen.text("So: ")
    both.screen.aside("→ f ", "tool", is_new=True)
    both.screen.aside("{}", "tool")
    both.screen.aside("→ g ", "tool", is_new=True)
    both.screen.text("done")
    both.screen.close()

    assert both.text == "let me think\nSo: \n→ f {}\n→ g \ndone\n"


def test_a_status_that_is_too_long_stays_on_its_line_but_the_last_word_does_not() -> None:
    both = Both(is_terminal=True)

    both.screen.status("x" * 100)
    both.screen.say("y" * 100)

    status, _, last = both.text.partition(ERASE)
    assert status == "· " + "x" * 36 + "…"
    assert last == "· " + "y" * 100 + "\n"


def test_in_pipes_stdout_has_the_text_alone() -> None:
    both = Both(is_terminal=False)

    both.screen.status("connected")
    both.screen.text("a\x1b[31m")
    both.screen.aside("hm", "reasoning")
    both.screen.text("b")
    both.screen.say("completed")
    both.screen.close()

    assert both.text == "a\x1b[31mb"
    assert both.errors == "· connected\nhm\n· completed\n"


def test_what_would_control_the_terminal_is_shown() -> None:
    both = Both(is_terminal=True)

    both.screen.text("a\x1b]0;title\x07\x9b2Jb\r\tc\n")
    both.screen.event(Event(1, "", b'"\x1b[2J"'))

    assert both.text == 'a␛]0;title␇\ufffd2Jb␍\tc\n1\t\t"␛[2J"\n'


@pytest.mark.parametrize("is_terminal", [False, True])
def test_halves_of_a_character_that_come_apart_are_put_together(is_terminal: bool) -> None:
    both = Both(is_terminal=is_terminal)

    both.screen.text("\ud83e")
    both.screen.text("\udd8a!")

    assert both.text == "🦊!"
