"""Signals that come before there is anything to do for them: a real process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.server import scripted


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
