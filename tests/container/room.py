"""A root file system, and processes that run in it as in a container.

Namespaces of Linux, without a container engine: mounts, processes and network of its own, where
asked for. Root is needed. What surprises: the process asked for is number 1 in there, as a
container's is, so that signals without a handler do not reach it.
"""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_STARTS_S = 10.0


def run_in(
    root: Path,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    workdir: str,
    binds: Sequence[Path] = (),
) -> None:
    """Carry out one step of a build, as root, with this machine's network.

    `binds` are directories and files of this machine that are there meanwhile, unwritable.
    Raises `subprocess.CalledProcessError`.
    """
    script = ["set -e", "mount --make-rprivate /"]
    for place in binds:
        script += _bind(place, root / str(place).lstrip("/"))
    script.append(_exec(root, command, env, workdir, "0:0"))
    subprocess.run(["unshare", "--mount", "sh", "-c", "\n".join(script)], check=True)


def _bind(source: Path, target: Path) -> list[str]:
    make = f"mkdir -p {_q(target)}"
    if source.is_file():
        make = f"mkdir -p {_q(target.parent)} && touch {_q(target)}"
    return [make, f"mount --rbind {_q(source)} {_q(target)}"]


def _exec(
    root: Path, command: Sequence[str], env: Mapping[str, str], workdir: str, user: str
) -> str:
    """The line of a shell that becomes the process, with nothing in its environment but `env`."""
    words = ["exec", "chroot", f"--userspec={user}", str(root)]
    words += ["/usr/bin/env", "-i", "-C", workdir, *(f"{name}={env[name]}" for name in env)]
    return shlex.join([*words, *command])


def _q(path: Path) -> str:
    return shlex.quote(str(path))


class Container:
    """One process, and what it starts, alone in a root that it cannot write, but for `volumes`."""

    def __init__(
        self,
        root: Path,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        workdir: str,
        user: str,
        volumes: Mapping[str, Path],
        log: Path,
    ) -> None:
        self.log = log
        self._root = root
        self._env = dict(env)
        self._workdir = workdir
        self._user = user
        script = [
            "set -e",
            "ip link set lo up",
            f"mount --bind {_q(root)} {_q(root)}",
            f"mount -o remount,bind,ro {_q(root)}",
            *(
                f"mount --bind {_q(source)} {_q(root / place.lstrip('/'))}"
                for place, source in volumes.items()
            ),
            f"mount -t proc proc {_q(root / 'proc')}",
            _exec(root, command, env, workdir, user),
        ]
        unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        with log.open("wb") as sink:
            self._outer = subprocess.Popen(
                [*unshare, "sh", "-c", "\n".join(script)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._outer.poll() is None:
            self._outer.kill()  # which kills the container's first process, and so all of them
            self._outer.wait(10)

    @property
    def pid(self) -> int:
        """Of the container's first process, as this machine counts."""
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        until = time.monotonic() + _STARTS_S
        while time.monotonic() < until:
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.02)
        raise AssertionError(f"it does not start: {self.log.read_text()}")

    def wait(self, seconds: float) -> int:
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        return self._outer.wait(seconds)

    def stop(self, name: str, seconds: float) -> int:
        """Send it the signal, and wait for its exit code."""
        os.kill(self.pid, signal.Signals[name])
        return self.wait(seconds)

    def execute(self, command: Sequence[str]) -> int:
        """Run another command in there, as the same user; its exit code."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid"]
        line = _exec(self._root, command, self._env, self._workdir, self._user)
        done = subprocess.run([*inside, "sh", "-c", line], check=False, capture_output=True)
        return done.returncode

    def reach(self, command: Sequence[str]) -> str:
        """What a program of this machine prints that is run in the container's network."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--net", *command],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout
