"""An operator sees in the metrics how much of each limit is used, and no number that is not so."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.reading import session
from tests.scrape import Scraped, read_metrics
from tests.server import Served, scripted, serving
from tests.stories.test_quotas import ENV, Shop
from tests.stories.test_when_the_store_is_away import store_of

CONFIG = (
    '[store]\npath = "data"\n[server]\nworkers = 2\nquota = "everybody"\n'
    + scripted(quota="behind")
    + scripted("held", model="held", fault="stall", fault_after=3)
    + """
[models.priced]
targets = ["said/usage"]
price = {input = 1.0, cached_input = 1.0, output = 1.0}
[quotas.everybody]
tokens_per_day = 1_000_000
[quotas.behind]
requests_per_minute = 600
[quotas.team]
shared = true
concurrent_streams = 2
[quotas.lone]
usd_per_day = 0.005
tokens_per_month = 5000
[keys.shop]
secret = "env:SHOP"
quota = "team"
[keys.chat]
secret = "env:CHAT"
quota = "team"
[keys.lone]
secret = "env:LONE"
quota = "lone"
[keys.ops]
secret = "env:OPS"
role = "operator"
"""
)


async def scrape(shop: Shop) -> Scraped:
    async with shop.http.get(f"{shop.url}/metrics", headers=shop.headers("ops")) as answer:
        assert answer.status == 200
        return read_metrics(await answer.text())


def tell(
    folder: Path, story: Callable[[Shop, Served], Awaitable[None]], config: str = CONFIG
) -> None:
    async def scenario(served: Served) -> None:
        async with session() as http:
            await story(Shop(served.url, http), served)

    with serving(folder, config, env=ENV) as served:
        asyncio.run(scenario(served))


def test_what_is_used_of_each_limit_is_told_in_its_own_units(tmp_path: Path) -> None:
    async def story(shop: Shop, served: Served) -> None:
        del served
        for key in ("shop", "chat"):
            running = await shop.post(key, also={"prefer": "respond-async"}, model="held/text")
            assert running.status == 202
        assert (await shop.post("lone", model="priced", max_tokens=10)).status == 200

        told = await scrape(shop)

        def use(pool: str, kind: str) -> tuple[float, float]:
            used = told.total("midstream_quota_used", pool=pool, kind=kind)
            return used, told.total("midstream_quota_limit", pool=pool, kind=kind)

        tokens = 2048 + 4
        assert use("team:team", "concurrent_streams") == (2, 2)
        assert use("key:lone", "usd_per_day") == pytest.approx((tokens / 1e6, 0.005))
        assert use("key:lone", "tokens_per_month") == (tokens, 5000)
        held, most = use("all", "tokens_per_day")
        assert (held > tokens, most) == (True, 1_000_000)
        used, most = use("provider:said", "requests_per_minute")
        assert (0 <= used <= 1, most) == (True, 600)
        assert told.total("midstream_quota_pools_untold") == 0
        assert len(told.series("midstream_quota_used")) == 5

    tell(tmp_path, story)


def test_while_the_store_is_away_it_is_left_out_and_the_scrape_does_not_wait(
    tmp_path: Path,
) -> None:
    async def story(shop: Shop, served: Served) -> None:
        store = store_of(served)
        os.kill(store, signal.SIGSTOP)
        try:
            async with asyncio.timeout(2):
                away = await scrape(shop)
        finally:
            os.kill(store, signal.SIGCONT)
        assert not away.series("midstream_quota_used")
        assert not away.series("midstream_quota_limit")
        assert away.total("midstream_workers") == 2
        async with asyncio.timeout(15):
            while not (await scrape(shop)).series("midstream_quota_used"):
                await asyncio.sleep(0.1)

    tell(tmp_path, story)


def test_of_very_many_keys_a_hundred_pools_are_told_and_those_that_are_shared_first(
    tmp_path: Path,
) -> None:
    keys = "".join(
        f'[keys.k{number}]\nsha256 = "{number:064x}"\nquota = "lone"\n' for number in range(300)
    )

    async def story(shop: Shop, served: Served) -> None:
        del served
        told = await scrape(shop)
        pools = {dict(labels)["pool"] for labels in told.series("midstream_quota_limit")}
        assert len(pools) == 100
        assert {"all", "provider:said", "team:team", "key:lone", "key:k0"} < pools
        assert told.total("midstream_quota_pools_untold") == 204

    tell(tmp_path, story, CONFIG + keys)
