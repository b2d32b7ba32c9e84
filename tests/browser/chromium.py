"""Debian's Chromium without a screen, driven by its own protocol: real pages, real clicks.

Each browser has a profile of its own, reaches nobody but loopback, and is ended by its own process.
"""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-port=0",
)
_WAIT_S = 20.0


def chromium() -> str:
    """Where it is. A test without it is skipped, but in CI it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        assert "CI" not in os.environ, "CI has to have chromium"
        pytest.skip("there is no chromium on the PATH")
    return found


class Page:
    """A tab, and everything that it complained of or asked for."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        """What stands in its console as an error or a warning, and what was thrown."""
        self.asked: list[str] = []
        """The address of each request."""
        self._ws = ws
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def hear(self) -> None:
        """Until the browser is gone."""
        async for message in self._ws:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            else:
                self._note(said.get("method"), said.get("params", {}))

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "warning"}:
            self.complaints.append(str(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    async def call(self, method: str, **params: object) -> Any:
        """One command of the DevTools protocol."""
        self._number += 1
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        await self._ws.send_json({"id": self._number, "method": method, "params": params})
        async with asyncio.timeout(_WAIT_S):
            said = await answer
        assert "error" not in said, said
        return said["result"]

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """What an expression comes to in the page."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def text(self, selector: str) -> str:
        """What is to be read of an element; empty if it is not shown."""
        shown = f"[document.querySelector({selector!r})].filter(one => one?.checkVisibility())"
        return str(await self.value(f"{shown}.map(one => one.innerText).join()"))

    async def until(self, selector: str, pattern: str, *, wait_s: float = _WAIT_S) -> str:
        """Wait until `pattern` is found in what is to be read of an element; what that is."""
        until = asyncio.get_running_loop().time() + wait_s
        while not re.search(pattern, text := await self.text(selector)):
            assert asyncio.get_running_loop().time() < until, f"no {pattern!r} in {text!r}"
            await asyncio.sleep(0.05)
        return text

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    async def type(self, text: str) -> None:
        """As somebody does who is where the focus is, and presses Enter at the end."""
        await self.call("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **enter)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter")

    async def resize(self, width: int, height: int) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )


@asynccontextmanager
async def browsing(folder: Path, url: str) -> AsyncIterator[Page]:
    """A browser with one page, open at `url`."""
    process = await asyncio.create_subprocess_exec(
        chromium(),
        *_FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "about:blank",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        port = await _port(process)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                tab = next(one for one in await answer.json() if one["type"] == "page")
            async with http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as ws:
                page = Page(ws)
                hearing = asyncio.create_task(page.hear())
                await page.open(url)
                yield page
                hearing.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    async with asyncio.timeout(_WAIT_S):
        async for line in process.stderr:
            if found := re.search(rb"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
                return int(found[1])
    raise AssertionError("the browser did not start")
