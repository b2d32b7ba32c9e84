"""A client's body, read for a provider of another dialect: of all that is in it, nothing is lost.

Owns the way through the objects of a body. Who reads one takes each field that it knows; what is
left in the end is refused by its path, but for what a dialect's `Rules` say. What surprises: null
is as if it were not there, as the SDKs send it for what nobody has set.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from proxy.errors import MalformedRequest
from proxy.wire.json_text import NULL, Fields

T = TypeVar("T")

_NAME_MAX = 64
"""Of a field that nobody knows, in an error. Chosen: longer than any that has a meaning."""
_STRING = "a string"
_WORDS = "a string or an array of objects"
_SWITCH = "true or false"
_UNKNOWN = "it is not known here"


class LeftOut(NamedTuple):
    """A field that is not translated, because the answer is the same without it."""

    why: str


class Refused(NamedTuple):
    """A field that no other dialect can say."""

    why: str
    unless: tuple[object, ...] = ()
    """Values that say what is so without it, and are left out."""


Rules: TypeAlias = Mapping[str, LeftOut | Refused]
"""By the pattern of a path: ``messages[].content[].cache_control``. An object of one kind alone is
``messages[].content[document].citations``, and the object itself ``tools[custom]``; ``tools[]`` is
every kind that nobody reads."""


class Given:
    """One object. `read` is to be called for the outermost, when all is taken."""

    def __init__(
        self, rules: Rules, fields: Mapping[str, msgspec.Raw], path: str = "", pattern: str = ""
    ) -> None:
        self.path = path
        self._rules = rules
        self._left = {name: value for name, value in fields.items() if value != NULL}
        self._pattern = pattern
        self._kind = ""
        self._within: list[Given] = []

    def path_of(self, name: str) -> str:
        """Where a field of it stands in the body."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether a field is there that is not taken yet."""
        return name in self._left

    def take(self, name: str, kind: type[T], must_be: str) -> T | None:
        """The value of a field. Raises `MalformedRequest` if it is none of this `kind`."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        try:
            return msgspec.json.decode(value, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self.wrong(name, must_be) from error

    def text(self, name: str) -> str | None:
        """A string."""
        return self.take(name, str, _STRING)

    def need_text(self, name: str) -> str:
        """A string that must be there."""
        return self._needed(name, self.text(name), _STRING)

    def flag(self, name: str) -> bool | None:
        """A boolean."""
        return self.take(name, bool, _SWITCH)

    def count(self, name: str, low: int) -> int | None:
        """A whole number from `low`."""
        must_be = f"a whole number from {low}"
        found = self.take(name, int, must_be)
        if found is not None and found < low:
            raise self.wrong(name, must_be)
        return found

    def need_count(self, name: str, low: int) -> int:
        """The same, where it must be there."""
        return self._needed(name, self.count(name, low), f"a whole number from {low}")

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`."""
        must_be = f"a number from {low:g} to {high:g}"
        found = self.take(name, float, must_be)
        if found is not None and not low <= found <= high:
            raise self.wrong(name, must_be)
        return found

    def choice(self, name: str, among: Sequence[str]) -> str | None:
        """One of these words."""
        must_be = f"one of {', '.join(among)}"
        found = self.take(name, str, must_be)
        if found is not None and found not in among:
            raise self.wrong(name, must_be)
        return found

    def need_choice(self, name: str, among: Sequence[str]) -> str:
        """The same, where it must be there."""
        return self._needed(name, self.choice(name, among), f"one of {', '.join(among)}")

    def texts(self, name: str) -> Sequence[str]:
        """An array of strings."""
        return self.take(name, list[str], "an array of strings") or ()

    def raw(self, name: str) -> msgspec.Raw | None:
        """An object, as it was written."""
        value = self._left.pop(name, None)
        if value is not None and not bytes(value).startswith(b"{"):
            raise self.wrong(name, "an object")
        return value

    def need_raw(self, name: str) -> msgspec.Raw:
        """The same, where it must be there."""
        return self._needed(name, self.raw(name), "an object")

    def is_object(self, name: str) -> bool:
        """Whether a field that is not taken yet is one."""
        return bytes(self._left.get(name, b"")).startswith(b"{")

    def within(self, name: str) -> "Given | None":
        """An object, to be read further."""
        fields = self.take(name, Fields, "an object")
        if fields is None:
            return None
        return self._enter(fields, self.path_of(name), self._pattern_of(name))

    def need_within(self, name: str) -> "Given":
        """The same, where it must be there."""
        return self._needed(name, self.within(name), "an object")

    def objects(self, name: str) -> "Sequence[Given]":
        """The objects of an array, to be read further."""
        found = self.take(name, list[msgspec.Raw], "an array of objects")
        path, pattern = self.path_of(name), f"{self._pattern_of(name)}[]"
        within = []
        for place, value in enumerate(found or ()):
            try:
                fields = msgspec.json.decode(value, type=Fields)
            except (msgspec.DecodeError, RecursionError) as error:
                raise wrong(f"{path}[{place}]", "an object") from error
            within.append(self._enter(fields, f"{path}[{place}]", pattern))
        return within

    def words(self, name: str) -> "str | Sequence[Given] | None":
        """A string, or the objects of an array: the two ways to write contents."""
        value = bytes(self._left.get(name, b""))
        if not value.startswith((b'"', b"[")):
            if value:
                raise self.wrong(name, _WORDS)
            return None
        if value.startswith(b"["):
            return self.objects(name)
        return self.text(name)

    def need_words(self, name: str) -> "str | Sequence[Given]":
        """The same, where there must be some."""
        words = self.words(name)
        if words is None:
            raise self._missing(name, _WORDS)
        return words

    def kind(self, name: str = "type", default: str | None = None) -> str:
        """The word that says what an object of an array is; needed, if it has no `default`."""
        found = self.text(name)
        self._kind = self._needed(name, found or default, _STRING)
        return self._kind

    def refusal_of_kind(self, name: str = "type") -> MalformedRequest:
        """That no other dialect has objects of this kind here."""
        pattern = f"{self._pattern.removesuffix('[]')}[{self._kind}]"
        rule = self._rules.get(pattern) or self._rules.get(self._pattern)
        if rule is not None:
            return _refusal(self.path, rule.why)
        return wrong(self.path_of(name), f"another: {self._kind[:_NAME_MAX]!r} is not known here")

    def refusal(self, name: str) -> MalformedRequest:
        """That no other dialect can say this field."""
        rule = self._rule(name)
        return _refusal(self.path_of(name[:_NAME_MAX]), rule.why if rule else _UNKNOWN)

    def refusal_within(self, name: str, place: int) -> MalformedRequest:
        """That no other dialect can say one element of this field."""
        rule = self._rules[f"{self._pattern_of(name)}[]"]
        return _refusal(f"{self.path_of(name)}[{place}]", rule.why)

    def skip(self, *names: str) -> None:
        """Fields that were read elsewhere."""
        for name in names:
            self._left.pop(name, None)

    def wrong(self, name: str, must_be: str) -> MalformedRequest:
        """That a field is not what it must be."""
        return wrong(self.path_of(name), must_be)

    def read(self) -> None:
        """All that is known is taken. Raises `MalformedRequest` for what is left."""
        for within in self._within:
            within.read()
        for name, value in self._left.items():
            rule = self._rule(name)
            if isinstance(rule, LeftOut) or (rule and _is_among(value, rule.unless)):
                continue
            raise self.refusal(name)

    def _rule(self, name: str) -> LeftOut | Refused | None:
        if self._kind:
            kind = f"{self._pattern.removesuffix('[]')}[{self._kind}]"
            if found := self._rules.get(f"{kind}.{name}"):
                return found
        return self._rules.get(self._pattern_of(name))

    def _pattern_of(self, name: str) -> str:
        return f"{self._pattern}.{name}" if self._pattern else name

    def _enter(self, fields: Fields, path: str, pattern: str) -> "Given":
        within = Given(self._rules, fields, path, pattern)
        self._within.append(within)
        return within

    def _needed(self, name: str, found: T | None, must_be: str) -> T:
        if found is None:
            raise self._missing(name, must_be)
        return found

    def _missing(self, name: str, must_be: str) -> MalformedRequest:
        path = self.path_of(name)
        return MalformedRequest(f"'{path}' is required: {must_be}.", param=path)


def wrong(path: str, must_be: str) -> MalformedRequest:
    """That what stands at `path` is not what it must be."""
    return MalformedRequest(f"'{path}' must be {must_be}.", param=path)


def _refusal(path: str, why: str) -> MalformedRequest:
    return MalformedRequest(
        f"'{path}' cannot be translated: {why}. The provider of this model speaks another "
        "dialect. Leave it out, or ask for another model.",
        param=path,
    )


def _is_among(value: msgspec.Raw, values: tuple[object, ...]) -> bool:
    try:
        return msgspec.json.decode(value) in values
    except (msgspec.DecodeError, RecursionError):
        return False
