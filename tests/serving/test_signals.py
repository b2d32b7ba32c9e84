"""Signals that come before there is anything to do for them: a real process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import scripted


@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_stop_while_the_store_is_opened_it_stops_in_order(
    tmp_path: Path, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:
        url = f"redis://127.0.0.1:{store.getsockname()[1]}"
        config = f'[server]\nworkers = {workers}\n[store]\nurl = "{url}"\n' + scripted()
        (tmp_path / "c.toml").write_text(config)
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--config", "c.toml", "--port", "0"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=subprocess.PIPE,
            text=True,
        )
        store.settimeout(20)
        asked, _ = store.accept()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        asked.close()
    assert process.returncode == 0, said
    assert said == ""


def test_a_reload_that_comes_while_the_store_is_opened_does_not_end_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:
        url = f"redis://127.0.0.1:{store.getsockname()[1]}"
        (tmp_path / "c.toml").write_text(f'[store]\nurl = "{url}"\n' + scripted())
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--config", "c.toml", "--port", "0"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=subprocess.PIPE,
            text=True,
        )
        store.settimeout(20)
        asked, _ = store.accept()
        process.send_signal(signal.SIGHUP)
        asked.close()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1, said
    assert "The store cannot be reached." in said
