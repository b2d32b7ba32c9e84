"""The targets of a model as they are written: ``"provider/model"``, or a table with more.

Owns which fields of a request an operator may set for a target. What surprises: those that say
who is asked, what was said so far, or how it is answered are not among them, because the proxy
has to know them before a target is chosen.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from proxy.config.expectations import expected, instead, nearest
from proxy.config.lines import Path
from proxy.config.money import read_price
from proxy.config.problems import Problems
from proxy.policy.routes import Target
from proxy.stream import Price

_TARGETS_MAX = 20
"""Of one model. Chosen: each is translated for before any is asked."""
_TARGET_CHARS_MAX = 300
_PARAMETERS_MAX = 50
_PARAMETER_BYTES_MAX = 64 * 1024

_REFUSED_PARAMETERS = frozenset(
    {
        "background",
        "conversation",
        "input",
        "messages",
        "model",
        "n",
        "previous_response_id",
        "prompt",
        "stream",
        "stream_options",
    }
)
"""Who is asked, what was said so far, and how it is answered."""

SilentTokens = Annotated[int, Meta(ge=0, le=100_000)]
Weight = Annotated[int, Meta(ge=1, le=1_000_000)]


class TargetTable(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``targets``; what it does not say is its model's to say."""

    provider: str
    model: str
    price: Price | None = None
    weight: Weight = 1
    parameters: Mapping[str, msgspec.Raw] = {}
    prefill: bool | None = None
    silent_tokens_per_s: SilentTokens | None = None

    def target(self, price: Price | None, silent_tokens_per_s: int) -> Target:
        """With its model's price and pace, where it has none of its own."""
        silent = self.silent_tokens_per_s
        return Target(
            provider=self.provider,
            model=self.model,
            price=self.price or price,
            silent_tokens_per_s=silent_tokens_per_s if silent is None else silent,
            weight=self.weight,
            parameters=self.parameters,
            prefill=self.prefill,
        )


def read_targets(value: object, path: Path, problems: Problems) -> tuple[TargetTable, ...]:
    """Those of one model; none, and problems, if one of them is wrong."""
    if not isinstance(value, list) or not 0 < len(value) <= _TARGETS_MAX:
        what = 'must be a list of "provider/model", such as ["openai/gpt-5"], '
        problems.add(path, f"{what}or of {{to = ...}}; {_TARGETS_MAX} at most")
        return ()
    found = [_Entry(path, place, problems).read(each) for place, each in enumerate(value, 1)]
    return tuple(target for target in found if target is not None)


class _Entry:
    """One target on its way."""

    def __init__(self, path: Path, place: int, problems: Problems) -> None:
        self._path = path
        self._place = place
        self._problems = problems
        self._readers: Mapping[str, Callable[[object], object]] = {
            "weight": lambda value: self._plain("weight", Weight, value),
            "prefill": lambda value: self._plain("prefill", bool, value),
            "silent_tokens_per_s": lambda value: self._plain(
                "silent_tokens_per_s", SilentTokens, value
            ),
            "parameters": self._parameters,
            "price": lambda value: read_price(value, (*path, "price"), problems),
        }

    def read(self, value: object) -> TargetTable | None:
        """None, and a problem, if it is no target."""
        table = value if isinstance(value, dict) else {"to": value}
        more = {name: written for name, written in table.items() if name != "to"}
        to = table.get("to")
        to = to if isinstance(to, str) else ""
        provider, _, model = to.partition("/")
        is_whole = to.isascii() and to.isprintable() and " " not in to
        if not provider or not model or not is_whole or len(to) > _TARGET_CHARS_MAX:
            what = 'must be a "provider/model", such as "openai/gpt-5"'
            self._add(f'{what}, or {{to = "openai/gpt-5", price = {{...}}}}')
            return None
        values: dict[str, Any] = {}
        for name, written in more.items():
            reader = self._readers.get(name)
            if reader is None:
                self._add(f"has an unknown key{nearest(name, ['to', *self._readers])}")
            elif (read := reader(written)) is not None:
                values[name] = read
        return TargetTable(provider=provider, model=model, **values)

    def _add(self, what: str) -> None:
        self._problems.add(self._path, f"entry {self._place} {what}")

    def _plain(self, name: str, hint: object, value: object) -> object:
        try:
            converted: object = msgspec.convert(value, hint)
        except msgspec.ValidationError:
            self._add(f"has a {name} that must be {expected(hint)}{instead(hint, value)}")
            return None
        return converted

    def _parameters(self, value: object) -> Mapping[str, msgspec.Raw] | None:
        if not isinstance(value, dict) or len(value) > _PARAMETERS_MAX:
            what = f"must be a table of at most {_PARAMETERS_MAX} fields, such as {{top_p = 0.9}}"
            self._add(f"has parameters that {what}")
            return None
        refused = sorted(_REFUSED_PARAMETERS & value.keys())
        if refused:
            self._add(f"has parameters that a target cannot set: {', '.join(refused)}")
            return None
        if not all(name.isascii() and name.isidentifier() for name in value):
            self._add("has a parameter whose name is not of letters, digits and _")
            return None
        found = {}
        for name, written in value.items():
            try:
                found[name] = msgspec.Raw(_json(written))
            except (ValueError, RecursionError):
                self._add("has a parameter that is no JSON, or longer than 64 KiB")
                return None
        return found


def _json(value: object) -> bytes:
    """Raises `ValueError` for what TOML has and JSON has not: times, infinity, and too much."""
    text = msgspec.json.encode(value, enc_hook=_refuse)
    if _has_time_or_infinity(value) or len(text) > _PARAMETER_BYTES_MAX:
        raise ValueError
    return text


def _refuse(_: object) -> object:
    raise ValueError


def _has_time_or_infinity(value: object) -> bool:
    match value:
        case dict():
            return any(_has_time_or_infinity(each) for each in value.values())
        case list():
            return any(_has_time_or_infinity(each) for each in value)
        case float():
            return value - value != 0
        case _:
            return not isinstance(value, str | int)
