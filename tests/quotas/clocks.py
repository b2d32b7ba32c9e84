"""Processes whose wall clocks are wrong, by libfaketime (Debian's package `faketime`).

Their monotonic clock stays right, as it does on a machine whose time was set wrongly. What each shows
can be changed while it runs.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest


class WrongClock:
    """The clock of one process or more: start them with `env`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self.set(time.time())
        self.env: Mapping[str, str] = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, now_s: float) -> None:
        """It shows this now, and goes on from there."""
        passing = self._file.with_suffix(".new")
        passing.write_text(f"{now_s - time.time():+.3f}s\n")
        passing.replace(self._file)  # it is read at any moment


def wrapped(binary: str, clock: WrongClock, folder: Path) -> str:
    """A command that runs `binary` by `clock`."""
    script = folder / "by-the-wrong-clock"
    told = " ".join(f"{name}={value}" for name, value in clock.env.items())
    script.write_text(f'#!/bin/sh\nexec env {told} "{binary}" "$@"\n')
    script.chmod(0o755)
    return str(script)


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        assert "CI" not in os.environ, "CI has to have faketime"
        pytest.skip("there is no libfaketime")
    return found[0]
