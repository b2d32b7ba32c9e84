"""What is wrong with a file, all of it, each with its line."""

import json
import re
from collections.abc import Mapping

from proxy.config.lines import Path, line_of

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAME_CHARS_MAX = 80  # chosen: longer than any name that is allowed
_PROBLEMS_MAX = 100  # chosen: more are not read, and a file may have a problem on every line

_DEPTH = {"providers": 2, "models": 2, "keys": 2, "quotas": 2}
"""How many parts name a table, where it is not one."""


class Problems:
    """A collector. It never holds a value of the file, only names."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self._lines = lines
        self._found: list[tuple[int, str, Path]] = []
        self._warned: list[tuple[int, str]] = []

    def add(self, path: Path, what: str) -> None:
        """`what` is wrong and would be right, about the key or table at `path`."""
        self._found.append((line_of(self._lines, path), f"{_label(path)}: {what}", path))

    def warn(self, path: Path, what: str) -> None:
        """`what` is allowed and perhaps not meant. It keeps no file from being valid."""
        self._warned.append((line_of(self._lines, path), f"{_label(path)}: {what}"))

    def has_any(self, path: Path) -> bool:
        """Whether anything is wrong at `path` or in it."""
        return any(found[: len(path)] == path for _, _, found in self._found)

    def sentences(self) -> tuple[str, ...]:
        """Each with its line, in the order of lines."""
        return _told([(line, sentence) for line, sentence, _ in self._found], "problems")

    def warnings(self) -> tuple[str, ...]:
        """The same of what was warned of."""
        return _told(self._warned, "warnings")


def _told(found: list[tuple[int, str]], nouns: str) -> tuple[str, ...]:
    found = sorted(found, key=lambda each: each[0])
    told = [f"line {line}: {sentence}" for line, sentence in found[:_PROBLEMS_MAX]]
    if len(found) > _PROBLEMS_MAX:
        told.append(f"line {found[-1][0]}: and {len(found) - _PROBLEMS_MAX} {nouns} more")
    return tuple(told)


def _label(path: Path) -> str:
    depth = _DEPTH.get(path[0], 1)
    table = f"[{_dotted(path[:depth])}]"
    return f"{table} {_dotted(path[depth:])}" if path[depth:] else table


def _dotted(parts: Path) -> str:
    return ".".join(_quoted(part) for part in parts)


def _quoted(part: str) -> str:
    if len(part) > _NAME_CHARS_MAX:
        part = part[:_NAME_CHARS_MAX] + "..."
    return part if _BARE.fullmatch(part) else json.dumps(part)
