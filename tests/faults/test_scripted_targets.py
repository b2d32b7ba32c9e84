"""Scripted providers fail before and after content, and a sound one answers in their place."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.asking import ends_of, meet, text_of
from tests.reading import session
from tests.server import Served, scripted, serving

_FAULTS = ("cut", "reset", "stall", "garbage", "error", "huge")
_LATE = 10
_CASES = [("status", 0), *((fault, after) for fault in _FAULTS for after in (0, _LATE))]
_SETTINGS = {"retries": 0, "idle_s": 0.3, "first_event_s": 0.3}
_DIALECTS = ("chat", "messages", "responses")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[store]\nurl = "memory://"\n' + scripted("sound", model="sound")
    for fault, after in _CASES:
        name = f"{fault}{after}"
        settings = {**_SETTINGS, "fault_after": after} if after else _SETTINGS
        config += scripted(name, model=f"{name}-alone", fault=fault, **settings)
        config += f'[models."{name}/*"]\ntargets = ["{name}/*", "sound/*"]\n'
        config += "continue_after_failure = true\n"
    with serving(tmp_path_factory.mktemp("scripted"), config) as served:
        yield served


@pytest.mark.parametrize("dialect", _DIALECTS)
@pytest.mark.parametrize(("fault", "after"), _CASES)
def test_a_recording_that_fails_is_completed_by_the_next_target(
    server: Served, fault: str, after: int, dialect: str
) -> None:
    async def scenario() -> None:
        async with session() as http:
            sound = await meet(http, server.url, dialect, "sound/long")
            met = await meet(http, server.url, dialect, f"{fault}{after}/long")
        assert (met.state["ending"], met.state["error"]) == ("completed", None)
        assert met.state["provider"] == "sound"
        assert ends_of(dialect, met.events) == 1
        assert {name for name, seen in met.lanes.items() if seen != met.events} == set()
        whole = text_of(dialect, sound.events)
        assert text_of(dialect, met.events) == whole, "what the second one repeats is left out"
        assert bool(met.state["legs"][-1]["after"]) is (after == _LATE)

    asyncio.run(scenario())
