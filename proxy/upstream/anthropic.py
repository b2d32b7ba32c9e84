"""Providers that speak ``anthropic.messages``, asked through the anthropic SDK.

Owns what that SDK and dialect do differently from others. It never reads typed events: the SDK
carries the request and types its failures, the answer's bytes pass by it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Literal

import anthropic
import httpx2
import msgspec

from proxy import config
from proxy.relay.ports import ProviderModel
from proxy.upstream.remote import RemoteProvider, Said
from proxy.wire.passages import COUNT_TOKENS

_NO_KEY = "none"
"""Without one the SDK would look for credentials in files and on the network. It is not sent: see
`remote`, which knows the header for the true one."""


class _Error(msgspec.Struct):
    type: str
    message: str


class _ErrorBody(msgspec.Struct):
    type: Literal["error"]
    error: _Error


class _Model(msgspec.Struct):
    id: str
    created_at: datetime | None = None


class _Models(msgspec.Struct):
    data: list[_Model] | None


class AnthropicProvider(RemoteProvider):
    """See the module."""

    ask_paths: ClassVar[Mapping[str, str]] = {"anthropic.messages": "/v1/messages"}
    models_path = "/v1/models?limit=1000"
    root = "/v1"
    passages: ClassVar[Mapping[str, str]] = {COUNT_TOKENS.name: "/v1/messages/count_tokens"}

    def __init__(self, name: str, settings: config.AnthropicProvider) -> None:
        super().__init__(name, settings)
        self._client = anthropic.AsyncAnthropic(
            api_key=_NO_KEY,
            base_url=settings.base_url,
            timeout=None,  # deadlines are the transport's and the producer's
            max_retries=0,
            open_telemetry=False,
            http_client=self._http,
        )
        # the SDK looks into the environment for these; only the config says what is sent
        self._client._custom_headers = {}  # noqa: SLF001

    async def _send(
        self, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx2.Response:
        sent: dict[str, str | anthropic.Omit] = dict(headers)
        sent.setdefault("authorization", anthropic.Omit())
        options: anthropic.RequestOptions = {"headers": sent}
        kind = anthropic.AsyncStream[object]
        answer: object
        try:
            if content is None:
                answer = await self._client.get(
                    path, cast_to=httpx2.Response, options=options, stream=True, stream_cls=kind
                )
            else:
                answer = await self._client.post(
                    path,
                    cast_to=httpx2.Response,
                    content=content,
                    options=options,
                    stream=True,
                    stream_cls=kind,
                )
        except anthropic.APIStatusError as error:
            raise self._refused(error.response) from error
        except anthropic.APIConnectionError as error:
            raise self._broken(error.__cause__) from error
        assert isinstance(answer, httpx2.Response), "cast_to asks for the response itself"
        return answer

    def _read_error(self, raw: bytes) -> Said:
        error = msgspec.json.decode(raw, type=_ErrorBody).error
        return Said(error.type, error.message)

    def _read_models(self, raw: bytes) -> Sequence[ProviderModel]:
        models = msgspec.json.decode(raw, type=_Models).data or []
        return [
            ProviderModel(model.id, int(model.created_at.timestamp()) if model.created_at else 0)
            for model in models
        ]
