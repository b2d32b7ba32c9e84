"""``GET /v1/models``: the models that a key may use, in the shape its SDK expects.

A pattern such as ``gpt-*`` stands for what its provider says it has; that is asked for at most
once in a while, and a provider that does not answer leaves its models out, not the list.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate
from proxy.downstream.describe import rfc3339
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import Answer, json_answer, read_headers
from proxy.errors import ModelNotFound, ProviderError
from proxy.policy.keys import Principal
from proxy.policy.routes import is_allowed
from proxy.relay.ports import Provider, ProviderModel

_KEEP_S = 300.0
"""Chosen: a new model shows within minutes."""
_ASK_S = 5.0
"""How long a list waits for a provider."""


class _Known:
    """What one provider has said, and when it was asked."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.models: Sequence[ProviderModel] = ()
        self.asked_at: float | None = None


class Catalogue:
    """What the providers say they have, remembered for a while."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Provider, _Known] = WeakKeyDictionary()

    async def models_of(self, provider: Provider) -> Sequence[ProviderModel]:
        """The models of a provider; none if it cannot say."""
        loop = asyncio.get_running_loop()
        known = self._known.setdefault(provider, _Known())
        async with known.lock:
            if known.asked_at is None or loop.time() - known.asked_at >= _KEEP_S:
                with suppress(ProviderError, TimeoutError):  # then what it said before
                    async with asyncio.timeout(_ASK_S):
                        known.models = await provider.models()
                known.asked_at = loop.time()
            return known.models


def models_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    catalogue = Catalogue()

    @get("/v1/models")
    async def list_models(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        headers = read_headers(request.scope)
        principal = authenticate(desk, headers)
        models = await _usable(desk, catalogue, principal)
        return _list_answer(models, is_anthropic="anthropic-version" in headers)

    @get("/v1/models/{model:path}")
    async def get_model(request: Request, model: FromPath[str]) -> ASGIApp:  # type: ignore[type-arg]
        headers = read_headers(request.scope)
        principal = authenticate(desk, headers)
        name = model.removeprefix("/")
        desk.routes.resolve(name, principal.models)
        models = await _usable(desk, catalogue, principal)
        found = next((known for known in models if known.id == name), None)
        if found is None:
            raise ModelNotFound(name)
        is_anthropic = "anthropic-version" in headers
        return json_answer(200, _anthropic(found) if is_anthropic else _openai(found))

    return [list_models, get_model]


async def _usable(desk: Desk, catalogue: Catalogue, principal: Principal) -> list[ProviderModel]:
    """All models that `principal` may ask for, configured ones first."""
    allowed = principal.models
    found: dict[str, ProviderModel] = {}
    for name in desk.routes.names(allowed):
        provider = desk.routes.resolve(name, allowed).provider
        found[name] = ProviderModel(name, owned_by=provider)
    for route in desk.routes.patterns:
        for model in await catalogue.models_of(desk.providers[route.target.provider]):
            name = route.name.replace("*", model.id) if route.name.endswith("/*") else model.id
            if name in found or not is_allowed(allowed, name) or route.serve(name) is None:
                continue
            found[name] = msgspec.structs.replace(model, id=name)
    return list(found.values())


def _list_answer(models: Sequence[ProviderModel], *, is_anthropic: bool) -> Answer:
    if not is_anthropic:
        return json_answer(200, {"object": "list", "data": [_openai(model) for model in models]})
    return json_answer(
        200,
        {
            "data": [_anthropic(model) for model in models],
            "has_more": False,
            "first_id": models[0].id if models else None,
            "last_id": models[-1].id if models else None,
        },
    )


class _OpenAIModel(msgspec.Struct):
    id: str
    created: int
    owned_by: str
    object: str = "model"


class _AnthropicModel(msgspec.Struct):
    id: str
    display_name: str
    created_at: str
    type: str = "model"


def _openai(model: ProviderModel) -> _OpenAIModel:
    return _OpenAIModel(model.id, model.created, model.owned_by or "midstream")


def _anthropic(model: ProviderModel) -> _AnthropicModel:
    return _AnthropicModel(model.id, model.id, rfc3339(model.created))
