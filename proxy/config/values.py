"""From TOML values to the fields of a table, each by its annotation.

Plain types are msgspec's to convert; those that mean more than they are written, such as
references to secrets, have a reader here. A problem never quotes a string of the file: it may
be a secret that was put into the wrong place.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec

from proxy.config.expectations import expected, instead, nearest
from proxy.config.lines import Path
from proxy.config.money import expected_usd, read_price, read_usd
from proxy.config.problems import Problems
from proxy.config.quotas import USD_MAX, Usd
from proxy.config.reaching import (
    Certificates,
    ProxyUrl,
    check_proxy,
    read_certificates,
    read_fields,
    read_query,
)
from proxy.config.secret import Secret, Unset, Wrong, resolve
from proxy.config.targets import TargetTable, read_targets
from proxy.stream import Detach, Price

NOT_A_TABLE = "must be a table, written as a section of its own"
_DETACH_S_MAX = 86_400  # chosen: a day, like every wait of the file
_SECRET_WORDS = ("auth", "cookie", "key", "password", "secret", "token")
"""A header with one of these in its name carries a secret."""
_REFUSED_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Those that say how this request is sent, which is not the operator's to say."""
_HEADER_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_HEADER_NAME_CHARS_MAX = 100
_HEADER_VALUE_CHARS_MAX = 1000
_HEADERS_MAX = 50  # chosen: half of what servers commonly take
_SECRETS_MAX = 10  # chosen: the one in use, and those of some rotations before

T = TypeVar("T", bound=msgspec.Struct)


