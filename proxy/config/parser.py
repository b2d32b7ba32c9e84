"""From the text of a file to a `Config`, or to everything that is wrong with it."""

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from proxy.config import rules, sharing
from proxy.config.expectations import expected, instead, nearest
from proxy.config.lines import Path, locate
from proxy.config.names import ModelName, Name
from proxy.config.problems import Problems
from proxy.config.quotas import Quota, check_zone
from proxy.config.secret import Unset
from proxy.config.tables import (
    AnthropicProvider,
    Config,
    KeyTable,
    ModelTable,
    Off,
    OpenAIProvider,
    Provider,
    RemoteProvider,
    ScriptedProvider,
    Server,
    Store,
    Streams,
)
from proxy.config.tracing import Tracing, read_tracing
from proxy.config.values import NOT_A_TABLE, Reader
from proxy.errors import ConfigInvalid
from proxy.policy.keys import Key
from proxy.policy.routes import Route

_TEXT_CHARS_MAX = 1024 * 1024  # chosen: thousands of keys fit
_SECTIONS = ("server", "store", "streams", "providers", "models", "quotas", "keys")
_Kind = Literal["openai", "anthropic", "scripted"]
_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")

T = TypeVar("T", bound=msgspec.Struct)


def parse(
    text: str,
    env: Mapping[str, str],
    read_file: Callable[[str], str],
    *,
    host: str | None = None,
    port: int | None = None,
) -> Config:
    """What the file means, with `host` and `port` in the place of its own if given.

    Raises `ConfigInvalid` with every problem as ``line N: [section] key: what is wrong``.
    `read_file` reads what ``file:PATH`` refers to, and raises `OSError` or `ValueError`.
    """
    document = _read_toml(text)
    problems = Problems(locate(text))
    _put(document, host=host, port=port)
    for section in document:
        if section not in _SECTIONS:
            problems.add((section,), f"is no section of this file{nearest(section, _SECTIONS)}")
    reading = _Reading(document, problems, Reader(problems, env, read_file), read_tracing(env))
    config = reading.config()
    if config is None:
        raise ConfigInvalid(problems.sentences())
    return config


def _read_toml(text: str) -> dict[str, Any]:
    if len(text) > _TEXT_CHARS_MAX:
        raise ConfigInvalid((f"line 1: the file has more than {_TEXT_CHARS_MAX} characters",))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        place = _SYNTAX_PLACE.search(what)
        at_end = text.count("\n") + 1
        line = int(place[1]) if place and place[1] else at_end
        where = f" at column {place[2]}" if place and place[2] else ""
        sentence = _SYNTAX_PLACE.sub("", what)
        raise ConfigInvalid((f"line {line}: this is not TOML{where}: {sentence}",)) from None
    except RecursionError:
        raise ConfigInvalid(("line 1: the file has brackets nested too deep",)) from None
    except ValueError:  # an integer of thousands of digits
        raise ConfigInvalid(("line 1: the file has a number that is far too long",)) from None


def _put(document: dict[str, Any], **overrides: object) -> None:
    """Overrides become part of the document, so that the rules apply to them too."""
    server = document.setdefault("server", {})
    if isinstance(server, dict):
        server.update({name: value for name, value in overrides.items() if value is not None})


