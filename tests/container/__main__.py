"""Whether the container image works, without a container engine: ``python -m tests.container``.

Carries out the Dockerfile on a clean Debian, and runs what comes out of it as a container: no
environment, no root, nothing writable but the volume, a network of its own. Needs root and
debootstrap. Debian's python3 stands in for the image's base, so that all is tried but that base.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.container.build import Builder, make_base
from tests.container.dockerfile import Running, read_patterns, read_running, read_stages
from tests.container.room import Container

_ROOT = Path(__file__).parents[2]
_KEY = "a-key-of-this-trial-alone"
_ARBITRARY = "54321:0"
"""A user that nobody has heard of, in the root group."""
_UP_S = 30.0
_STOP_S = 5.0
_ASK = '{"model": "demo", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'


class Trial:
    """The image, run in several ways."""

    def __init__(self, image: Path, running: Running, folder: Path) -> None:
        self._image = image
        self._running = running
        self._folder = folder
        self._url = f"http://127.0.0.1:{running.ports[0]}"

    def start(self, data: Path, env: Mapping[str, str], user: str) -> Container:
        """The image's command."""
        (volume,) = self._running.volumes
        return Container(
            self._image,
            self._running.command,
            env={**self._running.env, **env},
            workdir=self._running.workdir,
            user=user,
            volumes={volume: data},
            log=self._folder / "container.log",
        )

    def new_data(self, name: str, user: str) -> Path:
        """A volume: a copy of what the image has there, as an engine makes it."""
        (volume,) = self._running.volumes
        data = self._folder / name
        data.mkdir()
        found = (self._image / volume.lstrip("/")).stat()
        data.chmod(found.st_mode & 0o7777)
        assert int(user.partition(":")[2]) == found.st_gid, "open to the group of any user"
        os.chown(data, found.st_uid, found.st_gid)
        return data

    def refuses_without_a_key(self) -> None:
        data = self.new_data("no-key", self._running.user)
        with self.start(data, {}, self._running.user) as container:
            code = container.wait(_UP_S)
            said = container.log.read_text()
        assert code == 2, said
        assert "MIDSTREAM_KEY is not set" in said, said
        print("without a key:", said.strip().split("\n")[-1].strip())

    def serves_and_keeps(self, user: str) -> None:
        """Twice, on the same data."""
        data = self.new_data(f"data-{user.partition(':')[0]}", user)
        with self.start(data, {"MIDSTREAM_KEY": _KEY}, user) as container:
            self._wait_until_healthy(container)
            self._is_closed_to_strangers(container)
            head, said = self._ask(container)
            self._stops(container)
        with self.start(data, {"MIDSTREAM_KEY": _KEY}, user) as container:
            self._wait_until_healthy(container)
            kept = self._curl(container, f"/v1/streams/{head}/events", "Accept: text/event-stream")
            assert _texts(kept) == _texts(said) != [], kept
            self._stops(container)
        print(f"as {user}: healthy, {len(_texts(said))} texts served, kept over a restart")

    def _wait_until_healthy(self, container: Container) -> None:
        until = time.monotonic() + _UP_S
        while container.execute(self._running.health) != 0:
            assert time.monotonic() < until, container.log.read_text()
            time.sleep(0.2)

    def _is_closed_to_strangers(self, container: Container) -> None:
        status = ["-o", "/dev/null", "-w", "%{http_code}"]
        code = container.reach(["curl", "-s", *status, f"{self._url}/v1/models"])
        assert code == "401", code

    def _ask(self, container: Container) -> tuple[str, str]:
        """The stream of a demo answer, and the answer."""
        head = self._folder / "head"
        said = self._curl(
            container,
            "/v1/chat/completions",
            "Content-Type: application/json",
            *("-D", str(head), "-d", _ASK),
        )
        assert said.endswith("data: [DONE]\n\n"), said
        names = dict(line.split(": ", 1) for line in head.read_text().splitlines() if ": " in line)
        return names["midstream-stream"], said

    def _curl(self, container: Container, path: str, header: str, *more: str) -> str:
        key = f"Authorization: Bearer {_KEY}"
        command = ["curl", "-sS", "--fail", "-H", key, "-H", header, *more, self._url + path]
        return container.reach(command)

    def _stops(self, container: Container) -> None:
        begun = time.monotonic()
        code = container.stop(self._running.stop_signal, _STOP_S)
        assert code == 0, container.log.read_text()
        print(f"told to stop: gone after {time.monotonic() - begun:.1f} s with code {code}")


def _texts(events: str) -> list[str]:
    """What an answer says, piece by piece."""
    data = [
        line.removeprefix("data: ") for line in events.split("\n") if line.startswith("data: {")
    ]
    choices = [json.loads(text)["choices"] for text in data]
    return [choice[0]["delta"].get("content", "") for choice in choices if choice]


def main() -> int:
    """The process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.container", description=__doc__)
    parser.add_argument("--suite", default="bookworm", help="the Debian that stands in")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--base", type=Path, help="one that is there, instead of a fresh one")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("root is needed: to make file systems, and to leave them")
    stages = read_stages((_ROOT / "Dockerfile").read_text())
    patterns = read_patterns((_ROOT / ".dockerignore").read_text())
    with tempfile.TemporaryDirectory(prefix="midstream-container-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # others than root come here
        base = options.base
        if base is None:
            base = folder / "base"
            _tell(f"a clean Debian {options.suite}, in place of {stages[-1].base}")
            make_base(base, options.suite, options.mirror)
        image = Builder(base, folder, _ROOT, patterns, _tell).build(stages)
        size = subprocess.run(["du", "-sm", f"{image}/opt"], capture_output=True, check=True)
        print(f"the image adds {size.stdout.split()[0].decode()} MB to its base")
        trial = Trial(image, read_running(stages[-1]), folder)
        trial.refuses_without_a_key()
        trial.serves_and_keeps(read_running(stages[-1]).user)
        trial.serves_and_keeps(_ARBITRARY)
    print("the image works")
    return 0


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
