"""aimock fails by chance, every time; a second target completes what it should have said."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.aimock import UPSTREAM_KEY, Aimock, fixture
from tests.clients.conftest import providers
from tests.faults.asking import LONGEST_S, Met, ends_of, meet, text_of
from tests.reading import session
from tests.server import serving

_SAID = "One two three four five six seven eight nine ten."
_PACE = {"ttft": 1, "tps": 50}
_EARLY: Mapping[str, dict[str, Any]] = {
    "dropped": {"chaos": {"dropRate": 1}},
    "limited": {"chaos": {"rateLimitRate": 1}},
    "malformed": {"chaos": {"malformedRate": 1}},
    "hung-up": {"chaos": {"disconnectRate": 1}},
    "silent": {"streamingProfile": {"ttft": LONGEST_S * 2000}},
}
_LATE: Mapping[str, dict[str, Any]] = {
    "cut": {"truncateAfterChunks": 6, "streamingProfile": _PACE},
    "disconnected": {"disconnectAfterMs": 150, "streamingProfile": _PACE},
}
_KINDS = {"chat": "openai", "responses": "responses", "messages": "anthropic"}


@pytest.fixture(scope="module")
def met(aimock: Aimock, tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], Met]:
    """Every failure in every dialect, all at once."""
    keys = [(name, dialect) for name in {**_EARLY, **_LATE} for dialect in _KINDS]
    for name, options in {**_EARLY, **_LATE}.items():
        aimock.answers_all(
            [
                fixture(f"{name}.{dialect}.next", {"content": _SAID}, **options, chunkSize=5)
                for dialect in _KINDS
            ]
        )
    aimock.answers("sound.next", {"content": _SAID})
    config = '[store]\nurl = "memory://"\n'
    config += providers("mock", aimock.url, idle_s=2, first_event_s=2, retries=1)
    for dialect, kind in _KINDS.items():
        targets = [f"mock.{kind}/*", f"mock.{kind}/sound.next"]
        config += f'[models."{dialect}/*"]\ntargets = {targets}\ncontinue_after_failure = true\n'

    async def scenario(url: str) -> list[Met]:
        async with session() as http:
            asked = [
                meet(http, url, dialect, f"{dialect}/{name}.{dialect}.next")
                for name, dialect in keys
            ]
            return await asyncio.gather(*asked)

    folder: Path = tmp_path_factory.mktemp("targets")
    with serving(folder, config, env={"UPSTREAM_KEY": UPSTREAM_KEY}) as served:
        return dict(zip(keys, asyncio.run(scenario(served.url)), strict=True))


@pytest.mark.parametrize("dialect", _KINDS)
@pytest.mark.parametrize("name", [*_EARLY, *_LATE])
def test_what_aimock_fails_to_say_the_next_target_says(
    met: Mapping[tuple[str, str], Met], aimock: Aimock, name: str, dialect: str
) -> None:
    seen = met[name, dialect]
    assert (seen.status, seen.state["ending"], seen.state["error"]) == (200, "completed", None)
    assert ends_of(dialect, seen.events) == 1
    said = text_of(dialect, seen.events)
    assert said.endswith(_SAID)
    assert _SAID.startswith(said.removesuffix(_SAID)), "a long beginning is not said again"
    assert bool(seen.state["legs"][-1]["after"]) is (name in _LATE)
    asks = len(aimock.calls(f"{name}.{dialect}.next"))
    assert asks == (2 if name in {*_EARLY} - {"silent"} else 1)
