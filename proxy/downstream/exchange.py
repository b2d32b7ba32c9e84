"""One HTTP request and its answer: headers read once, answers built in one place.

Every answer of Midstream leaves through `Answer`, so what all of them carry (request id, cache
rules, `nosniff`) stands here alone.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.types import Receive, Scope, Send

from proxy.errors import BodyTooLarge, MalformedRequest, UnsupportedMediaType

Headers = list[tuple[bytes, bytes]]

_QUERY_PARAMETERS_MAX = 20
"""Of one query string. Chosen: twice what any route knows."""

_COMMON: Headers = [
    (b"cache-control", b"no-store, no-transform"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def read_headers(scope: Scope) -> dict[str, str]:
    """All request headers, names in lower case, values as latin-1; of equal names the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def read_query(scope: Scope, *, repeatable: frozenset[str] = frozenset()) -> dict[str, str]:
    """The query parameters; of repeatable ones the last.

    Raises `MalformedRequest` when another stands there twice.
    """
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_QUERY_PARAMETERS_MAX,
            errors="strict",
        )
    except ValueError as error:
        raise MalformedRequest("The query string cannot be read.") from error
    query = dict(pairs)
    once = [name for name, _ in pairs if name not in repeatable]
    if len(set(once)) != len(once):
        raise MalformedRequest("A query parameter stands in the URL more than once.")
    return query


async def read_body(request: Request, headers: Mapping[str, str], bytes_max: int) -> bytes:  # type: ignore[type-arg]
    """The whole body, which must be JSON by its content type.

    Raises `UnsupportedMediaType` or, as soon as that is certain, `BodyTooLarge`.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or "content-encoding" in headers:
        raise UnsupportedMediaType
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > bytes_max:
        raise BodyTooLarge(bytes_max)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > bytes_max:
            raise BodyTooLarge(bytes_max)
        parts.append(part)
    return b"".join(parts)


def request_id(scope: Scope) -> str:
    """The id of this request, given by the outermost application."""
    return str(scope["state"]["request_id"])


def common_headers(scope: Scope) -> Headers:
    """What every answer carries, and what is left of the limits, if a create has noted that."""
    given = request_id(scope).encode()
    named = [(b"x-request-id", given), (b"request-id", given)]  # OpenAI's, Anthropic's
    noted: Headers = scope["state"].get("quota_headers", [])
    return [*_COMMON, *named, *noted]


def note_quota_headers(scope: Scope, headers: Iterable[tuple[str, str]]) -> None:
    """Whatever answers this request carries them."""
    scope["state"]["quota_headers"] = [(name.encode(), text.encode()) for name, text in headers]


class Answer:
    """A whole answer, as an ASGI application."""

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        *,
        media_type: str = "application/json",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.status = status
        self.body = body
        self._media_type = media_type
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del receive
        scope["state"]["status"] = self.status
        headers = common_headers(scope)
        headers.extend((name.encode(), value.encode("latin-1")) for name, value in self._headers)
        if self.status != 204:
            headers.append((b"content-type", self._media_type.encode()))
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def json_answer(status: int, content: object, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """`content`, as JSON."""
    return Answer(status, msgspec.json.encode(content), headers=headers)
