"""Seals of reasoning, carried by clients of another dialect to come back to their maker.

A signature means something to its maker alone, who refuses another's. So where it is told in
another dialect, it names its maker, and is taken off again on the way back: the bytes between are
the maker's own.
"""

_MARK = "midstream:"


def carried(maker: str, seal: str) -> str:
    """`seal` of a provider that speaks the dialect `maker`, for a client of another dialect."""
    return f"{_MARK}{maker}:{seal}"


def opened(text: str) -> tuple[str, str] | None:
    """The maker and the seal that were `carried`; None for a text that never was."""
    if not text.startswith(_MARK):
        return None
    maker, found, seal = text.removeprefix(_MARK).partition(":")
    return (maker, seal) if found else None
