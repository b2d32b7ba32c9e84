"""HTTP under the SDKs: their requests go out over aiohttp, answers come back unread and bounded.

Owns connections, the connect deadline, and every byte that a provider sends. It never follows a
redirect, repeats a POST, keeps a cookie, asks the environment for a proxy, or decompresses. A proxy
is the config's.

What surprises: the SDKs bring an aiohttp transport of their own, and it is not used. Its cookie
jar cannot be turned off, openai's copy calls a connection that breaks before the answer a connect
timeout, and "no limit" means 100 connections. Closing here is one synchronous call, so that
nothing can interrupt it.
"""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Sequence

import aiohttp
import httpx2
from multidict import CIMultiDict
from yarl import URL

from proxy.errors import ProviderTruncated

ERROR_BYTES_MAX = 64 * 1024
"""Chosen: errors of providers take a few hundred bytes; a page of HTML is not passed on anyway."""
_ERROR_S = 5.0
"""Chosen: how long the body of an error may take; its status is known by then."""
_LINGER_S = 0.1
"""Chosen, as the SDKs do: how long the end of a body is waited for after its last event, so that
the connection can be used again."""
_KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which uvicorn and Node close an idle connection: a POST that meets the
close is lost, as it may not be repeated."""
_BUFFER_BYTES = 64 * 1024
"""Chosen: of one answer that nobody reads, at most twice this is held before reading pauses."""
_HEADER_BYTES_MAX = 32 * 1024
"""Chosen: content security policies pass aiohttp's own 8 KiB."""
_NOT_FOR_SDKS = frozenset({b"set-cookie", b"location", b"content-encoding"})
"""What an SDK or httpx2 would act on."""


class _Response(aiohttp.ClientResponse):
    def close(self) -> None:
        """Drop what is not sent yet: a provider that does not read would hold the socket open."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        super().close()


class Body(httpx2.AsyncByteStream):
    """The bytes of one answer, as they come. Iterating raises `ProviderTruncated`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """What has come since the last call; waits if that is nothing."""
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderTruncated from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    @property
    def content_encoding(self) -> str:
        """How the body is compressed; "" if it is not."""
        encoding = self._response.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    @property
    def content_type(self) -> str:
        """The media type without its parameters; "" if the provider does not say."""
        return self._response.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def linger(self) -> None:
        """Wait a moment for the end, if only that is missing. Then `close`."""
        try:
            async with asyncio.timeout(_LINGER_S):
                await self._content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass  # it is closed either way

    def close(self) -> None:
        """Close the connection, unless the body has come to its end. Never waits."""
        self._response.close()

    async def aclose(self) -> None:
        """`close`, as httpx2 names it."""
        self.close()


class Transport(httpx2.AsyncBaseTransport):
    """Sends an SDK's requests. A response has its `Body` as the extension ``body``.

    An answer that is no success is read to its end here, and has no body if that is larger than
    `ERROR_BYTES_MAX` or repeats one of `secrets`.
    """

    def __init__(
        self,
        *,
        connect_s: float,
        secrets: Sequence[str],
        ssl_context: ssl.SSLContext | None,
        proxy: str | None = None,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s)
        self._secrets = [secret.encode() for secret in secrets]
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Returns once the headers of the answer are here. Raises `httpx2.TransportError`."""
        session = self._session = self._session or self._new_session()
        try:
            response = await session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=CIMultiDict(request.headers.multi_items()),
                data=io.BytesIO(request.content) if request.content else None,
                allow_redirects=False,
                proxy=self._proxy,
            )
        except aiohttp.ClientError as error:
            raise _mapped(error) from error
        headers = [pair for pair in response.raw_headers if pair[0].lower() not in _NOT_FOR_SDKS]
        body = Body(response)
        if not 200 <= response.status < 300:
            raw = await self._read_error(body)
            return httpx2.Response(response.status, headers=_unframed(headers), content=raw)
        return httpx2.Response(
            response.status, headers=headers, stream=body, extensions={"body": body}
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        """Made with the first request, because it belongs to the running loop."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # how many streams there may be is decided before they come here
                keepalive_timeout=_KEEP_ALIVE_S,
                ssl=self._ssl_context or True,
            ),
            timeout=self._timeout,
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=_BUFFER_BYTES,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
        )

    async def _read_error(self, body: Body) -> bytes:
        try:
            async with asyncio.timeout(_ERROR_S):
                raw = await read_bounded(body, ERROR_BYTES_MAX)
        except (TimeoutError, ProviderTruncated):
            return b""
        finally:
            body.close()
        if raw is None or body.content_encoding:
            return b""
        plain = raw.replace(b"\\/", b"/")  # some JSON writers escape what base64 is full of
        return b"" if any(secret in plain for secret in self._secrets) else raw


async def read_bounded(body: Body, bytes_max: int) -> bytes | None:
    """The whole body; None if it is larger than `bytes_max`. Raises `ProviderTruncated`."""
    raw = bytearray()
    async for chunk in body:
        raw += chunk
        if len(raw) > bytes_max:
            return None
    return bytes(raw)


def _unframed(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without what was true of the body on the wire only."""
    wire = {b"content-length", b"transfer-encoding"}
    return [pair for pair in headers if pair[0].lower() not in wire]


def _mapped(error: aiohttp.ClientError) -> httpx2.TransportError:
    """In httpx2's words, with a message that names no address."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx2.ConnectTimeout("no connection in time")
        case aiohttp.ClientHttpProxyError():
            return httpx2.ConnectError(f"its proxy answers with status {error.status}")
        case aiohttp.ClientProxyConnectionError():
            return httpx2.ConnectError("no connection to its proxy can be made")
        case aiohttp.ClientConnectorDNSError():
            return httpx2.ConnectError("its name cannot be resolved")
        case aiohttp.ClientConnectorCertificateError():
            return httpx2.ConnectError("its certificate is not trusted")
        case aiohttp.ClientSSLError():
            return httpx2.ConnectError("no TLS connection can be made")
        case aiohttp.ClientConnectorError():
            refused = isinstance(error.os_error, ConnectionRefusedError)
            return httpx2.ConnectError("it is refused" if refused else "it cannot be made")
        case aiohttp.ClientResponseError():
            return httpx2.RemoteProtocolError("no HTTP")
        case _:
            return httpx2.ReadError("it broke before the answer")
