"""Signals that come before there is anything to do for them: a real process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import scripted


def start(folder: Path, config: str) -> "subprocess.Popen[str]":
    (folder / "c.toml").write_text(config + scripted())
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", "serve", "--config", "c.toml", "--port", "0"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_stop_while_the_store_is_opened_it_stops_in_order(
    tmp_path: Path, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:
        url = f"redis://127.0.0.1:{store.getsockname()[1]}"
        process = start(tmp_path, f'[server]\nworkers = {workers}\n[store]\nurl = "{url}"\n')
        store.settimeout(20)
        asked, _ = store.accept()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        asked.close()
    assert process.returncode == 0, said
    assert said == ""


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_stop_as_soon_as_it_says_that_it_listens_it_stops_in_order(
    tmp_path: Path, workers: int, sig: signal.Signals
) -> None:
    """What it says, it says before its server hears signals by itself."""
    process = start(tmp_path, f"[server]\nworkers = {workers}\n")
    try:
        assert process.stderr is not None
        assert any("listens on" in line for line in process.stderr)
        process.send_signal(sig)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, said


def test_a_reload_that_comes_while_the_store_is_opened_does_not_end_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:
        url = f"redis://127.0.0.1:{store.getsockname()[1]}"
        process = start(tmp_path, f'[store]\nurl = "{url}"\n')
        store.settimeout(20)
        asked, _ = store.accept()
        process.send_signal(signal.SIGHUP)
        asked.close()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1, said
    assert "The store cannot be reached." in said