class _Reading:
    """One document on its way to a `Config`."""

    def __init__(
        self, document: dict[str, Any], problems: Problems, reader: Reader, tracing: Tracing
    ) -> None:
        self._tracing = tracing
        self._document = document
        self._problems = problems
        self._reader = reader
        self._off: list[Off] = []

    def config(self) -> Config | None:
        """None if there are problems."""
        server = self._section("server", Server)
        store = self._section("store", Store)
        streams = self._section("streams", Streams)
        if store:
            rules.check_store(store, self._problems)
        if server and store:
            rules.check_workers(server, store, self._problems)
        if streams:
            rules.check_streams(streams, self._problems)
        named_models = self._named("models", ModelName)
        quotas = self._quotas(self._named("quotas", Name), named_models)
        declared = self._named("providers", Name)
        providers = self._providers(declared)
        models = self._models(named_models, declared, providers)
        keys = self._keys(self._named("keys", Name), named_models, quotas)
        named = sharing.check_named(self._document, self._problems)
        if server:
            rules.check_reach(server, keys, self._off, self._problems)
        if not (server and store and streams):
            return None
        pools = sharing.pooled(server, providers, quotas, self._problems)
        if self._problems.has_any(()):
            return None
        sharing.warn_of_unused(quotas, named, self._problems)
        sharing.warn_of_unpriced(models, pools, keys, self._problems)
        return Config(
            server=server,
            store=store,
            streams=streams,
            providers=providers,
            models=models,
            keys=keys,
            quotas=quotas,
            pools=pools,
            off=tuple(self._off),
            warnings=self._problems.warnings(),
            tracing=self._tracing,
        )

    def _section(self, name: str, struct: type[T]) -> T | None:
        table = self._reader.table(struct, self._document.get(name, {}), (name,))
        assert not isinstance(table, Unset), "only providers and keys can be optional"
        return table

    def _named(self, section: str, hint: object) -> dict[str, Any]:
        """The tables of ``[section.NAME]``, those with a bad name left out."""
        raw = self._document.get(section, {})
        if not isinstance(raw, dict):
            what = f"must be a section for each name: [{section}.NAME]"
            self._problems.add((section,), what)
            return {}
        tables: dict[str, Any] = {}
        for name, table in raw.items():
            try:
                tables[msgspec.convert(name, hint)] = table
            except msgspec.ValidationError:
                self._problems.add((section, name), f"the name must be {expected(hint)}")
        return tables

    def _providers(self, tables: Mapping[str, Any]) -> dict[str, Provider]:
        providers: dict[str, Provider] = {}
        for name, raw in tables.items():
            path = ("providers", name)
            provider = self._provider(raw, path)
            if isinstance(provider, Unset):
                self._off.append(Off("providers", name, provider.reason))
            elif provider is not None:
                providers[name] = provider
                rules.check_rest(path, provider, self._problems)
            if isinstance(provider, ScriptedProvider):
                rules.check_scripted(raw, path, provider, self._problems)
            elif isinstance(provider, RemoteProvider):
                rules.check_remote(path, provider, self._problems)
        return providers

    def _provider(self, raw: object, path: Path) -> Provider | Unset | None:
        kind = raw.get("kind") if isinstance(raw, dict) else None
        match kind:
            case "openai":
                return self._reader.table(OpenAIProvider, raw, path, ["kind"])
            case "anthropic":
                return self._reader.table(AnthropicProvider, raw, path, ["kind"])
            case "scripted":
                return self._reader.table(ScriptedProvider, raw, path, ["kind"])
        if not isinstance(raw, dict):
            self._problems.add(path, NOT_A_TABLE)
        elif "kind" in raw:
            self._problems.add((*path, "kind"), f"must be {expected(_Kind)}{instead(_Kind, kind)}")
        else:
            self._problems.add(path, f"kind is missing; it must be {expected(_Kind)}")
        return None

    def _models(
        self, tables: Mapping[str, Any], declared: Collection[str], providers: Collection[str]
    ) -> tuple[Route, ...]:
        """With the targets whose provider is on. Those that have none are off with it."""
        routes: list[Route] = []
        for name, raw in tables.items():
            model = self._reader.table(ModelTable, raw, ("models", name))
            assert not isinstance(model, Unset), "a model cannot be optional"
            if model is None:
                continue
            rules.check_model(name, model, declared, self._problems)
            targets = tuple(
                target.target(model.price, model.silent_tokens_per_s)
                for target in model.targets
                if target.provider in providers
            )
            if targets:
                route = Route(
                    name, targets, model.strategy, model.continue_after_failure, model.unstreamed
                )
                routes.append(route)
            else:
                off = " and ".join(dict.fromkeys(target.provider for target in model.targets))
                are = "providers {} are" if " " in off else "provider {} is"
                self._off.append(Off("models", name, f"{are.format(off)} off"))
        return tuple(routes)

    def _quotas(self, tables: Mapping[str, Any], models: Collection[str]) -> dict[str, Quota]:
        quotas: dict[str, Quota] = {}
        for name, raw in tables.items():
            path = ("quotas", name)
            quota = self._reader.table(Quota, raw, path)
            assert not isinstance(quota, Unset), "a quota cannot be optional"
            if quota is not None:
                check_zone(path, quota, self._problems)
                rules.check_allowed(path, quota.models or (), models, self._problems)
                quotas[name] = quota
        return quotas

    def _keys(
        self, tables: Mapping[str, Any], models: Collection[str], quotas: Mapping[str, Quota]
    ) -> tuple[Key, ...]:
        keys: list[Key] = []
        for name, raw in tables.items():
            path = ("keys", name)
            table = self._reader.table(KeyTable, raw, path)
            if isinstance(table, Unset):
                self._off.append(Off("keys", name, table.reason))
            elif table is not None:
                rules.check_allowed(path, table.models or (), models, self._problems)
                key = rules.check_key(name, table, self._problems)
                keys += [sharing.with_quota(key, table.quota, quotas)] if key else []
        rules.check_unlike(keys, self._problems)
        return tuple(keys)
