"""Where in the file a key stands.

Owns a scanner of TOML that knows just enough of it to find keys: `tomllib` tells values, but
not their lines. It is given only text that `tomllib` has accepted, and so never complains.
Keys inside an inline table have the line of the key that holds it.
"""

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str, ...]
"""A key with all tables around it: ("providers", "openai", "api_key")."""

_PART = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_TOKEN = re.compile(
    rf"""(?P<blank>[ \t\r\n]+|\#[^\n]*)
    |(?P<header>\[\[?[ \t]*(?P<table>{_KEY})[ \t]*\]\]?)
    |(?P<entry>(?P<key>{_KEY})[ \t]*=[ \t]*)""",
    re.VERBOSE,
)
_PARTS = re.compile(_PART)
_VALUE = re.compile(
    r"""(?P<string>"{3}(?:[^\\]|\\.)*?"{3}(?!")|'{3}.*?'{3}(?!')|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')
    |(?P<open>[\[{])
    |(?P<close>[\]}])
    |(?P<comment>\#[^\n]*)
    |(?P<newline>\n)
    |[^"'\[\]{}\#\n]+""",
    re.VERBOSE | re.DOTALL,
)


_PARTS_MAX = 4  # [providers.NAME] headers.NAME: nothing that is looked for lies deeper


def locate(text: str) -> Mapping[Path, int]:
    """The line (from 1) of every table and key of a valid TOML text."""
    text = text.replace("\r\n", "\n")
    lines: dict[Path, int] = {}
    table: Path = ()
    at, line = 0, 1
    while at < len(text):
        token = _TOKEN.match(text, at)
        assert token is not None, "what tomllib accepts begins a blank, a table or a key here"
        if token["header"]:
            table = _path(token["table"])
            _note(lines, (), table, line)
        elif token["entry"]:
            _note(lines, table, _path(token["key"]), line)
        end = _value_end(text, token.end()) if token["entry"] else token.end()
        line += text.count("\n", at, end)
        at = end
    return lines


def _note(lines: dict[Path, int], table: Path, key: Path, line: int) -> None:
    """A key, and the tables that it is the first to name."""
    path = (table + key)[:_PARTS_MAX]
    for length in range(len(table) + 1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _value_end(text: str, at: int) -> int:
    """Where the value that begins at `at` ends: at a comment or line end outside of brackets."""
    depth = 0
    while at < len(text):
        token = _VALUE.match(text, at)
        assert token is not None, "what tomllib accepts has closed strings"
        if depth == 0 and (token["newline"] or token["comment"]):
            return at
        depth += bool(token["open"]) - bool(token["close"])
        at = token.end()
    return at


def _path(key: str) -> Path:
    return tuple(_part(part) for part in _PARTS.findall(key))


def _part(part: str) -> str:
    if part[0] not in "\"'":
        return part
    name = tomllib.loads(f"name = {part}")["name"]
    assert isinstance(name, str), "a quoted key is a string"
    return name


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a key, or of the nearest table around it that stands in the file."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
