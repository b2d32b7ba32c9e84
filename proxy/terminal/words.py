"""How the terminal says what it shows in few characters. Pure."""


def span(seconds: float) -> str:
    """In at most four characters, such as 7s, 59m, 23h or 99d."""
    whole = max(int(seconds), 0)
    for unit_s, unit, less_than in ((1, "s", 100), (60, "m", 100), (3600, "h", 72)):
        if whole < unit_s * less_than:
            return f"{whole // unit_s}{unit}"
    return f"{whole // 86_400}d"
