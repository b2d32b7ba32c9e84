"""A server, as a command of the terminal reaches it: address, key, and what its answers mean.

Owns the session and the mapping of its errors, once for all commands. It never follows a
redirect and never asks the environment for a proxy, because a key rides along. What surprises:
statuses are final or passing by their class, so a 4xx that this version has never heard of
is final.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import aiohttp
import msgspec

from proxy.config import Secret
from proxy.errors import LineLost, PromiseBroken, ServerRefused, ServerUnreachable

T = TypeVar("T")

CONNECT_S: Final = 10.0
"""Chosen: as long as a provider gets."""
_ANSWER_S: Final = 30.0
"""Of a small question. Chosen: above what a store that is away makes an answer take."""
_ERROR_BYTES_MAX: Final = 64 * 1024
_SAID_CHARS_MAX: Final = 300
"""Of what a server says about an error. Chosen: three lines of a terminal."""
_PASSING: Final = frozenset({408, 425, 429})
"""Statuses below 500 that another try may change."""


class Server(msgspec.Struct, frozen=True):
    """Where it is, and who asks. `url` has no slash at its end."""

    url: str
    key: Secret | None = None

    def headers(self) -> Mapping[str, str]:
        """What every request carries."""
        return {} if self.key is None else {"authorization": f"Bearer {self.key.reveal()}"}


class _Error(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    """Of either dialect."""

    error: _Error | str = ""


@asynccontextmanager
async def open_session(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to it, while inside."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S, connect=CONNECT_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers=server.headers(),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
    ) as session:
        yield session


@contextmanager
def mapped(url: str) -> Iterator[None]:
    """What aiohttp raises inside becomes `ServerUnreachable` or `LineLost`."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise ServerUnreachable(url, _reason(error)) from error
    except aiohttp.InvalidURL as error:
        raise ServerUnreachable(url, "this is no address") from error
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
        raise LineLost(_reason(error)) from error


def _reason(error: Exception) -> str:
    """In a few words. Messages of aiohttp repeat the address."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not to be trusted"
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    if isinstance(error, OSError) and error.errno is not None:
        said = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        return said[:1].lower() + said[1:]
    return {
        "ServerDisconnectedError": "the server closed it",
        "ClientPayloadError": "it broke in the middle",
    }.get(type(error).__name__, type(error).__name__)


async def check_status(url: str, answer: aiohttp.ClientResponse) -> None:
    """Raise unless it is a 2xx: `ServerRefused` where that is final, else `LineLost`."""
    status = answer.status
    if 200 <= status < 300:
        return
    said = _said(await answer.content.read(_ERROR_BYTES_MAX)) or answer.reason or "no reason given"
    if status < 500 and status not in _PASSING:
        raise ServerRefused(url, status, said)
    raise LineLost(
        f"the server answers {status}, {said}",
        is_of_the_line=False,
        retry_after_s=_retry_after_s(answer.headers),
    )


def _said(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    said = error if isinstance(error, str) else error.message
    return visible(" ".join(said.split())[:_SAID_CHARS_MAX])


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    given = headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() and len(given) < 6 else None


async def ask(session: aiohttp.ClientSession, server: Server, path: str, kind: type[T]) -> T:
    """What the server answers to a GET. Raises `ServerError`."""
    url = server.url + path
    with mapped(server.url):
        async with session.get(url, allow_redirects=False) as answer:
            await check_status(server.url, answer)
            body = await answer.read()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PromiseBroken(f"{url} is not what a Midstream answers") from error


_SHOWN: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if code not in {0x09, 0x0A}},
    0x7F: "\N{SYMBOL FOR DELETE}",
    **dict.fromkeys(range(0x80, 0xA0), "\N{REPLACEMENT CHARACTER}"),
}


def visible(text: str) -> str:
    """`text` for a terminal: what would control it is shown, not obeyed."""
    return text.translate(_SHOWN)
