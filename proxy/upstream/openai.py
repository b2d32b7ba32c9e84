"""Providers that speak OpenAI's dialects, or one of them, asked through the openai SDK.

Owns what that SDK and those dialects do differently from others. It never reads typed chunks: the
SDK carries the request and types its failures, the answer's bytes pass by it.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import httpx2
import msgspec
import openai

from proxy import config
from proxy.relay.ports import ProviderModel
from proxy.upstream.remote import RemoteProvider, Said
from proxy.wire.passages import EMBEDDINGS

_NO_KEY = "none"
"""For the SDK, which wants one. It is not sent: see `remote`, which knows the header for it."""


class _Error(msgspec.Struct):
    message: str
    type: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


class _Model(msgspec.Struct):
    id: str
    created: int | float | None = None
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model] | None


class OpenAIProvider(RemoteProvider):
    """See the module."""

    ask_paths: ClassVar[Mapping[str, str]] = {
        "openai.chat": "/chat/completions",
        "openai.responses": "/responses",
    }
    models_path = "/models"
    passages: ClassVar[Mapping[str, str]] = {EMBEDDINGS.name: "/embeddings"}

    def __init__(self, name: str, settings: config.OpenAIProvider) -> None:
        super().__init__(name, settings)
        self.dialects = settings.asked_in
        self._client = openai.AsyncOpenAI(
            api_key=_NO_KEY,
            base_url=settings.base_url,
            timeout=None,  # deadlines are the transport's and the producer's
            max_retries=0,
            http_client=self._http,
        )
        # the SDK looks into the environment for these; only the config says what is sent
        self._client.organization = self._client.project = None
        self._client._custom_headers = {}  # noqa: SLF001

    async def _send(
        self, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx2.Response:
        sent: dict[str, str | openai.Omit] = dict(headers)
        sent.setdefault("authorization", openai.Omit())
        options: openai.RequestOptions = {"headers": sent}
        kind = openai.AsyncStream[object]
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
        except openai.APIStatusError as error:
            raise self._refused(error.response) from error
        except openai.APIConnectionError as error:
            raise self._broken(error.__cause__) from error
        assert isinstance(answer, httpx2.Response), "cast_to asks for the response itself"
        return answer

    def _read_error(self, raw: bytes) -> Said:
        error = msgspec.json.decode(raw, type=_ErrorBody).error
        return Said(error.code if isinstance(error.code, str) else error.type, error.message)

    def _read_models(self, raw: bytes) -> Sequence[ProviderModel]:
        models = msgspec.json.decode(raw, type=_Models).data or []
        return [
            ProviderModel(model.id, int(model.created or 0), model.owned_by or "")
            for model in models
        ]
