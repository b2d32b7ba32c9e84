"""Facts worth telling, and where they go: one line each on stderr.

Owns the log and its form (text or JSON). It never shows a credential, a prompt, an answer, a
query string or a header's value: a fact is a method with named arguments, and a name that is
not in `FIELDS` is not written. What surprises: the message of an exception is not written
either, because foreign ones quote what they choke on; its type and its frames are. For the
same reason a record of another library shows where it was made, not what it says.
"""

import json
import logging
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TextIO

from proxy.errors import ConfigInvalid, MidstreamError, ProviderRefused, ProviderStalled
from proxy.stream import Birth, Ending, StreamId, Usage

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
    "ending",
    "code",
    "upstream_status",
    "deadline",
    "events",
    "input_tokens",
    "output_tokens",
    "seconds",
    "streams",
    "url",
    "store",
    "is_open",
    "pid",
    "exit_code",
    "needs_restart",
    "reason",
    "logger",
    "exception",
    "place",
)
"""Everything a line can hold beside time, level and fact, in this order."""

_LOGGER = "midstream"
_VALUE_CHARS_MAX = 200  # chosen: ids and names are far shorter, a line stays one screen line or two
_PLACE_CHARS_MAX = 4000  # chosen: 20 frames of about 100 characters fit
_FRAMES_MAX = 20  # chosen: the innermost ones, where an error is understood
_CAUSES_MAX = 10  # chosen: ends a circle of causes, and a group of thousands
_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/{}*@+<>[]()"
)

Value = str | int | float | bool | None


class Observer:
    """Where the proxy tells what happens. One method for each fact."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def started(self, url: str, store: str, *, is_open: bool) -> None:
        """It listens. `store` is the store's address without credentials."""
        self._tell(logging.INFO, "started", url=url, store=store, is_open=is_open)

    def worker_died(self, worker: int, pid: int, exit_code: int | None, lived_s: float) -> None:
        """A worker ended without being told to. A signal's number is negative."""
        self._tell(
            logging.ERROR,
            "worker_died",
            worker=worker,
            pid=pid,
            exit_code=exit_code,
            seconds=round(lived_s, 1),
        )

    def worker_leaves(self, worker: int, pid: int) -> None:
        """A worker drains by itself, and another one takes its place."""
        self._tell(logging.INFO, "worker_leaves", worker=worker, pid=pid)

    def reloaded(self, needs_restart: Sequence[str]) -> None:
        """Another config is in force, but for the keys in `needs_restart`."""
        level = logging.WARNING if needs_restart else logging.INFO
        self._tell(level, "reloaded", needs_restart=", ".join(needs_restart) or None)

    def config_refused(self, invalid: ConfigInvalid) -> None:
        """A changed config is not valid, and changes nothing. Its problems quote no values."""
        for problem in invalid.problems:
            self._tell(logging.ERROR, "config_refused", reason=problem)

    def draining(self, streams: int, drain_s: float) -> None:
        """It was told to stop and waits for `streams` producers, at most `drain_s` seconds."""
        self._tell(logging.INFO, "draining", streams=streams, seconds=drain_s)

    def served(
        self,
        *,
        method: str,
        route: str,
        status: int,
        ms: float,
        request: str,
        stream: StreamId | None = None,
    ) -> None:
        """One request was answered. `route` is the path's template, never the path as asked."""
        self._tell(
            logging.INFO,
            "served",
            method=method,
            route=route,
            status=status,
            ms=round(ms, 1),
            request=request,
            stream=stream,
        )

    def stream_started(self, birth: Birth) -> None:
        """A producer begins."""
        self._tell(
            logging.INFO,
            "stream_started",
            stream=birth.id,
            owner=birth.owner,
            dialect=birth.dialect,
            model=birth.model,
            provider=birth.provider,
        )

    def stream_ended(
        self,
        birth: Birth,
        ending: Ending | None,
        code: str,
        events: int,
        lasted_s: float,
        usage: Usage | None,
    ) -> None:
        """A producer is done. `ending` is None if it lost its stream to another worker."""
        self._tell(
            logging.INFO,
            "stream_ended",
            stream=birth.id,
            ending=ending,
            code=code or None,
            events=events,
            ms=round(lasted_s * 1000, 1),
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
        )

    def provider_failed(self, stream: StreamId, provider: str, error: MidstreamError) -> None:
        """A provider broke an answer. Its own words are not written: they may quote a prompt."""
        self._tell(
            logging.WARNING,
            "provider_failed",
            stream=stream,
            provider=provider,
            code=error.code,
            exception=type(error).__name__,
            upstream_status=error.upstream_status if isinstance(error, ProviderRefused) else None,
            deadline=error.deadline if isinstance(error, ProviderStalled) else None,
        )

    def store_lost(self, reason: str) -> None:
        """The store does not answer; what is not written is kept. `reason` is our own word."""
        self._tell(logging.ERROR, "store_lost", reason=reason)

    def store_back(self, away_s: float) -> None:
        """The store answers again, `away_s` seconds after `store_lost`."""
        self._tell(logging.WARNING, "store_back", seconds=round(away_s, 3))

    def sweep_ended(self, stream: StreamId, ending: Ending) -> None:
        """A stream was left by its worker, and this one wrote its ending."""
        self._tell(logging.WARNING, "sweep_ended", stream=stream, ending=ending)

    def internal_error(self, error: BaseException, *, request: str | None = None) -> None:
        """A bug: the error, its causes and the members of a group, a line each."""
        for each in _family(error):
            self._tell(
                logging.ERROR,
                "internal_error",
                request=request,
                exception=type(each).__qualname__,
                place=_place(each),
            )

    def _tell(self, level: int, fact: str, **fields: Value) -> None:
        self._logger.log(level, fact, extra={"fields": fields})


def open_log(
    form: Literal["text", "json"], stream: TextIO, *, worker: int | None = None
) -> Observer:
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
    own = logging.getLogger(_LOGGER)
    own.setLevel(logging.INFO)
    return Observer(own)


def _is_ours_or_a_warning(record: logging.LogRecord) -> bool:
    """A library's own logger may be set to DEBUG from the environment (``OPENAI_LOG``)."""
    return record.name == _LOGGER or record.levelno >= logging.WARNING


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
        if record.name == _LOGGER:
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
        "place": f"{made} < {_place(error)}" if error else made,
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


def _family(error: BaseException) -> Iterator[BaseException]:
    """The error, the members of a group, and what each was raised from."""
    waiting, seen = [error], 0
    while waiting and seen < _CAUSES_MAX:
        each = waiting.pop(0)
        seen += 1
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is not None:
            waiting.append(cause)


def _place(error: BaseException) -> str:
    """Where it was raised, innermost frame first. No locals, no source text."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
