"""What ``GET /v1/dashboard/events`` tells an operator, and what it costs while nobody looks."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from proxy.policy.keys import digest
from tests.fleets import Instance, binary_of
from tests.server import serving
from tests.terminal.commands import ask

OPERATOR, USER = "operator-secret-0123456789", "application-secret-0123456789"
EVENTS = "/v1/dashboard/events"
KEYS = (
    f'[keys.ops]\nsha256 = "{digest(OPERATOR).hex()}"\nrole = "operator"\n'
    f'[keys.app]\nsha256 = "{digest(USER).hex()}"\n'
)
SLOW = """
[store]
url = "memory://"
[providers.slow]
kind = "scripted"
events_per_s = 20
[providers.cut]
kind = "scripted"
events_per_s = 1000
fault = "cut"
fault_after = 5
[models.slow]
targets = ["slow/demo"]
[models.cut]
targets = ["cut/demo"]
"""


class Viewer:
    """Somebody who watches."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.retry = ""

    async def picture(self) -> Any:
        """The next one, as raw as it came beside it."""
        return json.loads(await self.raw())

    async def raw(self) -> bytes:
        async with asyncio.timeout(10):
            async for line in self.answer.content:
                if line.startswith(b"retry: "):
                    self.retry = line.decode().strip()
                if line.startswith(b"data: "):
                    return line.removeprefix(b"data: ").rstrip(b"\n")
        raise EOFError

    async def until(self, is_so: Any) -> Any:
        async with asyncio.timeout(15):
            while not is_so(picture := await self.picture()):
                pass
        return picture


