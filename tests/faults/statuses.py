"""Answers with an error status: a table, of every status with every kind of body."""

import json
from collections.abc import Iterator

from tests.faults.fault import Come, Fault, Outcome
from tests.faults.provider import Script
from tests.faults.words import Words
from tests.upstream.fake_provider import whole

_JSON, _HTML = ("content-type", "application/json"), ("content-type", "text/html")
_OF_THE_REQUEST = (400, 413, 422)
_OF_THE_TARGET = (401, 402, 403, 404)
_PASSING = (408, 409, 429, 500, 502, 503, 504, 529)
_ABOUT_US = (401, 402, 403)
_UNKNOWN = 418


def _error(said: Words) -> bytes:
    fields = {"type": "teapot", "message": "Not now."}
    if said.dialect == "messages":
        return json.dumps({"type": "error", "error": fields}).encode()
    return json.dumps({"error": {**fields, "code": "teapot"}}).encode()


def _answers(status: int, *headers: tuple[str, str], body: str = "JSON") -> Script:
    match body:
        case "JSON":
            return lambda said: whole(status, _error(said), [_JSON, *headers])
        case "HTML":
            return lambda _: whole(status, b"<html>Sorry</html>", [_HTML, *headers])
        case _:
            return lambda _: whole(status, b"", headers)


def _come(status: int, body: str) -> Come:
    code = "teapot" if body == "JSON" else "provider_error"
    if status in _ABOUT_US:
        return Come(Outcome.NEXT, 502, "provider_refused_us")
    if status in _OF_THE_TARGET:
        return Come(Outcome.NEXT, status, code)
    return Come(Outcome.AGAIN if status in _PASSING else Outcome.REFUSED, status, code)


def _plain() -> Iterator[tuple[str, Fault]]:
    for status in (*_OF_THE_REQUEST, *_OF_THE_TARGET, *_PASSING):
        for body in ("JSON", "HTML", "nothing"):
            script = _answers(status, body=body)
            yield f"it answers {status} with {body}", Fault(script, _come(status, body))


_LIMITED = Come(Outcome.AGAIN, 429, "teapot")
_TOO_LONG = Come(Outcome.NEXT, 429, "teapot")
_DATE = ("date", "Wed, 25 Nov 2026 08:00:00 GMT")

STATUSES = {
    **dict(_plain()),
    "it is limited for 0.4 seconds": Fault(
        _answers(429, ("retry-after", "0.4")), _LIMITED, wait_s=0.4
    ),
    "it is limited for 300 ms": Fault(
        _answers(429, ("retry-after-ms", "300")), _LIMITED, wait_s=0.3
    ),
    "it is limited until a second later": Fault(
        _answers(429, _DATE, ("retry-after", "Wed, 25 Nov 2026 08:00:01 GMT")),
        _LIMITED,
        wait_s=1.0,
    ),
    "it is limited until an hour ago": Fault(
        _answers(429, _DATE, ("retry-after", "Wed, 25 Nov 2026 07:00:00 GMT")), _LIMITED
    ),
    "it is limited for a year": Fault(_answers(429, ("retry-after", "31536000")), _TOO_LONG),
    "it is limited for an infinite time": Fault(_answers(429, ("retry-after", "inf")), _TOO_LONG),
    "it is limited until soon": Fault(_answers(429, ("retry-after", "soon")), _LIMITED),
    "it is limited for less than no time": Fault(_answers(429, ("retry-after", "-5")), _LIMITED),
    "it is overloaded for 0.2 seconds": Fault(
        _answers(529, ("retry-after", "0.2")), Come(Outcome.AGAIN, 529, "teapot"), wait_s=0.2
    ),
    "its status is nobody's": Fault(_answers(_UNKNOWN), Come(Outcome.REFUSED, 502, "teapot")),
}
