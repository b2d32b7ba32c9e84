"""The log: one line for each fact, as text or JSON.

A name that is not in `FIELDS` is not written. What surprises: a record of another library shows
where it was made, and not what it says.
"""

import json
import logging
import time
import traceback
from collections.abc import Mapping
from typing import Literal, TextIO

FIELDS = (
    "worker",
    "method",
    "route",
    "status",
    "ms",
    "request",
    "stream",
    "owner",
    "dialect",
    "model",
    "provider",
    "target",
    "failed",
    "asked",
    "kind",
    "ending",
    "code",
    "upstream_status",
    "deadline",
    "events",
    "takeovers",
    "input_tokens",
    "output_tokens",
    "seconds",
    "streams",
    "spans",
    "url",
    "store",
    "is_open",
    "pid",
    "exit_code",
    "needs_restart",
    "file",
    "reason",
    "logger",
    "exception",
    "place",
)
"""Everything a line can hold beside time, level and fact, in this order."""

LOGGER = "midstream"
_VALUE_CHARS_MAX = 200  # chosen: ids and names are far shorter, a line stays one screen line or two
_PLACE_CHARS_MAX = 4000  # chosen: 20 frames of about 100 characters fit
_FRAMES_MAX = 20  # chosen: the innermost ones, where an error is understood
_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/{}*@+<>[]()"
)

Value = str | int | float | bool | None


def send_lines_to(
    form: Literal["text", "json"], stream: TextIO, worker: int | None
) -> logging.Logger:
    """Send everything that is logged in this process to `stream`, a line each.

    Takes the place of whatever handlers other libraries have put up, so call it after the
    imports; for uvicorn pass ``log_config=None, access_log=False``. Warnings of other
    libraries are shown, what they say below that is not.
    """
    handler = _Lines(stream)
    handler.setFormatter(_Line(form, worker))
    handler.addFilter(_is_ours_or_a_warning)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    own = logging.getLogger(LOGGER)
    own.setLevel(logging.INFO)
    return own


def _is_ours_or_a_warning(record: logging.LogRecord) -> bool:
    """A library's own logger may be set to DEBUG from the environment (``OPENAI_LOG``)."""
    return record.name == LOGGER or record.levelno >= logging.WARNING


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines, and says nothing when it cannot."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Logging's own would print the arguments of the record that it could not write."""


class _Line(logging.Formatter):
    """A record as one line of ASCII."""

    def __init__(self, form: Literal["text", "json"], worker: int | None) -> None:
        super().__init__()
        self._is_json = form == "json"
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Of a foreign record only where it was made is kept, and what was raised there."""
        if record.name == LOGGER:
            fact = record.getMessage()
            fields: Mapping[str, Value] = {"worker": self._worker, **record.__dict__["fields"]}
        else:
            fact = "library"
            fields = {"worker": self._worker, **_foreign_fields(record)}
        told = {name: fields[name] for name in FIELDS if fields.get(name) is not None}
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        stamp = f"{moment}.{int(record.msecs):03d}Z"
        level = record.levelname.lower()
        if self._is_json:
            line = {"time": stamp, "level": level, "fact": fact}
            return json.dumps(line | {name: _bounded(name, told[name]) for name in told})
        pairs = [f"{name}={_text(_bounded(name, value))}" for name, value in told.items()]
        return " ".join([stamp, level, fact, *pairs])


def _foreign_fields(record: logging.LogRecord) -> Mapping[str, Value]:
    error = record.exc_info[1] if record.exc_info else None
    made = f"{record.filename}:{record.lineno} {record.funcName}"
    return {
        "logger": record.name,
        "exception": type(error).__qualname__ if error else None,
        "place": f"{made} < {place_of(error)}" if error else made,
    }


def _bounded(name: str, value: Value) -> Value:
    if not isinstance(value, str):
        return value
    chars_max = _PLACE_CHARS_MAX if name == "place" else _VALUE_CHARS_MAX
    return value if len(value) <= chars_max else value[:chars_max] + "..."


def _text(value: Value) -> str:
    """A value that cannot break out of its place: quoted where it is not plain."""
    if isinstance(value, str) and not (value and _PLAIN.issuperset(value)):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def place_of(error: BaseException) -> str:
    """Where it was raised, innermost frame first. No locals, no source text."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
