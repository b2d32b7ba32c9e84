"""The commands as a person runs them: processes of their own, some of them at a terminal."""

import asyncio
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.reading import Seen

ROOT = Path(__file__).parents[2]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "proxy", *arguments]


def environment(**more: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def run(
    *arguments: str,
    folder: Path,
    timeout_s: float = 60,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """To its end, in `folder`, which has no config but what a test puts there."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def begin(*arguments: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Started, with its output in pipes."""
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # a test reads some of it, then lets `communicate` read the rest
    )


class Terminal:
    """A command at a pseudo-terminal of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", end: int) -> None:
        self.process = process
        self.raw = ""
        """Everything that it wrote."""
        self._end = end

    @property
    def text(self) -> str:
        """The same without what only controls the terminal."""
        return _CONTROL.sub("", self.raw).replace("\r\n", "\n")

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, size)

    def read_until(self, pattern: str, *, timeout_s: float = 20) -> str:
        """What stands in `text` when `pattern` is found in it."""
        until = time.monotonic() + timeout_s
        while re.search(pattern, self.text) is None:
            assert time.monotonic() < until, f"no {pattern!r} in {self.raw!r}"
            if not self._read():
                break
        assert re.search(pattern, self.text), f"no {pattern!r} in {self.raw!r}"
        return self.text

    def read_to_end(self, *, timeout_s: float = 20) -> int:
        """The exit code."""
        until = time.monotonic() + timeout_s
        while self._read():
            assert time.monotonic() < until, self.raw
        return self.process.wait(5)

    def _read(self) -> bool:
        """What there is within a moment; False once there will be nothing more."""
        ready, _, _ = select.select([self._end], [], [], 0.2)
        if not ready:
            return True
        try:
            given = os.read(self._end, 65_536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.raw += given.decode("utf-8", "replace")
        return bool(given)


@contextmanager
def at_terminal(
    *arguments: str, folder: Path, columns: int = 100, lines: int = 30
) -> Iterator[Terminal]:
    """A command at a terminal of this size, until the block is left."""
    ours, theirs = pty.openpty()
    size = struct.pack("HHHH", lines, columns, 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(TERM="xterm-256color"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - so that Ctrl-C is a signal
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        os.close(ours)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


# --- what a server knows ------------------------------------------------------------------------


def ask(
    url: str,
    model: str,
    *,
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
) -> str:
    """Start an answer; its stream id."""
    body = {"model": model, "stream": True, "max_tokens": 100, "messages": [_HELLO]}
    asked = {"prefer": "respond-async", **(headers or {})}
    return str(call("POST", url + path, body, asked)["id"])


_HELLO = {"role": "user", "content": "Hello"}


def call(
    method: str,
    url: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """The JSON of an answer."""

    async def called() -> Any:
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, url, json=body, headers=headers) as answer,
        ):
            assert answer.status < 300, await answer.text()
            return json.loads(await answer.text() or "null")

    return asyncio.run(called())


def text_of(events: list[Seen]) -> str:
    """The words of a chat completion, by nothing of the product."""
    chunks = [json.loads(event.data) for event in events if event.data != "[DONE]"]
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        for choice in chunk.get("choices", ())
        if choice["index"] == 0
    )
