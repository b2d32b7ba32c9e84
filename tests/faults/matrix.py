"""Every fault in every dialect, met at one server at once: the time goes in waiting.

A case is a fault and a dialect. `meet_all` meets them with one target, or with a second, sound one,
which may go on with what the first one has begun.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import msgspec

from tests.faults.asking import Met, meet
from tests.faults.connections import CONNECTIONS
from tests.faults.fault import UNREACHABLE, Fault, plain
from tests.faults.provider import Ask, Provider
from tests.faults.statuses import STATUSES
from tests.faults.streams import EVENT_BYTES_MAX, STREAMS
from tests.reading import session
from tests.scrape import Scraped, read_metrics
from tests.server import serving

_REFUSED = "it refuses every connection"
FAULTS: Mapping[str, Fault] = {
    _REFUSED: Fault(plain(), UNREACHABLE, is_at_the_door=True),
    **CONNECTIONS,
    **STATUSES,
    **STREAMS,
}
DIALECTS = ("chat", "messages", "responses")
RETRIES = 1
"""Of one target, as is configured here."""
_AT_ONCE = 24
"""Cases. Chosen: more would measure how two cores are shared."""
_LOOKS_MAX, _LOOK_S = 50, 0.1
"""Chosen: an answer is settled in a moment after its end."""
_CLOSED_S = 2.0
"""How soon a provider must be left: a second is the promise, the rest is for a busy machine."""

_CONFIG = f"""
[server]
quota = "all"
[quotas.all]
tokens_per_day = 1_000_000_000
[streams]
event_bytes_max = {EVENT_BYTES_MAX}
first_content_s = 20
"""
_KINDS = {
    "chat": ("openai", "/v1", 'dialects = ["openai.chat"]'),
    "messages": ("anthropic", "", ""),
    "responses": ("openai", "/v1", 'dialects = ["openai.responses"]'),
}


class Case(msgspec.Struct, frozen=True):
    """What came of a fault, at both ends."""

    met: Met
    bad: list[Ask]
    good: list[Ask]
    never_left: int
    """Asks that the proxy had not left when it said that the answer had ended."""


class Matrix(msgspec.Struct, frozen=True):
    """All cases, by fault and dialect."""

    cases: Mapping[tuple[str, str], Case]
    charged: float
    """Tokens, over all, when everything had ended."""

    @property
    def used(self) -> int:
        """Tokens, as the streams say themselves."""
        told = [case.met.state["usage"] or {} for case in self.cases.values()]
        return sum(use.get("input_tokens", 0) + use.get("output_tokens", 0) for use in told)


def slug(fault: str) -> str:
    """A model's name for it."""
    return "".join(letter if letter.isalnum() else "-" for letter in fault)


Key = tuple[str, str]
"""A fault, and the dialect in which it is met."""
EVERY: Sequence[Key] = [(name, dialect) for name in FAULTS for dialect in DIALECTS]


async def meet_all(
    folder: Path, *, keys: Sequence[Key] = EVERY, has_second: bool = False, may_go_on: bool = False
) -> Matrix:
    """Meet these cases, at one server."""
    scripts = {slug(name): fault.script for name, fault in FAULTS.items()}
    doors = {
        slug(name): fault.script
        for name, fault in FAULTS.items()
        if fault.is_at_the_door and name != _REFUSED
    }
    limit = asyncio.Semaphore(_AT_ONCE)
    async with Provider.running(scripts, doors) as provider, session() as http:
        with _refusing() as refusing:
            config = _CONFIG + _models(
                provider, refusing, has_second=has_second, may_go_on=may_go_on
            )
            with serving(folder, config) as served:

                async def case(name: str, dialect: str) -> Case:
                    async with limit:
                        return await _meet(http, served.url, provider, slug(name), dialect)

                cases = await asyncio.gather(*(case(*key) for key in keys))
                matrix = Matrix(dict(zip(keys, cases, strict=True)), 0)
                for _ in range(_LOOKS_MAX):
                    told = await _scrape(http, served.url)
                    charged = told.total("midstream_quota_used", pool="all", kind="tokens_per_day")
                    if charged == matrix.used:
                        break
                    await asyncio.sleep(_LOOK_S)
    return msgspec.structs.replace(matrix, charged=charged)


async def _meet(
    http: aiohttp.ClientSession, url: str, provider: Provider, fault: str, dialect: str
) -> Case:
    met = await meet(http, url, dialect, f"{dialect}/{fault}")
    bad, good = (provider.asks(side, dialect, fault) for side in ("bad", "good"))
    never_left = 0
    for ask in [*bad, *good]:
        try:
            async with asyncio.timeout(_CLOSED_S):
                await ask.over.wait()
        except TimeoutError:
            never_left += 1
    return Case(met, bad, good, never_left)


async def _scrape(http: aiohttp.ClientSession, url: str) -> Scraped:
    async with http.get(f"{url}/metrics") as answer:
        return read_metrics(await answer.text())


@contextmanager
def _refusing() -> Iterator[str]:
    """An address where nobody listens, and nobody else can."""
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{plug.getsockname()[1]}"


def _models(provider: Provider, refusing: str, *, has_second: bool, may_go_on: bool) -> str:
    lines = []
    for dialect in DIALECTS:
        urls = {door: url for (door, spoken), url in provider.doors.items() if spoken == dialect}
        urls[slug(_REFUSED)] = refusing
        urls |= {slug(name): provider.url for name, fault in FAULTS.items() if fault.is_apart}
        lines += [_provider(f"bad-{dialect}", dialect, provider.url)]
        lines += [_provider(f"good-{dialect}", dialect, f"{provider.url}/good")]
        lines += [_provider(f"{name}-{dialect}", dialect, url) for name, url in urls.items()]
        for name, first in [("*", "bad"), *zip(urls, urls, strict=True)]:
            targets = [f"{first}-{dialect}/{name}", f"good-{dialect}/{name}"][: 1 + has_second]
            lines += [f'[models."{dialect}/{name}"]\ntargets = {targets}']
            lines += [f"continue_after_failure = {str(may_go_on).lower()}"]
    return "\n".join(lines)


def _provider(name: str, dialect: str, url: str) -> str:
    kind, path, more = _KINDS[dialect]
    return (
        f'[providers."{name}"]\nkind = "{kind}"\nbase_url = "{url}{path}"\n{more}\n'
        f"connect_s = 5\nfirst_event_s = 1.5\nidle_s = 1.0\n"
        f"retries = {RETRIES}\nrest_after = 0\n"
    )
