"""The registry of provider kinds: from the config's tables to the port."""

import asyncio
from collections.abc import Collection, Mapping
from typing import assert_never

from proxy import config
from proxy.relay.ports import Provider
from proxy.upstream.scripted import ScriptedProvider


def build_providers(tables: Mapping[str, config.Provider]) -> dict[str, Provider]:
    """A provider for each table, by its name. Raises `ConfigInvalid`.

    Reads recordings and, for https, the system's certificates, so it belongs into start-up.
    """
    return {name: _build(name, table) for name, table in tables.items()}


class Fleet:
    """All providers, while the config changes. Close it.

    One whose table has not changed stays, with its connections. One that is gone is closed by
    a later change, when no producer has it any more. Raises `ConfigInvalid`.
    """

    def __init__(self, tables: Mapping[str, config.Provider]) -> None:
        self.providers: dict[str, Provider] = build_providers(tables)
        self._tables = dict(tables)
        self._retired: list[Provider] = []
        self._closing: set[asyncio.Task[None]] = set()

    def change(
        self, tables: Mapping[str, config.Provider], in_use: Collection[Provider]
    ) -> dict[str, Provider]:
        """The providers of `tables`. Raises `ConfigInvalid`, and has then changed nothing."""
        kept = {
            name: self.providers[name]
            for name, table in tables.items()
            if name in self.providers and self._tables[name] == table
        }
        made = build_providers({n: table for n, table in tables.items() if n not in kept})
        self._close_all([each for each in self._retired if each not in in_use])
        self._retired = [each for each in self._retired if each in in_use]
        self._retired += [each for name, each in self.providers.items() if name not in kept]
        self.providers = {name: kept.get(name) or made[name] for name in tables}
        self._tables = dict(tables)
        return self.providers

    def _close_all(self, providers: Collection[Provider]) -> None:
        for provider in providers:
            task = asyncio.get_running_loop().create_task(provider.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every provider there ever was."""
        self._close_all([*self.providers.values(), *self._retired])
        await asyncio.gather(*self._closing)


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
