"""What providers over HTTP share: what is asked of an SDK, and what its failures mean.

Owns the choice of headers, the checks of an answer before its first byte, and the one place where
foreign exceptions become ours. It never looks into a stream, and no credential is in any error.

A connection that breaks before the status is `ProviderUnreachable`; afterwards, at whatever byte,
it is `ProviderTruncated`.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import ClassVar, NamedTuple
from urllib.parse import quote, urlencode

import httpx2
import msgspec

from proxy import config
from proxy.config.reaching import MODEL
from proxy.errors import (
    ProviderError,
    ProviderGarbled,
    ProviderRefused,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
)
from proxy.policy.breaker import Rule
from proxy.relay.ports import Deadlines, Kept, Patience, Place, ProviderModel, UpstreamRequest
from proxy.stream import Frame
from proxy.upstream.account import credential, peer, secrets, ssl_context
from proxy.upstream.http import Body, Transport, read_bounded
from proxy.upstream.keeping import (
    cancel_of,
    is_background,
    response_named,
    rest_of,
    sequence_number,
    stream_named,
)
from proxy.upstream.retry_after import retry_after_s
from proxy.wire.json_text import read_body, write_object

_MODELS_BYTES_MAX = 4 * 1024 * 1024
"""Chosen: the longest lists known, of a few hundred models, take some 300 KiB."""
_MODELS_MAX = 1000
"""Anthropic's own limit for one page."""
_MESSAGE_CHARS_MAX = 1000
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_SENDABLE = re.compile(r"[\t\x20-\x7e]*")
"""A header's value that every server takes."""


class Said(NamedTuple):
    """What a provider's error body says, if it has the shape of its dialect."""

    code: str | None
    message: str


