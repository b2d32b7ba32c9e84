"""``GET /v1/models``: the models that a key may use, in the shape its SDK expects.

A pattern such as ``gpt-*`` stands for what its provider says it has; that is asked for at most
once in a while, and a provider that does not answer leaves its models out, not the list.
Anthropic's list has pages: as large as its largest, unless the caller wants smaller ones. What
surprises: every model is listed for every caller, for who speaks another dialect is translated for.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Literal
from weakref import WeakKeyDictionary

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp

from proxy.downstream.auth import authenticate
from proxy.downstream.describe import rfc3339
from proxy.downstream.desk import Desk
from proxy.downstream.exchange import json_answer, read_headers, read_query
from proxy.downstream.wishes import read_count
from proxy.errors import MalformedRequest, ModelNotFound, ProviderError
from proxy.policy.keys import Principal
from proxy.policy.routes import Route, is_allowed
from proxy.relay.ports import Provider, ProviderModel

_KEEP_S = 300.0
"""Chosen: a new model shows within minutes."""
_LIFECYCLES = frozenset({"lifecycle", "lifecycle[]"})
"""By which Anthropic's SDKs filter: all models here are active."""
ANTHROPIC_LIMIT_MAX = 1000
"""Of one page, as Anthropic has it."""
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
        if "anthropic-version" in headers:
            query = read_query(request.scope, repeatable=_LIFECYCLES)
            return json_answer(200, anthropic_page(models, query))
        return json_answer(200, {"object": "list", "data": [_openai(model) for model in models]})

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
        provider = desk.routes.resolve(name, allowed).targets[0].provider
        found[name] = ProviderModel(name, owned_by=provider)
    for route, provider in _patterns(desk):
        for model in await catalogue.models_of(desk.providers[provider]):
            name = route.name.replace("*", model.id) if route.name.endswith("/*") else model.id
            if name in found or not is_allowed(allowed, name) or route.serve(name) is None:
                continue
            found[name] = msgspec.structs.replace(model, id=name)
    return list(found.values())


def _patterns(desk: Desk) -> Iterator[tuple[Route, str]]:
    """Each with every provider that may say what it stands for."""
    for route in desk.routes.patterns:
        for provider in dict.fromkeys(target.provider for target in route.targets):
            yield route, provider


class AnthropicPage(msgspec.Struct, frozen=True):
    """A page of models. Its first and last ids are the cursors to the pages around it."""

    data: list["AnthropicModel"]
    has_more: bool
    first_id: str | None
    last_id: str | None


def anthropic_page(models: Sequence[ProviderModel], query: Mapping[str, str]) -> AnthropicPage:
    """The page that a query asks for. Raises `MalformedRequest`, which names the parameter."""
    limit = read_count(query, "limit", default=ANTHROPIC_LIMIT_MAX, high=ANTHROPIC_LIMIT_MAX)
    wanted = [query[name] for name in _LIFECYCLES if name in query]
    if wanted and "active" not in ",".join(wanted).split(","):
        models = ()
    begin, end = 0, len(models)
    if "before_id" in query:
        end = _place(models, query, "before_id")
        begin, has_more = max(0, end - limit), end > limit
    else:
        if "after_id" in query:
            begin = _place(models, query, "after_id") + 1
        has_more = end - begin > limit
        end = min(end, begin + limit)
    page = [_anthropic(model) for model in models[begin:end]]
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return AnthropicPage(page, has_more, first, last)


def _place(models: Sequence[ProviderModel], query: Mapping[str, str], name: str) -> int:
    for place, model in enumerate(models):
        if model.id == query[name]:
            return place
    raise MalformedRequest(f"{name} is no model of this list.", param=name)


class _OpenAIModel(msgspec.Struct):
    id: str
    created: int
    owned_by: str
    object: str = "model"


class AnthropicModel(msgspec.Struct, frozen=True):
    """With every field that the SDKs' types have. What nobody knows is null, as it may be."""

    id: str
    display_name: str
    created_at: str
    type: Literal["model"] = "model"
    lifecycle: Literal["active"] = "active"
    capabilities: None = None
    deprecated_at: None = None
    line: None = None
    max_input_tokens: None = None
    max_tokens: None = None
    retires_at: None = None


def _openai(model: ProviderModel) -> _OpenAIModel:
    return _OpenAIModel(model.id, model.created, model.owned_by or "midstream")


def _anthropic(model: ProviderModel) -> AnthropicModel:
    return AnthropicModel(model.id, model.id, rfc3339(model.created))
