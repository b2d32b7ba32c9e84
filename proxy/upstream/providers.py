"""The registry of provider kinds: from the config's tables to the port."""

from collections.abc import Mapping
from typing import assert_never

from proxy import config
from proxy.relay.ports import Provider
from proxy.upstream.scripted import ScriptedProvider


def build_providers(tables: Mapping[str, config.Provider]) -> dict[str, Provider]:
    """A provider for each table, by its name. Raises `ConfigInvalid`.

    Reads recordings and, for https, the system's certificates, so it belongs into start-up.
    """
    return {name: _build(name, table) for name, table in tables.items()}


def _build(name: str, table: config.Provider) -> Provider:
    # an SDK costs half a second and 50 MiB or more: it is loaded if the config names it
    match table:
        case config.ScriptedProvider():
            return ScriptedProvider(name, table)
        case config.OpenAIProvider():
            from proxy.upstream.openai import OpenAIProvider  # noqa: PLC0415

            return OpenAIProvider(name, table)
        case config.AnthropicProvider():
            from proxy.upstream.anthropic import AnthropicProvider  # noqa: PLC0415

            return AnthropicProvider(name, table)
        case _:
            assert_never(table)
