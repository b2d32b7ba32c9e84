"""Where the text of one model goes on that of another.

Owns what is left out there, so that nothing stands twice: a repetition of what was said last, and
white space that both say. What surprises: the first words are held back until it is certain how
much of them is a repetition, but never more than `_TAIL_CHARS` of them.
"""

_TAIL_CHARS = 200
"""How much of what was said is looked at. Chosen: models repeat a word or a sentence, if
anything."""
_REPEATED_MIN = 12
"""Characters that make a repetition. Chosen: two or three words; what is shorter may be meant."""


class Seam:
    """Hears the words after `said`, piece by piece."""

    def __init__(self, said: str, *, may_repeat: bool) -> None:
        """`may_repeat`: the model was told to go on, and may begin with what was said last."""
        self._tail = said[-_TAIL_CHARS:]
        self._blank = self._tail[len(self._tail.rstrip()) :]
        self._may_repeat = may_repeat
        self._held: str | None = ""
        """What is not decided yet; None when all is."""
        self.left_out = 0
        """Characters, by now."""

    def hear(self, text: str) -> str:
        """What of it is new, as far as that is certain."""
        if self._held is None:
            return text
        self._held += text
        return "" if self._is_open(self._held) else self.finish()

    def finish(self) -> str:
        """What was held back and is new. Nothing is held back from now on."""
        held, self._held = self._held or "", None
        self.left_out = self._repeated(held)
        return held[self.left_out :]

    def _is_open(self, held: str) -> bool:
        """Whether more words could make more of it a repetition."""
        if len(held) >= _TAIL_CHARS:
            return False
        if len(held) < len(self._blank) and self._blank.startswith(held):
            return True
        if not self._may_repeat:
            return False
        words = held.lstrip()
        return self._is_within_tail(held) or not words or self._is_within_tail(words)

    def _is_within_tail(self, held: str) -> bool:
        """Whether the tail has it, with more after it."""
        return held in self._tail[:-1]

    def _repeated(self, held: str) -> int:
        if self._may_repeat:
            for start in (0, len(held) - len(held.lstrip())):
                for end in range(len(held), start + _REPEATED_MIN - 1, -1):
                    if self._tail.endswith(held[start:end]):
                        return end
        blank = self._blank
        return next(n for n in range(len(blank), -1, -1) if held.startswith(blank[:n]))
