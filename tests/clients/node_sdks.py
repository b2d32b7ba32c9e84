"""The official Node SDKs, in one process that is asked many times."""

import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from tests.clients.hearing import Heard, Kind, Question

FOLDER = Path(__file__).parent / "node"
_WITHIN_S = 60.0


def need_node() -> None:
    """Skip where Node or its packages are not installed; in CI that is a failure."""
    has_node = shutil.which("node") is not None
    if has_node and (FOLDER / "node_modules" / "openai").is_dir():
        return
    missing = "node_modules" if has_node else "node"
    told = f"{missing} is missing: npm ci --prefix tests/clients/node"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


class NodeSdks:
    """The process. Started when it is first asked; `close` ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read)
        self._waiting: dict[int, Future[object]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def ask(
        self,
        kind: Kind,
        url: str,
        questions: Sequence[Question],
        *,
        key: str,
        max_retries: int = 0,
    ) -> list[Heard]:
        """What the Node SDK of `kind` heard, one for each question."""
        need_node()
        answer: Future[object] = Future()
        with self._lock:
            process = self._process or self._start()
            number = next(self._numbers)
            self._waiting[number] = answer
            batch = {
                "number": number,
                "kind": kind,
                "url": url,
                "key": key,
                "max_retries": max_retries,
                "questions": msgspec.to_builtins(questions),
            }
            assert process.stdin is not None
            process.stdin.write(json.dumps(batch) + "\n")
            process.stdin.flush()
        return msgspec.convert(answer.result(_WITHIN_S), list[Heard])

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process as process:
                assert process.stdin is not None
                process.stdin.close()
                self._reader.join(10)

    def _start(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(
            ["node", "sdk.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader.start()
        return self._process

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            self._waiting.pop(told["number"]).set_result(told["heard"])
        for answer in self._waiting.values():
            answer.set_exception(ConnectionError("node has ended"))
