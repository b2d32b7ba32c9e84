"""Real workers whose clocks are wrong by five minutes either way share limits as if they were right."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from tests.fleets import Instance, binary_of
from tests.quotas.clocks import WrongClock, wrapped
from tests.reading import lower, session
from tests.server import Served, scripted, serving

SKEWS_S = (-300.0, 0.0, 300.0)
LEASE_S = 2.0
BUSY_S = 1.5
"""What a busy machine may take longer."""
KEYS = ("rate", "crowd", "day", "month")
ENV = {key.upper(): f"secret-of-{key}-0123456789" for key in KEYS}
CONFIG = (
    scripted("said", model="said")
    + scripted("held", model="held", fault="stall", fault_after=3)
    + "".join(
        f'[keys.{key}]\nsecret = "env:{key.upper()}"\nquota = "{key}"\n[quotas.{key}]\n{limit}\n'
        for key, limit in (
            ("rate", "requests_per_minute = 10"),
            ("crowd", "concurrent_streams = 6"),
            ("day", "tokens_per_day = 2000"),
            ("month", "tokens_per_month = 2000"),
        )
    )
    + f"[streams]\nlease_s = {LEASE_S}\n"
)


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]


class Fleet:
    """Servers of one namespace, each by a clock of its own."""

    def __init__(self, served: Sequence[Served], http: aiohttp.ClientSession) -> None:
        self.served = served
        self._http = http

    async def ask(self, worker: int, key: str, model: str = "said/text", **more: object) -> Got:
        """For an answer, or with `held/text` for one that does not end."""
        body = {
            "model": model,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hi"}],
            **more,
        }
        headers = self._headers(key) | {"prefer": "respond-async"}
        address = f"{self.served[worker].url}/v1/chat/completions"
        async with self._http.post(address, json=body, headers=headers) as answer:
            await answer.read()
            return Got(answer.status, lower(answer.headers))

    async def streams(self, worker: int, key: str) -> list[dict[str, Any]]:
        """All of `key`, as one worker sees them."""
        address = f"{self.served[worker].url}/v1/streams"
        async with self._http.get(address, headers=self._headers(key)) as answer:
            found: list[dict[str, Any]] = (await answer.json())["data"]
            return found

    async def endings(self, worker: int, key: str) -> Counter[str | None]:
        """Of those streams."""
        return Counter(stream["ending"] for stream in await self.streams(worker, key))

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": ENV[key.upper()]}


@contextmanager
def fleet(folder: Path, store: str, clocks: Sequence[WrongClock]) -> Iterator[list[Served]]:
    config = CONFIG + f'[store]\nurl = "{store}"\nnamespace = "{folder.name}"\n'
    with ExitStack() as stack:
        yield [
            stack.enter_context(serving(folder / str(n), config, env={**ENV, **clock.env}))
            for n, clock in enumerate(clocks)
        ]


def tell(served: Sequence[Served], story: Callable[[Fleet], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with session() as http:
            await story(Fleet(served, http))

    asyncio.run(scenario())


def test_workers_ten_minutes_apart_let_through_what_one_would(
    tmp_path: Path, redis_url: str
) -> None:
    clocks = [WrongClock(tmp_path, str(skew_s)) for skew_s in SKEWS_S]
    for clock, skew_s in zip(clocks, SKEWS_S, strict=True):
        clock.set(time.time() + skew_s)

    async def story(fleet: Fleet) -> None:
        begun = time.monotonic()
        asked = [await fleet.ask(n, "rate") for n in range(3)]
        asked += await asyncio.gather(*(fleet.ask(n % 3, "rate") for n in range(30)))
        drained = int((time.monotonic() - begun) / 6)
        assert 10 <= sum(got.status == 202 for got in asked) <= 10 + drained
        assert {got.status for got in asked} == {202, 429}
        for got in asked:
            assert 0 <= int(got.headers.get("retry-after", "0")) <= 7
        made = [datetime.fromisoformat(one["created_at"]) for one in await fleet.streams(0, "rate")]
        assert 590 < (max(made) - min(made)).total_seconds() < 610, "the clocks are wrong"

        asked = await asyncio.gather(*(fleet.ask(n % 3, "day") for n in range(60)))
        assert {got.status for got in asked} == {202, 429}
        while True in {None in await fleet.endings(n, "day") for n in range(3)}:
            await asyncio.sleep(0.1)

        for n in range(6):
            assert (await fleet.ask(n % 3, "crowd", "held/text")).status == 202
        for n in range(3):
            assert (await fleet.ask(n, "crowd")).status == 429

        fleet.served[0].kill()
        await asyncio.sleep(LEASE_S + 1 + BUSY_S)
        for n in (1, 2):
            assert await fleet.endings(n, "crowd") == {None: 4, "interrupted": 2}
        for n in (1, 2):
            assert (await fleet.ask(n, "crowd", "held/text")).status == 202
        assert (await fleet.ask(1, "crowd")).status == 429

    with fleet(tmp_path, redis_url, clocks) as served:
        tell(served, story)


def test_a_year_ends_when_the_store_s_clock_says_so_whatever_the_workers_say(
    tmp_path: Path,
) -> None:
    year_s = datetime(2031, 1, 1, tzinfo=UTC).timestamp()
    of_store = WrongClock(tmp_path, "store")
    clocks = [WrongClock(tmp_path, str(skew_s)) for skew_s in SKEWS_S]

    def it_is(now_s: float) -> None:
        of_store.set(now_s)
        for clock, skew_s in zip(clocks, SKEWS_S, strict=True):
            clock.set(now_s + skew_s)

    async def story(fleet: Fleet) -> None:
        it_is(year_s - 60.0)
        for key in ("day", "month"):
            for n in range(4):  # each holds more than 400, and is heard to no end
                await fleet.ask(n % 3, key, "held/text", max_tokens=400)
            for n in range(3):
                refused = await fleet.ask(n, key, "held/text", max_tokens=400)
                assert refused.status == 429
                assert 45 <= int(refused.headers["retry-after"]) <= 60
        it_is(year_s + 0.1)
        for key in ("day", "month"):
            for n in range(3):
                assert (await fleet.ask(n, key, "held/text", max_tokens=400)).status == 202
            assert (await fleet.ask(0, key, "held/text", max_tokens=1900)).status == 429

    it_is(year_s - 600.0)
    store = Instance(wrapped(binary_of("valkey"), of_store, tmp_path), tmp_path, [])
    try:
        with fleet(tmp_path, f"redis://127.0.0.1:{store.port}", clocks) as served:
            tell(served, story)
    finally:
        store.end()