class Reader:
    """Reads tables, collecting problems."""

    def __init__(
        self, problems: Problems, env: Mapping[str, str], read_file: Callable[[str], str]
    ) -> None:
        self._problems = problems
        self._env = env
        self._read_file = read_file
        self._readers: Mapping[object, Callable[[Path, object], object]] = {
            Secret: self._address,
            Secret | None: self._secret,
            tuple[Secret, ...] | None: self._secrets,
            dict[str, Secret]: self._headers,
            dict[str, str]: lambda path, value: read_query(value, path, problems),
            dict[str, msgspec.Raw]: lambda path, value: read_fields(value, path, problems),
            ProxyUrl: self._proxy,
            Certificates | None: lambda path, value: read_certificates(
                value, path, read_file, problems
            ),
            Detach: self._detach,
            tuple[TargetTable, ...]: self._targets,
            Price | None: self._price,
            Usd | None: self._usd,
        }
        self._unset: list[tuple[Path, str]] = []
        """The secrets of the table at hand that are not there, and why."""

    def table(
        self, struct: type[T], raw: object, path: Path, known: Iterable[str] = ()
    ) -> T | Unset | None:
        """The table at `path`; None if it has problems; `Unset` if it is optional and off.

        `known` are keys beside the fields of `struct`.
        """
        if not isinstance(raw, dict):
            self._problems.add(path, NOT_A_TABLE)
            return None
        self._unset = []
        hints = get_type_hints(struct, include_extras=True)
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        values: dict[str, Any] = {}
        for key, value in raw.items():
            if key in fields:
                values[key] = self._value((*path, key), hints[key], value)
            elif key not in known:
                self._problems.add((*path, key), f"unknown key{nearest(key, [*known, *fields])}")
        for name, field in fields.items():
            if field.required and name not in raw:
                self._problems.add(path, f"{name} is missing; it must be {expected(hints[name])}")
        off = self._settle_unset(values, path)
        if self._problems.has_any(path):
            return None
        return off or struct(**values)

    def _value(self, path: Path, hint: Any, value: object) -> object:  # noqa: ANN401 - a type
        """What a field gets; None, and a problem, if it is not what it must be."""
        reader = self._readers.get(hint)
        if reader is not None:
            return reader(path, value)
        try:
            converted: object = msgspec.convert(value, hint)
        except msgspec.ValidationError:
            self._problems.add(path, f"must be {expected(hint)}{instead(hint, value)}")
            return None
        return converted

    def _settle_unset(self, values: Mapping[str, object], path: Path) -> Unset | None:
        """Secrets that are not there turn an optional table off, and are problems of another."""
        if values.get("optional") is not True:
            for place, reason in self._unset:
                self._problems.add(place, reason)
            return None
        if self._unset:
            return Unset(self._unset[0][1])
        if not self._problems.has_any(path) and not _has_reference(values):
            what = 'needs a secret that may be there or not, such as "env:NAME"'
            self._problems.add((*path, "optional"), what)
        return None

    def _secret(self, path: Path, value: object) -> Secret | None:
        if not isinstance(value, str):
            self._problems.add(path, 'must be a reference to a secret: "env:NAME" or "file:PATH"')
            return None
        match resolve(value, self._env, self._read_file):
            case Unset(reason):
                self._unset.append((path, reason))
            case Wrong(what):
                self._problems.add(path, what)
            case Secret() as secret:
                return secret
        return None

    def _secrets(self, path: Path, value: object) -> tuple[Secret, ...]:
        """One, or several of which the first counts most."""
        given = value if isinstance(value, list) else [value]
        if not 0 < len(given) <= _SECRETS_MAX:
            what = f'must be "env:NAME" or "file:PATH", or a list of 1 to {_SECRETS_MAX} of them'
            self._problems.add(path, what)
            return ()
        found = (self._secret(path, each) for each in given)
        return tuple(secret for secret in found if secret is not None)

    def _address(self, path: Path, value: object) -> Secret | None:
        """The store's address may stand in the file; `rules` sees to it that it holds no secret."""
        if isinstance(value, str) and not _is_reference(value):
            return Secret(value, "")
        return self._secret(path, value)

    def _proxy(self, path: Path, value: object) -> Secret | None:
        """The same of a proxy's."""
        proxy = self._address(path, value)
        if proxy is not None:
            check_proxy(proxy, path, self._problems)
        return proxy

    def _headers(self, path: Path, value: object) -> Mapping[str, Secret | None]:
        """Header names in lower case, and what they carry."""
        headers: dict[str, Secret | None] = {}
        if not isinstance(value, dict) or len(value) > _HEADERS_MAX:
            what = (
                f'must be a table of at most {_HEADERS_MAX} headers, such as {{x-team = "search"}}'
            )
            self._problems.add(path, what)
            return headers
        for given, carried in value.items():
            name, place = given.lower(), (*path, given)
            if not 0 < len(name) <= _HEADER_NAME_CHARS_MAX or not _HEADER_CHARS.issuperset(name):
                self._problems.add(place, "the name of a header is of letters, digits, - and _")
            elif name in _REFUSED_HEADERS:
                self._problems.add(place, "this header is the request's own")
            elif name in headers:
                self._problems.add(place, "the same header a second time, in other letters")
            else:
                headers[name] = self._header(name, place, carried)
        return headers

    def _header(self, name: str, place: Path, carried: object) -> Secret | None:
        if isinstance(carried, str):
            if _is_reference(carried) or any(word in name for word in _SECRET_WORDS):
                return self._secret(place, carried)
            if _is_printable(carried, _HEADER_VALUE_CHARS_MAX):
                return Secret(carried, "")
        self._problems.add(
            place,
            f"must be a string of at most {_HEADER_VALUE_CHARS_MAX} printable characters",
        )
        return None

    def _detach(self, path: Path, value: object) -> Detach:
        match value:
            case "finish":
                return Detach(grace_s=None)
            case "cancel":
                return Detach(grace_s=0.0)
            case int() | float() if not isinstance(value, bool) and 0 <= value <= _DETACH_S_MAX:
                return Detach(grace_s=float(value))
        what = f"the seconds to wait for a reader, from 0 to {_DETACH_S_MAX}"
        self._problems.add(path, f'must be "finish", "cancel", or {what}')
        return Detach()

    def _targets(self, path: Path, value: object) -> tuple[TargetTable, ...]:
        return read_targets(value, path, self._problems)

    def _price(self, path: Path, value: object) -> Price | None:
        return read_price(value, path, self._problems)

    def _usd(self, path: Path, value: object) -> int | None:
        amount = read_usd(value, 1, USD_MAX)
        if amount is None:
            self._problems.add(path, f"must be {expected_usd(1, USD_MAX)}")
        return amount


def _is_reference(value: str) -> bool:
    return value.startswith(("env:", "file:"))


def _is_printable(value: str, chars_max: int) -> bool:
    return value.isascii() and value.isprintable() and len(value) <= chars_max


def _has_reference(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_has_reference(each) for each in value.values())
    return isinstance(value, Secret) and bool(value.source)
