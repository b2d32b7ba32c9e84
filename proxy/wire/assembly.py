"""An answer put together from deltas: how JSON values grow.

Owns the rules that both SDKs' accumulators share: strings are joined, numbers added, lists
merged by the integer `index` of their entries or else appended to, objects grown field by
field. What surprises: a growing string is a `Text` until it is encoded, because an answer of a
hundred thousand deltas, joined one by one, would be copied a hundred thousand times.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import msgspec

from proxy.errors import ProviderGarbled

Json: TypeAlias = object
"""Any JSON value, where each string may be a `Text`."""
Object: TypeAlias = dict[str, Json]

_REPLACED = frozenset({"index", "type", "id", "role"})
"""Said again, these are the same word, not more of it: some servers repeat id and role in each
delta."""


class Text:
    """A string that still grows."""

    __slots__ = ("_pieces",)

    def __init__(self, start: str) -> None:
        self._pieces = [start]

    def append(self, piece: str) -> None:
        """More of it."""
        self._pieces.append(piece)

    def __str__(self) -> str:
        return "".join(self._pieces)


def grow(made: Object, delta: Object) -> None:
    """Add what `delta` says to `made`. Null says nothing. `delta` is not to be used again."""
    for key, value in delta.items():
        had = made.get(key)
        if value is None:
            made.setdefault(key, None)
        elif had is None:
            made[key] = _begin(value)
        elif key in _REPLACED:
            made[key] = value or had
        else:
            made[key] = _more(had, value)


def _begin(value: Json) -> Json:
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, dict):
        made: Object = {}
        grow(made, value)
        return made
    if isinstance(value, list):
        entries: list[Json] = []
        _extend(entries, value)
        return entries
    return value


def _more(had: Json, value: Json) -> Json:
    """`had` and `value` as one; where their kinds differ, the later."""
    if isinstance(had, Text) and isinstance(value, str):
        had.append(value)
        return had
    if isinstance(had, dict) and isinstance(value, dict):
        grow(had, value)
        return had
    if isinstance(had, list) and isinstance(value, list):
        _extend(had, value)
        return had
    if _is_number(had) and _is_number(value):
        return had + value  # type: ignore[operator]
    return _begin(value)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _extend(made: list[Json], entries: list[Json]) -> None:
    for entry in entries:
        index = index_of(entry)
        if not isinstance(entry, dict) or index is None:
            made.append(entry)
            continue
        known = next((one for one in made if index_of(one) == index), None)
        if isinstance(known, dict):
            grow(known, entry)
        else:
            made.append(_begin(entry))


def index_of(entry: Json) -> int | None:
    """The place that an entry of a list names, if it is an object that names one."""
    index = entry.get("index") if isinstance(entry, dict) else None
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def object_at(value: Json) -> Object:
    """`value` if it is an object, else an empty one: a provider may send anything."""
    return value if isinstance(value, dict) else {}


def objects_at(value: Json) -> list[Object]:
    """The objects in `value`, if it is a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def decode(text: bytes | str) -> Json:
    """The value of a JSON text, lone surrogates and all. Raises `ValueError` if it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return json.loads(text, parse_float=_finite, parse_constant=_refuse)


def _finite(text: str) -> float:
    """JSON has no infinity, but it has 1e999."""
    return max(-sys.float_info.max, min(sys.float_info.max, float(text)))


def _refuse(text: str) -> Json:
    raise ValueError(f"{text} is not JSON")


@contextmanager
def folding() -> Iterator[None]:
    """While inside, `ProviderGarbled` is raised for what cannot be put together."""
    try:
        yield
    except (RecursionError, ValueError) as error:
        raise ProviderGarbled("an event too deep or a number too long to be folded") from error


def encode(value: Json) -> bytes:
    """The JSON of `value`. Halves of a surrogate pair that came in two deltas are one again."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return json.dumps(value, default=str, separators=(",", ":")).encode("ascii")
