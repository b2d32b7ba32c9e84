"""Errors as OpenAI writes them in all its dialects: a provider's, read, and our own, written.

What surprises: an error inside a stream has no status, so it is told from the words in it.
"""

import msgspec

from proxy.errors import ProviderReported
from proxy.stream import Problem

_WORDS = {
    400: "invalid_request_error context_length_exceeded invalid_prompt content_filter",
    401: "authentication_error invalid_api_key",
    403: "permission_error permission_denied",
    404: "not_found_error model_not_found",
    429: "rate_limit_exceeded rate_limit_error requests tokens slow_down insufficient_quota "
    "credit_balance_exhausted",
    500: "server_error internal_error internal_server_error api_error",
    503: "server_is_overloaded overloaded_error engine_overloaded service_unavailable_error",
    504: "timeout timeout_error",
}
_STATUS = {word: status for status, words in _WORDS.items() for word in words.split()}
"""What the codes and types of an error inside a stream would have been as a status."""

_TYPES = {
    403: "permission_error",
    429: "rate_limit_error",
    499: "request_cancelled",
    503: "service_unavailable_error",
    529: "service_unavailable_error",
}
"""Error types by status, where not `invalid_request_error` below 500, `server_error` above."""


class _Error(msgspec.Struct, gc=False):
    """An error is an object by the book; some servers send a string, or a number as code."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


_error_decoder = msgspec.json.Decoder(_Error | str)


def reported(data: bytes, raw: msgspec.Raw) -> ProviderReported:
    """What an error event says. `data` is the whole event, `raw` its `error`."""
    try:
        said = _error_decoder.decode(raw)
    except msgspec.ValidationError:
        said = _Error()
    if isinstance(said, str):
        said = _Error(message=said)
    words = [str(word) for word in (said.code, said.type) if word]
    status = next((_STATUS[word] for word in words if word in _STATUS), 0)
    if not status:
        number = words[0] if words and words[0].isdecimal() else "0"
        status = int(number) if len(number) == 3 and "400" <= number < "600" else 502
    return ProviderReported(
        data,
        code=words[0] if words else "provider_error",
        message=said.message or "The provider reported an error.",
        status=status,
    )


def error_object(problem: Problem, code: str) -> bytes:
    """A problem, as the SDKs read one."""
    error = {
        "message": problem.message,
        "type": _type(problem, code),
        "param": problem.param,
        "code": code,
    }
    return msgspec.json.encode({"error": error})


def _type(problem: Problem, code: str) -> str:
    """OpenAI names what is used up where it refuses for that."""
    if code == "insufficient_quota":
        return code
    if problem.limited is not None:
        return "tokens" if problem.limited == "tokens" else "requests"
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    return _TYPES.get(problem.status, kind)