@asynccontextmanager
async def viewing(url: str, *, key: str = "") -> AsyncIterator[Viewer]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession(read_bufsize=1 << 20) as http,
        http.get(url + EVENTS, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        yield Viewer(answer)


def test_only_an_operator_may_watch(tmp_path: Path) -> None:
    async def statuses(url: str) -> list[tuple[int, str]]:
        found = []
        async with aiohttp.ClientSession() as http:
            for key, query in (("", ""), ("nobody's", ""), (USER, ""), (OPERATOR, "?x=1")):
                headers = {"x-api-key": key}
                async with http.get(url + EVENTS + query, headers=headers) as answer:
                    found.append((answer.status, (await answer.json())["error"]["code"]))
            async with http.get(f"{url}/dashboard") as page:
                assert page.status == 200
                assert page.headers["content-security-policy"].startswith("default-src 'none'")
        async with viewing(url, key=OPERATOR) as viewer:
            await viewer.picture()
        return found

    with serving(tmp_path, SLOW + KEYS) as served:
        assert asyncio.run(statuses(served.url)) == [
            (401, "invalid_api_key"),
            (401, "invalid_api_key"),
            (403, "permission_denied"),
            (400, "invalid_request"),
        ]


def test_its_numbers_are_those_of_what_runs(tmp_path: Path) -> None:
    async def watch(url: str) -> None:
        async with viewing(url) as viewer, aiohttp.ClientSession() as http:
            first = await viewer.picture()
            assert viewer.retry == "retry: 1000"
            assert (first["streams"], first["streams_running"], first["troubles"]) == ([], 0, [])
            streams = [await asyncio.to_thread(ask, url, "slow") for _ in range(3)]
            async with http.get(
                f"{url}/v1/streams/{streams[0]}/events", headers={"accept": "text/event-stream"}
            ):
                seen = await viewer.until(
                    lambda one: (
                        one["readers"] == 1
                        and all(stream["events_per_s"] for stream in one["streams"])
                    )
                )
                assert [one["id"] for one in seen["streams"]] == streams
                assert [one["readers"] for one in seen["streams"]] == [1, 0, 0]
                assert all(17 <= one["events_per_s"] <= 23 for one in seen["streams"])
                assert seen["streams_running"] == 3
                full = await viewer.until(lambda one: one["events_per_s"] > 50)
                assert 54 <= full["events_per_s"] <= 66
                assert 44 <= full["gap"]["p50_ms"] <= 60
                assert full["first"]["count"] == 3
                assert full["providers"][0] == full["providers"][0] | {"name": "slow", "running": 3}
            await asyncio.to_thread(ask, url, "cut")
            failed = await viewer.until(lambda one: one["troubles"])
            assert failed["troubles"][0] == failed["troubles"][0] | {
                "code": "provider_truncated",
                "status": 502,
                "model": "cut",
                "provider": "cut",
            }

    with serving(tmp_path, SLOW) as served:
        asyncio.run(watch(served.url))


def test_every_limit_is_shown_once_whoever_shares_it(tmp_path: Path) -> None:
    quotas = (
        "[quotas.small]\nrequests_per_minute = 60\nusd_per_day = 2.5\n"
        "[quotas.team]\nshared = true\nconcurrent_streams = 10\n"
        "[quotas.whole]\ntokens_per_day = 1000000\n"
        f'[keys.ops]\nsha256 = "{digest(OPERATOR).hex()}"\nrole = "operator"\nquota = "small"\n'
        f'[keys.one]\nsha256 = "{"1" * 64}"\nquota = "team"\n'
        f'[keys.two]\nsha256 = "{"2" * 64}"\nquota = "team"\n'
        '[server]\nquota = "whole"\n'
    )

    async def watch(url: str) -> None:
        async with viewing(url, key=OPERATOR) as viewer:
            seen = await viewer.picture()
            assert {
                (pool["pool"], limit["kind"], limit["amount"], limit["remaining"])
                for pool in seen["pools"]
                for limit in pool["limits"]
            } == {
                ("key:ops", "requests_per_minute", 60, 60),
                ("key:ops", "usd_per_day", 2_500_000, 2_500_000),
                ("team:team", "concurrent_streams", 10, 10),
                ("all", "tokens_per_day", 1_000_000, 1_000_000),
            }
            assert sum(len(pool["limits"]) for pool in seen["pools"]) == 4
            assert seen["of"]["pools"] == 3

    with serving(tmp_path, SLOW + quotas) as served:
        asyncio.run(watch(served.url))


@contextmanager
def a_store(folder: Path) -> Iterator[Instance]:
    store = Instance(binary_of("valkey"), folder / "store", ())
    try:
        yield store
    finally:
        store.end()


def test_all_viewers_cost_the_store_what_one_does_and_none_cost_nothing(tmp_path: Path) -> None:
    with a_store(tmp_path) as store:

        async def calls_a_second() -> float:
            def count() -> int:
                stats = bytes(store.say("INFO", "commandstats")).decode()
                line = next(line for line in stats.splitlines() if "cmdstat_evalsha:" in line)
                return int(line.split("calls=")[1].split(",")[0])

            before = count()
            await asyncio.sleep(4)
            return (count() - before) / 4

        async def watch(url: str) -> list[float]:
            await asyncio.sleep(5.5)  # a worker sweeps only when all was well for a lease
            found = [await calls_a_second()]
            async with viewing(url) as one:
                await one.picture()
                found.append(await calls_a_second())
                async with viewing(url) as two, viewing(url) as three:
                    for viewer in (two, three):
                        await viewer.picture()
                    found.append(await calls_a_second())
            await asyncio.sleep(0.5)
            return [*found, await calls_a_second()]

        url = f'[store]\nurl = "redis://127.0.0.1:{store.port}"\n'
        with serving(tmp_path, SLOW.replace('[store]\nurl = "memory://"\n', url)) as served:
            idle, one, three, after = asyncio.run(watch(served.url))

    assert one > idle + 1
    assert abs(three - one) < 1
    assert abs(after - idle) < 1


def test_there_is_a_picture_each_second_while_the_store_is_away_and_it_says_so(
    tmp_path: Path,
) -> None:
    with a_store(tmp_path) as store:

        async def watch(url: str) -> None:
            async with viewing(url) as viewer:
                await asyncio.to_thread(ask, url, "slow")
                well = await viewer.until(lambda one: one["streams"])
                store.freeze()
                begun = time.monotonic()
                away = await viewer.until(lambda one: one["store"] == "away")
                again = [await viewer.picture() for _ in range(3)]
                assert time.monotonic() - begun < 7
                assert [one["id"] for one in away["streams"]] == [
                    one["id"] for one in well["streams"]
                ]
                assert 1.5 < again[-1]["store_away_s"] < 6
                store.thaw()
                back = await viewer.until(lambda one: one["store"] == "ok")
                assert back["store_away_s"] == 0

        url = f'[store]\nurl = "redis://127.0.0.1:{store.port}"\n'
        with serving(tmp_path, SLOW.replace('[store]\nurl = "memory://"\n', url)) as served:
            asyncio.run(watch(served.url))


def test_a_key_that_is_taken_back_sees_nothing_more_after_some_seconds(tmp_path: Path) -> None:
    async def watch(url: str, pid: int) -> float:
        async with viewing(url, key=OPERATOR) as viewer:
            await viewer.picture()
            file = tmp_path / "server.toml"
            file.write_text(file.read_text().replace(digest(OPERATOR).hex(), "0" * 64))
            os.kill(pid, signal.SIGHUP)
            begun = time.monotonic()
            try:
                while True:
                    await viewer.raw()
            except EOFError:
                return time.monotonic() - begun

    with serving(tmp_path, SLOW + KEYS) as served:
        assert asyncio.run(watch(served.url, served.process.pid)) < 7


def test_nobody_who_watches_holds_up_a_worker_that_is_stopped(tmp_path: Path) -> None:
    async def watch(url: str, pid: int) -> None:
        async with viewing(url) as viewer:
            await viewer.picture()
            os.kill(pid, signal.SIGTERM)
            rest = await viewer.answer.content.read()
            assert rest == b"\n"  # the end of what was begun, and then of the answer

    with serving(tmp_path, SLOW) as served:
        asyncio.run(watch(served.url, served.process.pid))
        begun = time.monotonic()
        assert served.process.wait(10) == 0
        assert time.monotonic() - begun < 2
