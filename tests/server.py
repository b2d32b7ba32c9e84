"""A real `midstream serve` in a process of its own, for tests that are its clients."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

RECORDINGS = Path(__file__).parent / "recordings"
_START_S = 60.0


class Served:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, wait_s: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(wait_s)


def scripted(name: str = "said", *, model: str = "said", **settings: object) -> str:
    """A scripted provider of the test recordings, as fast as it can, and a model for each.

    It never rests, unless that is said: what fails is to be seen as it is, each time.
    """
    settings = {"events_per_s": 100_000, "rest_after": 0, **settings}
    lines = [f"[providers.{name}]", 'kind = "scripted"', f'recordings = "{RECORDINGS}"']
    lines += [f"{key} = {_toml(value)}" for key, value in settings.items()]
    lines += [f'[models."{model}/*"]', f'targets = ["{name}/*"]']
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@contextmanager
def serving(
    folder: Path,
    config: str,
    *,
    env: Mapping[str, str] | None = None,
    name: str = "server",
    module: str = "proxy",
) -> Iterator[Served]:
    """`midstream serve` with `config`, on a free port of loopback, until the block is left."""
    served = start(folder, config, env=env, name=name, module=module)
    try:
        yield served
    finally:
        for wait_s in (0.3, 15):  # the first signal drains, the second one hurries
            if served.process.poll() is None:
                served.process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    served.process.wait(wait_s)
        if served.process.poll() is None:
            served.kill()


def start(
    folder: Path,
    config: str,
    *,
    env: Mapping[str, str] | None = None,
    name: str = "server",
    module: str = "proxy",
    port: int = 0,
) -> Served:
    """The same without an end: whoever calls it stops it.

    The command is that of `module`: the product's own, or one that wraps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.toml"
    file.write_text(config)
    log = folder / f"{name}.log"
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "serve", "--config", str(file), "--port", str(port)],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(Path(__file__).parents[1]), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    return Served(process, _wait_for_url(process, log), log)


def _wait_for_url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        found = re.search(r"listens on (http://\S+?),", log.read_text())
        if found:
            return found[1]
        if process.poll() is not None:
            break
        select.select([], [], [], 0.02)
    process.kill()
    process.wait(10)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")
