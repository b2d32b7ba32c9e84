"""Quotas in the OpenAPI document: the headers that tell what is left, and the call that does."""

from proxy import errors
from proxy.downstream.schema_answers import JSON, answer, header
from proxy.downstream.schema_bodies import Json, ref
from proxy.downstream.schema_errors import (
    BOTH_SHAPES,
    Failure,
    failures,
    of_authentication,
    responses,
)
from proxy.downstream.schema_parameters import caller_dialect, usage_key

_OPENAI = "x-ratelimit-{what}-{unit}"
_ANTHROPIC = "anthropic-ratelimit-{unit}-{what}"
_DURATION = r"^([0-9]+h)?([0-9]+m)?[0-9]+(\.[0-9]{1,3})?(s|ms)$"


def quota_header_definitions() -> dict[str, Json]:
    """All of them, by name. None is there where no limit holds."""
    whole: Json = {"type": "integer", "minimum": 0}
    said = {
        "limit": (whole, "How many {unit} the tightest limit allows."),
        "remaining": (whole, "How many {unit} it leaves, what this answer may use being counted."),
    }
    found: dict[str, Json] = {
        "RateLimit-Policy": header(
            {"type": "string"},
            "The limits, by kind (draft-ietf-httpapi-ratelimit-headers-11).",
            is_always=False,
        ),
        "RateLimit": header(
            {"type": "string"}, "What each of them leaves, and for how long.", is_always=False
        ),
    }
    resets: tuple[tuple[str, Json, str], ...] = (
        (_OPENAI, {"type": "string", "pattern": _DURATION}, "In how long"),
        (_ANTHROPIC, {"type": "string", "format": "date-time"}, "When"),
    )
    for name, schema, when in resets:
        for unit in ("requests", "tokens"):
            for what, (counted, text) in said.items():
                told = header(counted, text.format(unit=unit), is_always=False)
                found[name.format(what=what, unit=unit)] = told
            told = header(schema, f"{when} it is whole again.", is_always=False)
            found[name.format(what="reset", unit=unit)] = told
    return found


def usage_path() -> Json:
    """``GET /v1/usage``."""
    fails = [
        *of_authentication(),
        Failure("403", errors.NotPermitted.code, "the key is no operator's, and not `key`."),
        *failures(errors.MalformedRequest, errors.StoreUnavailable),
    ]
    return {
        "operationId": "getUsage",
        "tags": ["Operation"],
        "summary": "What is used of each limit, and what is left",
        "description": "Of the caller's key, alone or in its team; an operator's key sees all keys "
        "and what is above them. Query parameters that are not named here are refused.",
        "parameters": [usage_key(), caller_dialect()],
        "responses": {"200": answer("What there is.", {JSON: ref("UsageView")})}
        | responses(fails, *BOTH_SHAPES),
    }