class RemoteProvider:
    """A provider over HTTP. What its SDK and its dialect do differently is a subclass's."""

    ask_paths: ClassVar[Mapping[str, str]]
    """Where it is asked, by dialect; the one that it prefers first."""
    models_path: ClassVar[str]
    root: ClassVar[str] = ""
    """What comes before the paths of `keeping`, beneath the base URL."""
    passages: ClassVar[Mapping[str, str]]
    """The path of each that it has."""

    def __init__(self, name: str, settings: config.RemoteProvider) -> None:
        self.name = name
        self.dialects: Sequence[str] = tuple(self.ask_paths)
        self.peer = peer(settings)
        self.rest = Rule(settings.rest_after, settings.rest_s, settings.rest_max_s)
        self.deadlines = Deadlines(
            settings.connect_s, settings.first_event_s, settings.idle_s, settings.total_s
        )
        self.patience = Patience(settings.retries, settings.retry_wait_s)
        self.may_leave_out_terminator = settings.terminator == "optional"
        self._may_resume = settings.resumes == "auto"
        self._own_headers = credential(settings) | {
            key.lower(): value.reveal() for key, value in settings.headers.items()
        }
        self._base_url = settings.base_url.rstrip("/")
        self._query = urlencode(settings.query, quote_via=quote)
        self._own_fields = settings.body
        proxy_url = settings.proxy.reveal() if settings.proxy else None
        self._http = httpx2.AsyncClient(
            transport=Transport(
                connect_s=settings.connect_s,
                secrets=secrets(settings),
                ssl_context=ssl_context(settings, proxy_url),
                proxy=proxy_url,
            ),
            follow_redirects=False,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    # --- the port ---------------------------------------------------------------------------

    def dialects_for(self, model: str) -> Sequence[str]:
        """See `Provider.dialects_for`: the same for all models."""
        del model
        return self.dialects

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterable[bytes]]:
        """See `Provider.stream`."""
        assert request.dialect in self.dialects, "a provider is asked in its own dialects only"
        content_type = "application/json" if request.is_whole else "text/event-stream"
        headers = self._headers(content_type, request.headers)
        path = self._path(self.ask_paths[request.dialect], request.model)
        content = self._with_own_fields(request.body)
        response = await self._send(path, content, headers)
        body = _body(response)
        try:
            _check(body, content_type, "JSON" if request.is_whole else "an event stream")
            name = stream_named(response.headers)
            is_kept = name is not None or is_background(request.dialect, content)
            may_resume = self._may_resume and not request.is_whole
            yield Kept(body, self, name or "") if is_kept and may_resume else body
            await body.linger()
        finally:
            body.close()

    def name_in(self, frame: Frame) -> str | None:
        """See `Keeper.name_in`."""
        return response_named(frame)

    def number_in(self, frame: Frame) -> int | None:
        """See `Keeper.number_in`."""
        return sequence_number(frame)

    @asynccontextmanager
    async def resume(
        self, request: UpstreamRequest, name: str, place: Place
    ) -> AsyncIterator[AsyncIterable[bytes]]:
        """See `Keeper.resume`."""
        rest = rest_of(name, place)
        if rest is None:
            raise ProviderTruncated
        headers = {**self._headers("text/event-stream", request.headers), **rest.headers}
        path = self._path(self.root + rest.path, request.model)
        response = await self._send(path, None, headers)
        body = _body(response)
        try:
            if response.status_code == HTTPStatus.NO_CONTENT:
                raise ProviderTruncated
            _check(body, "text/event-stream", "an event stream")
            yield Kept(body, self, name)
            await body.linger()
        finally:
            body.close()

    async def cancel(self, request: UpstreamRequest, name: str) -> None:
        """See `Keeper.cancel`."""
        headers = self._headers("application/json", request.headers)
        path = self._path(self.root + cancel_of(name), request.model)
        _body(await self._send(path, b"", headers)).close()

    @asynccontextmanager
    async def fetch(
        self, passage: str, request: UpstreamRequest
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Provider.fetch`."""
        headers = self._headers("application/json", request.headers)
        path = self._path(self.passages[passage], request.model)
        body = _body(await self._send(path, request.body, headers))
        try:
            _check(body, "application/json", "JSON")
            yield body
        finally:
            body.close()

    async def models(self) -> Sequence[ProviderModel]:
        """See `Provider.models`. The first thousand; none where each model has its own address."""
        if MODEL in self._base_url:
            return ()
        path, headers = self._path(self.models_path), self._headers("application/json")
        body = _body(await self._send(path, None, headers))
        try:
            raw = await read_bounded(body, _MODELS_BYTES_MAX)
        finally:
            body.close()
        if raw is None:
            raise ProviderGarbled(f"a list of models of more than {_MODELS_BYTES_MAX} bytes")
        try:
            return self._read_models(raw)[:_MODELS_MAX]
        except msgspec.DecodeError as error:
            raise ProviderGarbled("a list of models that is none") from error

    async def close(self) -> None:
        """See `Provider.close`."""
        await self._http.aclose()

    # --- for the subclass -------------------------------------------------------------------

    async def _send(
        self, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx2.Response:
        """POST `content`, or GET, through the SDK. Raises what `_refused` and `_broken` make."""
        raise NotImplementedError

    def _read_error(self, raw: bytes) -> Said:
        """What an error of the dialect says. Raises `msgspec.DecodeError` if it is none."""
        raise NotImplementedError

    def _read_models(self, raw: bytes) -> Sequence[ProviderModel]:
        """The models of a list in the provider's form. Raises `msgspec.DecodeError`."""
        raise NotImplementedError

    def _path(self, path: str, model: str = "") -> str:
        """Where to ask, with the config's query; whole where the model is in the address.

        Raises `ProviderRefused` for a name of dots, which would lead out of its place there.
        """
        if MODEL in self._base_url:
            if not model.strip("."):
                raise ProviderRefused(self.name, 404, code="model_not_found")
            path = self._base_url.replace(MODEL, quote(model, safe="")) + path
        if self._query:
            path += f"{'&' if '?' in path else '?'}{self._query}"
        return path

    def _with_own_fields(self, content: bytes) -> bytes:
        if not self._own_fields:
            return content
        return write_object({**read_body(content), **self._own_fields})

    def _headers(self, accept: str, passed_on: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
        """On top of the SDK's own: the config's, over them the client's, over all what must be."""
        headers = dict(self._own_headers)
        clients: dict[str, str] = {}
        for key, value in passed_on:
            if _SENDABLE.fullmatch(value):
                name = key.lower()
                clients[name] = f"{clients[name]}, {value}" if name in clients else value
        headers |= clients
        headers |= {"accept": accept, "accept-encoding": "identity"}
        return headers

    def _refused(self, response: httpx2.Response) -> ProviderRefused:
        """Of an answer that is no success."""
        try:
            said = self._read_error(response.content)
        except msgspec.DecodeError:
            said = None
        is_code = said is not None and said.code is not None and _CODE.fullmatch(said.code)
        return ProviderRefused(
            self.name,
            response.status_code,
            code=said.code if said and is_code else None,
            message=said.message[:_MESSAGE_CHARS_MAX] if said else None,
            body=response.content if said else None,
            retry_after_s=retry_after_s(response.headers),
        )

    def _broken(self, cause: BaseException | None) -> ProviderError:
        """Of a request that got no answer. `cause` is what the transport raised."""
        match cause:
            case httpx2.ConnectTimeout():
                return ProviderStalled("connect", self.deadlines.connect_s)
            case httpx2.RemoteProtocolError():
                return ProviderGarbled("an answer that is not HTTP")
            case httpx2.TransportError():
                was_asked = not isinstance(cause, httpx2.ConnectError)
                return ProviderUnreachable(self.name, str(cause), was_asked=was_asked)
            case _:
                # anthropic's SDK takes every exception for a broken connection, a bug too
                assert cause is not None, "an SDK names the cause of a broken connection"
                raise cause


def _body(response: httpx2.Response) -> Body:
    body = response.extensions["body"]
    assert isinstance(body, Body), "the transport is ours"
    return body


def _check(body: Body, content_type: str, what: str) -> None:
    """Whether this can be what was asked for. Raises `ProviderGarbled`."""
    if body.content_encoding:
        raise ProviderGarbled(f"a body with content-encoding {body.content_encoding[:80]!r}")
    if body.content_type not in {content_type, ""}:
        raise ProviderGarbled(f"a body of type {body.content_type[:80]!r}, not {what}")
