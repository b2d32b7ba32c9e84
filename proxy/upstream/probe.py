"""Whether what the config names answers: each target of each model is asked for a token.

For `midstream check --probe`. It asks as the proxy would, in the dialect that a provider prefers,
and leaves with the first content. What surprises: a target with a star names no model that could be
asked, so its provider is asked for its list of models, which costs nothing.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from proxy.config import Config
from proxy.errors import (
    ProviderError,
    ProviderRefused,
    ProviderReported,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
)
from proxy.policy.routes import Target
from proxy.relay.ports import Provider, UpstreamRequest
from proxy.upstream.providers import build_providers
from proxy.wire.conversation import Conversation, Role, Text, Turn
from proxy.wire.dialect import Dialect
from proxy.wire.dialects import all_dialects
from proxy.wire.sse import Parser

_AT_ONCE = 8
"""Chosen: a config of a hundred targets takes some ten seconds, and no provider is flooded."""
_WITHIN_S = 60.0
"""Chosen: what has said nothing for a minute is of no use to whoever waits for the verdict. A
provider's own deadlines hold if they are shorter."""
_EVENT_BYTES_MAX = 1024 * 1024
_MESSAGE_CHARS_MAX = 300
_OUTPUT_TOKENS = {"openai.responses": 16}
"""The fewest that may be asked for, where that is not 1."""
_HINTS = {
    401: "look at its api_key and auth",
    402: "its account cannot pay",
    403: "look at the rights of its api_key",
    404: "look at the model's name, and at base_url",
    429: "it has no room now, or its account's limit is used up",
}


class Finding(msgspec.Struct, frozen=True):
    """What came of one target."""

    target: str
    took_ms: float
    found: str
    """What was heard, or the error."""
    is_well: bool

    def __str__(self) -> str:
        verdict = "ok" if self.is_well else "FAILED"
        return f"{verdict:<6}  {self.target}  {self.took_ms:.0f} ms  {self.found}"


async def probe(config: Config, tell: Callable[[Finding], None]) -> bool:
    """Whether all is well. Each finding is told as it comes. Raises `ConfigInvalid`."""
    providers, dialects = build_providers(config.providers), all_dialects()
    gate = asyncio.Semaphore(_AT_ONCE)
    findings: list[Finding] = []

    async def look(target: Target) -> None:
        async with gate:
            finding = await _look(providers[target.provider], target, dialects)
        findings.append(finding)
        tell(finding)

    try:
        async with asyncio.TaskGroup() as tasks:
            for target in targets(config):
                tasks.create_task(look(target))
    finally:
        for each in providers.values():
            await each.close()
    return all(finding.is_well for finding in findings)


def targets(config: Config) -> list[Target]:
    """Each that differs in what would be asked, once; one star for all that have one."""
    found: dict[object, Target] = {}
    for route in config.models:
        for target in route.targets:
            model, parameters = target.model, target.parameters
            if "*" in model:
                model, parameters = "*", {}
            asked = Target(target.provider, model, parameters=parameters)
            found.setdefault((asked.name, msgspec.json.encode(parameters)), asked)
    return list(found.values())


async def _look(provider: Provider, asked: Target, dialects: Mapping[str, Dialect]) -> Finding:
    target, loop = asked.name, asyncio.get_running_loop()
    begun = loop.time()
    try:
        within_s = min(_WITHIN_S, provider.deadlines.first_event_s)
        try:
            async with asyncio.timeout(within_s):
                if asked.model == "*":
                    found = f"lists {len(await provider.models())} models; none was asked"
                else:
                    await _ask(provider, asked, dialects[provider.dialects_for(asked.model)[0]])
                    found = "to the first content"
        except TimeoutError as error:
            raise ProviderStalled("first_event", within_s) from error
    except ProviderError as error:
        return Finding(target, (loop.time() - begun) * 1000, _told(error), is_well=False)
    return Finding(target, (loop.time() - begun) * 1000, found, is_well=True)


async def _ask(provider: Provider, target: Target, dialect: Dialect) -> None:
    """Come back with the first content. Raises `ProviderError`."""
    ask = dialect.ask_of(
        Conversation(
            model=target.model,
            turns=[Turn(Role.USER, [Text("Say yes.")])],
            output_tokens_max=_OUTPUT_TOKENS.get(dialect.name, 1),
        )
    )
    ask = msgspec.structs.replace(ask, fields={**ask.fields, **target.parameters})
    body = dialect.upstream_body(ask, target.model)
    request = UpstreamRequest(dialect.name, target.model, body, dialect.translated_headers)
    translator, parser = dialect.translator(ask), Parser(_EVENT_BYTES_MAX)
    async with provider.stream(request) as chunks:
        async for chunk in chunks:
            for frame in parser.feed(chunk):
                translator.hear(frame)
                if translator.has_content or translator.is_complete:
                    return
        parser.finish()
    raise ProviderTruncated


def _told(error: ProviderError) -> str:
    """Our code, the error, and where to look."""
    problem = error.problem()
    message = " ".join(problem.message.split())[:_MESSAGE_CHARS_MAX]
    hint = _hint(error)
    return f"{problem.code}: {message}{f' ({hint})' if hint else ''}"


def _hint(error: ProviderError) -> str:
    match error:
        case ProviderRefused() | ProviderReported():
            return _HINTS.get(error.upstream_status, "")
        case ProviderUnreachable():
            return "look at base_url, proxy and ca_file"
        case _:
            return ""
