"""Secrets: values that are referred to in the file and never stand in it.

Owns the two forms of a reference, ``env:NAME`` and ``file:PATH``, and how a key of random bytes is
written behind one. A value is never shown: not by `repr` or `str`, not in a problem, and no
serializer can write a `Secret`.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

import msgspec

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_HEX = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_DIFFERENT_BYTES_MIN = 16  # chosen: of 32 random ones fewer differ less than once in 10**14 keys
_CHARS_MAX = 16_384  # chosen: the longest tokens are a few KiB, and a header takes 32 KiB


class Secret:
    """A value that may be used and not shown."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self.source = source
        """The reference that it came from, or "" if it stood in the file."""

    def reveal(self) -> str:
        """The value itself. Ask for it where it is sent, and keep it nowhere."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return (self._value, self.source) == (other._value, other.source)

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"Secret({self.source or 'set'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied into anything that may be written down")


class Unset(msgspec.Struct, frozen=True):
    """The reference is right, and there is nothing behind it."""

    reason: str


class Wrong(msgspec.Struct, frozen=True):
    """The reference is no reference, or what is behind it cannot be used."""

    what: str


def resolve(
    reference: str, env: Mapping[str, str], read_file: Callable[[str], str]
) -> Secret | Unset | Wrong:
    """What a reference refers to, without white space around it.

    An empty variable or file counts as not there. `read_file` raises `OSError`, or
    `UnicodeDecodeError` for what is no text.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        if not _VARIABLE.fullmatch(place):
            return Wrong('must name a variable after env:, such as "env:OPENAI_API_KEY"')
        return _usable(env.get(place, ""), reference, f"{place} is not set", place)
    if kind == "file":
        if not place or not place.isprintable():
            return Wrong('must name a file after file:, such as "file:/run/secrets/openai"')
        try:
            text = read_file(place)
        except FileNotFoundError:
            return Unset(f"there is no file {place}")
        except OSError as error:
            return Wrong(f"its file cannot be read: {error.strerror or type(error).__name__}")
        except ValueError:  # not UTF-8, or a NUL in the path
            return Wrong("its file cannot be read: it is not text")
        return _usable(text, reference, f"the file {place} is empty", "its file")
    return Wrong(
        "must not stand in the file: put the value into a variable or a file of its own, "
        'and write "env:NAME" or "file:PATH"'
    )


def _usable(value: str, source: str, unset: str, where: str) -> Secret | Unset | Wrong:
    value = value.strip()
    if not value:
        return Unset(unset)
    if len(value) > _CHARS_MAX or not _PRINTABLE.fullmatch(value):
        return Wrong(f"{where} must hold one line of at most {_CHARS_MAX} printable characters")
    return Secret(value, source)


def random_key(value: str) -> bytes | None:
    """The 32 bytes that are written in hexadecimal or base64; None if it is none, or not random."""
    if _HEX.fullmatch(value):
        key = bytes.fromhex(value)
    elif _BASE64.fullmatch(value):
        key = base64.urlsafe_b64decode(value[:43].replace("+", "-").replace("/", "_") + "=")
    else:
        return None
    return key if len(set(key)) >= _DIFFERENT_BYTES_MIN else None
