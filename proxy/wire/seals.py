"""Seals of reasoning, carried by clients of another dialect to come back to their maker.

A signature means something to its maker alone, who refuses another's. So where it is told in
another dialect, it names its maker, and is taken off again on the way back: the bytes between are
the maker's own.
"""

_MARK = "midstream:"
_REDACTED = "midstream-redacted:"


def carried(maker: str, seal: str, *, is_redacted: bool = False) -> str:
    """`seal` of a provider that speaks the dialect `maker`, for a client of another dialect."""
    return f"{_REDACTED if is_redacted else _MARK}{maker}:{seal}"


def opened(text: str) -> tuple[str, str] | None:
    """The maker and the seal that were `carried`; None for a text that never was."""
    mark = next((mark for mark in (_MARK, _REDACTED) if text.startswith(mark)), None)
    if mark is None:
        return None
    maker, found, seal = text.removeprefix(mark).partition(":")
    return (maker, seal) if found else None


def is_redacted(text: str) -> bool:
    """Whether what was `carried` stands for reasoning that only its maker may read."""
    return text.startswith(_REDACTED)
