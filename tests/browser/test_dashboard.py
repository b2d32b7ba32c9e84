"""The dashboard, as an operator sees it: in a real browser, over a real server."""

import asyncio
import os
import signal
from pathlib import Path

from tests.browser.chromium import Page, browsing
from tests.server import serving
from tests.terminal.commands import ask

SLOW = """
[providers.slow]
kind = "scripted"
events_per_s = 20
start_s = 0.2
[providers.broken]
kind = "scripted"
fault = "status"
fault_status = 500
[models.slow]
targets = ["slow/demo"]
[models.broken]
targets = ["broken/demo"]
"""
OPERATOR, USER = "operator-secret-0123456789", "application-secret-0123456789"
KEYS = """
[keys.ops]
secret = "env:OPERATOR"
role = "operator"
[keys.app]
secret = "env:APPLICATION"
"""


def config(folder: Path, *, workers: int = 1) -> str:
    return f'[server]\nworkers = {workers}\n[store]\npath = "{folder}/data"\n{SLOW}'


async def ask_for(url: str, model: str) -> str:
    return await asyncio.to_thread(ask, url, model)


def is_clean(page: Page, url: str) -> bool:
    return not page.complaints and all(
        asked.startswith((f"{url}/", "data:")) for asked in page.asked
    )


def test_it_shows_what_runs_and_what_failed_and_changes_by_itself(tmp_path: Path) -> None:
    async def watch(url: str) -> None:
        async with browsing(tmp_path, f"{url}/dashboard") as page:
            await page.until("#said", r"^Live, \d\d:\d\d:\d\d$")
            assert await page.text("#no-streams") == "No stream runs."
            assert await page.text("#no-troubles") == "No errors."
            stream = await ask_for(url, "slow")
            row = await page.until("#streams", stream)
            assert "slow" in row
            await page.until("#streams tr td:nth-child(8)", r"^(19|20|21)(\.\d)?$")
            await page.until("#plots .card:nth-child(1) b", "^1$")
            await page.until("#plots .card:nth-child(2) b", r"^(19|20|21)(\.\d)?$")
            await page.until("#plots .card:nth-child(4) b", r"^(4\d|5\d)(\.\d)? ms$")
            assert "slow" in await page.text("#providers")
            await ask_for(url, "broken")
            assert "500" in await page.until("#troubles", "provider_error")
            assert "1 · 100 %" in await page.until("#providers", "100 %")
            await page.until("#no-streams", "No stream runs", wait_s=40)
            await page.until("#plots .card:nth-child(1) b", "^0$")
            assert is_clean(page, url), (page.complaints, page.asked)

    with serving(tmp_path, config(tmp_path)) as served:
        asyncio.run(watch(served.url))


def test_it_goes_on_by_itself_when_a_worker_is_killed(tmp_path: Path) -> None:
    async def watch(url: str) -> None:
        async with browsing(tmp_path, f"{url}/dashboard") as page:
            await page.until("#n-workers", "^2 workers$")
            pids = await pids_of(page)
            assert len(pids) == 2
            await page.until("#streams", await ask_for(url, "slow"))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            await page.until("#said", "The (connection was closed|server cannot be reached)")
            assert await page.value("document.querySelector('#main').matches('.stale')")
            await page.until("#said", "^Live")
            await page.until("#n-workers", "^2 workers$")
            async with asyncio.timeout(20):
                while await pids_of(page) & pids:
                    await asyncio.sleep(0.2)
            assert not await page.value("document.querySelector('#main').matches('.stale')")
            assert "slow" in await page.until("#troubles", "stream_interrupted")

    with serving(tmp_path, config(tmp_path, workers=2)) as served:
        asyncio.run(watch(served.url))


async def pids_of(page: Page) -> set[int]:
    """Of the workers that it shows."""
    found = await page.value(
        "[...document.querySelectorAll('#workers td:first-child')].map(one => one.innerText)"
    )
    return {int(text.split(" · ")[1]) for text in found}


def test_it_says_that_data_is_late_when_the_server_stands_still(tmp_path: Path) -> None:
    async def watch(url: str, pid: int) -> None:
        async with browsing(tmp_path, f"{url}/dashboard") as page:
            await page.until("#said", "^Live")
            os.kill(pid, signal.SIGSTOP)
            try:
                await page.until("#said", r"^No data for 6 s$")
                assert await page.text("#told") == "Data is late"
                assert await page.value("document.querySelector('#main').matches('.stale')")
            finally:
                os.kill(pid, signal.SIGCONT)
            await page.until("#said", "^Live")
            assert is_clean(page, url), page.complaints

    with serving(tmp_path, config(tmp_path)) as served:
        asyncio.run(watch(served.url, served.process.pid))


def test_it_asks_for_a_key_refuses_a_wrong_one_and_remembers_only_if_told(tmp_path: Path) -> None:
    async def watch(url: str) -> None:
        async with browsing(tmp_path, f"{url}/dashboard") as page:
            await page.until("#ask", "Operator's key")
            assert await page.text("#main") == ""
            assert is_clean(page, url), page.complaints
            await page.type("a-wrong-secret-0123456789")
            await page.until("#wrong", "This key is not known here")
            await page.type(USER)
            await page.until("#wrong", "Only an operator's key")
            await page.type(OPERATOR)
            await page.until("#said", "^Live")
            assert await page.text("#ask") == ""
            await page.call("Page.reload")
            await page.until("#ask", "Operator's key")
            await page.value("document.querySelector('#remember').click()")
            await page.value("document.querySelector('#key').focus()")
            await page.type(OPERATOR)
            await page.until("#said", "^Live")
            await page.call("Page.reload")
            await page.until("#said", "^Live")
            assert OPERATOR not in " ".join(page.asked)
            await page.value("document.querySelector('#forget').click()")
            await page.until("#ask", "Operator's key")
            assert await page.value("sessionStorage.length") == 0

    env = {"OPERATOR": OPERATOR, "APPLICATION": USER}
    with serving(tmp_path, config(tmp_path) + KEYS, env=env) as served:
        asyncio.run(watch(served.url))


def test_it_fits_a_phone_and_a_plot_can_be_read_with_the_keyboard(tmp_path: Path) -> None:
    async def watch(url: str) -> None:
        async with browsing(tmp_path, f"{url}/dashboard") as page:
            await page.until("#said", "^Live")
            stream = await ask_for(url, "slow")
            await page.until("#streams", stream[:12])
            for width, height in ((1440, 900), (820, 1180), (390, 844), (320, 568)):
                await page.resize(width, height)
                wide = await page.value("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, width
            await page.until("#plots .card:nth-child(1) b", "^1$")
            await page.value("document.querySelector('#plots svg').focus()")
            await page.press("Home")
            told = "document.querySelector('#plots svg').getAttribute('aria-valuetext')"
            assert (await page.value(told)).endswith(": 0")
            assert "at " in await page.text("#plots .card:nth-child(1) header")
            await page.press("End")
            assert (await page.value(told)).endswith(": 1")
            await page.press("Escape")
            assert "at " not in await page.text("#plots .card:nth-child(1) header")

    with serving(tmp_path, config(tmp_path)) as served:
        asyncio.run(watch(served.url))
