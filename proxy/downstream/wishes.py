"""What a request asks for beside its body: the headers and query parameters of the contract.

Each is checked here, once, and what is not right is refused by name.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from proxy.errors import MalformedEventId, MalformedRequest, StreamNotFound
from proxy.stream import EVENT_ID_MAX, STREAM_ID_PATTERN, Detach, StreamId

_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TAG_CHARS_MAX = 128
_GRACE_S_MAX = 86_400
"""Chosen: longer than any answer takes."""

PASSED_ON_HEADERS = ("anthropic-version", "anthropic-beta", "openai-beta")
"""The client's headers that go on to a provider."""


def passed_on(headers: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Those of `PASSED_ON_HEADERS` that are there."""
    return [(name, headers[name]) for name in PASSED_ON_HEADERS if name in headers]


class Wishes(msgspec.Struct, frozen=True):
    """The optional headers of a call that makes an answer."""

    is_async: bool
    idempotency_key: str | None
    last_event_id: int | None
    detach: Detach
    tag: str | None
    retention_s: float


def read_wishes(
    headers: Mapping[str, str], *, detach: Detach, retention_s: float, retention_max_s: float
) -> Wishes:
    """Raises `MalformedRequest` or `MalformedEventId`. The arguments are what holds unasked."""
    last_event_id = headers.get("last-event-id")
    return Wishes(
        is_async=_prefers_async(headers.get("prefer", "")),
        idempotency_key=_idempotency_key(headers.get("idempotency-key")),
        last_event_id=None if last_event_id is None else read_event_id(last_event_id),
        detach=_detach(headers.get("midstream-detach"), detach),
        tag=_tag(headers.get("midstream-tag")),
        retention_s=_retention(headers.get("midstream-retention"), retention_s, retention_max_s),
    )


def read_event_id(text: str) -> int:
    """An event id, or 0 for the place before the first. Raises `MalformedEventId`."""
    if not _NUMBER.fullmatch(text) or int(text) > EVENT_ID_MAX:
        raise MalformedEventId(text)
    return int(text)


def read_stream_id(text: str) -> StreamId:
    """Raises `StreamNotFound` for what can be no stream's id."""
    if not STREAM_ID_PATTERN.fullmatch(text):
        raise StreamNotFound
    return StreamId(text)


def read_number(
    query: Mapping[str, str], name: str, *, default: float, low: float, high: float
) -> float:
    """A number from the query. Raises `MalformedRequest` when it is none, or out of range."""
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text, re.ASCII):
        raise MalformedRequest(f"{name} must be a number.", param=name)
    number = float(text)
    if not low <= number <= high:
        raise MalformedRequest(f"{name} must be from {low:g} to {high:g}.", param=name)
    return number


def read_count(query: Mapping[str, str], name: str, *, default: int, high: int) -> int:
    """A whole number from 1 to `high`. Raises `MalformedRequest` otherwise."""
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not 1 <= int(text) <= high:
        raise MalformedRequest(f"{name} must be a whole number from 1 to {high}.", param=name)
    return int(text)


def refuse_unknown(query: Mapping[str, str], known: frozenset[str]) -> None:
    """Raise `MalformedRequest` for a query parameter that nothing would obey."""
    unknown = sorted(set(query) - known)
    if unknown:
        named = ", ".join(repr(name[:40]) for name in unknown[:3])
        what = f"known are {', '.join(sorted(known))}" if known else "there are none here"
        raise MalformedRequest(f"Unknown query parameter {named}; {what}.")


def _prefers_async(prefer: str) -> bool:
    return any(
        part.partition(";")[0].strip().lower() == "respond-async" for part in prefer.split(",")
    )


def _idempotency_key(text: str | None) -> str | None:
    if text is not None and not _VISIBLE.fullmatch(text):
        raise MalformedRequest(
            "Idempotency-Key must be 1 to 255 visible ASCII characters.", param="Idempotency-Key"
        )
    return text


def _detach(text: str | None, default: Detach) -> Detach:
    if text is None:
        return default
    word = text.strip().lower()
    if word == "finish":
        return Detach(None)
    if word == "cancel":
        return Detach(0)
    if _NUMBER.fullmatch(word) and int(word) <= _GRACE_S_MAX:
        return Detach(int(word))
    raise MalformedRequest(
        f"Midstream-Detach must be finish, cancel, or seconds up to {_GRACE_S_MAX}.",
        param="Midstream-Detach",
    )


def _tag(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        tag = text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:  # a browser's fetch sends latin-1
        tag = text
    return check_tag(tag, "Midstream-Tag")


def check_tag(tag: str, param: str) -> str:
    """A tag as the contract allows it. Raises `MalformedRequest`."""
    if not 1 <= len(tag) <= _TAG_CHARS_MAX or _CONTROL.search(tag):
        raise MalformedRequest(
            f"A tag is 1 to {_TAG_CHARS_MAX} characters, none of them a control character.",
            param=param,
        )
    return tag


def _retention(text: str | None, default_s: float, max_s: float) -> float:
    if text is None:
        return default_s
    if not _NUMBER.fullmatch(text) or int(text) > max_s:
        raise MalformedRequest(
            f"Midstream-Retention must be whole seconds from 0 to {max_s:g}.",
            param="Midstream-Retention",
        )
    return int(text)
