"""Amounts of USD as they are written, and as they are kept: whole micro-dollars.

What surprises: a TOML number is read as a float, whose shortest form is what stood in the file
up to 15 digits; so it is taken from that, and 0.1 is 100,000 micro-dollars to the digit.
"""

from decimal import Decimal

from proxy.config.expectations import nearest
from proxy.config.lines import Path
from proxy.config.problems import Problems
from proxy.stream import Price

MICRODOLLARS = 1_000_000
"""In a dollar."""
_PRICE_MAX = 1_000_000 * MICRODOLLARS  # chosen: a thousand times the dearest model
_PRICED = ("input", "output", "cached_input", "cache_write", "reasoning")


def read_usd(value: object, low: int, high: int) -> int | None:
    """The micro-dollars that an amount of USD is; None if it is none from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= high:  # also what is not a number, or thousands of digits long
        return None
    exact = Decimal(repr(value)) * MICRODOLLARS
    return int(exact) if exact == int(exact) and low <= exact <= high else None


def usd(microdollars: int) -> str:
    """An amount as it is written."""
    whole, rest = divmod(microdollars, MICRODOLLARS)
    return f"{whole}.{rest:06}".rstrip("0").rstrip(".")


def expected_usd(low: int, high: int) -> str:
    """What `read_usd` wants, in words."""
    return f"an amount of USD from {usd(low)} to {usd(high)}, with 6 decimals at most"


def read_price(value: object, path: Path, problems: Problems) -> Price | None:
    """A price as it is written: USD for a million tokens, by what the tokens are."""
    if not isinstance(value, dict):
        problems.add(path, "must be a table, such as {input = 2.5, output = 10.0}")
        return None
    wanted = expected_usd(0, _PRICE_MAX)
    found: dict[str, int] = {}
    for name, written in value.items():
        amount = read_usd(written, 0, _PRICE_MAX)
        if name not in _PRICED:
            problems.add((*path, name), f"unknown key{nearest(name, _PRICED)}")
        elif amount is None:
            problems.add((*path, name), f"must be {wanted}")
        else:
            found[name] = amount
    for name in ("input", "output"):
        if name not in value:
            problems.add(path, f"{name} is missing; it must be {wanted}")
    if not {"input", "output"} <= found.keys():
        return None
    return Price(
        input=found["input"],
        cached_input=found.get("cached_input", found["input"]),
        output=found["output"],
        reasoning=found.get("reasoning", found["output"]),
        cache_write=found.get("cache_write"),
    )
