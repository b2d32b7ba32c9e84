"""How to say what a value must be, from the annotation of its field.

It never quotes a string of the file: it may be a secret that was put into the wrong place.
"""

import difflib
import json
from collections.abc import Iterable

import msgspec.inspect as inspection

_NUMBER_SHOWN_MAX = (
    10**15
)  # chosen: larger ones say nothing by their digits, and may have thousands
_COMPARED_CHARS_MAX = 100  # chosen: comparing is quadratic, and no name is longer


def nearest(given: str, names: Iterable[str], *, lists_all: bool = True) -> str:
    """A hint at the name that was perhaps meant, or at those there are if they are few."""
    names = list(names)
    close = difflib.get_close_matches(given[:_COMPARED_CHARS_MAX], names, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; there are: {', '.join(names)}" if names and lists_all else ""


def expected(hint: object) -> str:
    """What a value of this type is, in words."""
    return _words(inspection.type_info(hint))


def _words(kind: inspection.Type) -> str:
    match kind:
        case inspection.Metadata():
            description = (kind.extra_json_schema or {}).get("description")
            return str(description) if description else _words(kind.type)
        case inspection.UnionType():
            wanted = [each for each in kind.types if not isinstance(each, inspection.NoneType)]
            return " or ".join(_words(each) for each in wanted)
        case inspection.IntType():
            return f"a whole number from {kind.ge} to {kind.le}"
        case inspection.FloatType():
            return f"a number from {kind.ge:g} to {kind.le:g}"
        case inspection.BoolType():
            return "true or false"
        case inspection.LiteralType():
            return _choice([str(value) for value in kind.values])
        case inspection.EnumType():
            return _choice([str(member.value) for member in kind.cls])
        case inspection.VarTupleType():
            return f"a list, each of it {_words(kind.item_type)}"
        case _:
            return "a string"


def _choice(values: list[str]) -> str:
    quoted = [json.dumps(value) for value in values]
    return quoted[0] if len(quoted) == 1 else f"one of {', '.join(quoted)}"


def instead(hint: object, value: object) -> str:
    """What it is instead, where that gives nothing away."""
    match value:
        case bool():
            return f", not {str(value).lower()}"
        case int() | float() if abs(value) < _NUMBER_SHOWN_MAX:
            return f", not {value}"
        case str():
            choices = _choices(inspection.type_info(hint))
            close = difflib.get_close_matches(value[:_COMPARED_CHARS_MAX], choices, n=1)
            return f'; did you mean "{close[0]}"?' if close else ""
        case _:
            return ""


def _choices(kind: inspection.Type) -> list[str]:
    match kind:
        case inspection.UnionType():
            return [choice for each in kind.types for choice in _choices(each)]
        case inspection.LiteralType():
            return [str(value) for value in kind.values]
        case inspection.EnumType():
            return [str(member.value) for member in kind.cls]
        case _:
            return []
