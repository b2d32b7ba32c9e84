"""How a message fails: what a provider's error event says of it, and what ours say."""

import msgspec

from proxy.errors import ProviderReported
from proxy.stream import Problem
from proxy.wire.json_text import ABSENT, read

_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What an error inside a stream would have been as a status."""

_TYPES = {
    **{status: kind for kind, status in _STATUS.items()},
    408: "timeout_error",
    499: "api_error",
}
"""Error types by status, where not `invalid_request_error` below 500, `api_error` above."""


class _Details(msgspec.Struct, gc=False):
    error_code: str | None = None


class _Error(msgspec.Struct, gc=False):
    type: str | None = None
    message: str | None = None
    details: _Details | None = None


class _Event(msgspec.Struct, gc=False):
    error: msgspec.Raw = ABSENT


_event_decoder = msgspec.json.Decoder(_Event)
_error_decoder = msgspec.json.Decoder(_Error)


def reported(data: bytes) -> ProviderReported:
    """Of an event that is an error."""
    try:
        said = _error_decoder.decode(read(_event_decoder, data).error)
    except msgspec.DecodeError:
        said = _Error()
    code = said.details.error_code if said.details else None
    return ProviderReported(
        data,
        code=code or said.type or "provider_error",
        message=said.message or "The provider reported an error.",
        status=_STATUS.get(said.type or "", 502),
    )


def error_fields(problem: Problem, code: str) -> dict[str, object]:
    """An error of ours in the dialect's shape."""
    kind = "invalid_request_error" if problem.status < 500 else "api_error"
    error = {
        "type": _TYPES.get(problem.status, kind),
        "message": problem.message,
        "details": {"error_code": code},
    }
    return {"type": "error", "error": error}
