"""An image, made from a Dockerfile without a container engine: one root file system a stage."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tests.container.dockerfile import Instruction, NotUnderstood, Stage, is_ignored
from tests.container.room import run_in

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs")

Say = Callable[[str], None]


def make_base(root: Path, suite: str, mirror: str) -> None:
    """A Debian with its own Python. Raises `subprocess.CalledProcessError`."""
    packages = "--include=python3-venv,ca-certificates"
    command = ["debootstrap", "--variant=minbase", packages, suite, str(root), mirror]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Builder:
    """Carries out stages, each on a copy of `base`."""

    def __init__(
        self, base: Path, folder: Path, context: Path, patterns: Sequence[str], say: Say
    ) -> None:
        self._base = base
        self._folder = folder
        self._context = context
        self._patterns = patterns
        self._say = say
        self._roots: dict[str, Path] = {}
        self._pip_env, self._pip_places = _pip_of_this_machine()

    def build(self, stages: Sequence[Stage]) -> Path:
        """The root of the last one."""
        for number, stage in enumerate(stages):
            root = self._folder / f"stage-{number}"
            subprocess.run(["cp", "-a", "--reflink=auto", str(self._base), str(root)], check=True)
            self._roots[stage.name or str(number)] = root
            self._carry_out(stage, root)
        return root

    def _carry_out(self, stage: Stage, root: Path) -> None:
        env, workdir = {"PATH": _PATH}, "/"
        for step in stage.steps:
            self._say(f"  {step.name} {step.text}"[:100])
            match step.name:
                case "RUN":
                    self._run(step, root, env, workdir)
                case "COPY":
                    self._copy(step, root, workdir)
                case "ENV":
                    env |= dict(word.split("=", 1) for word in step.words())
                case "WORKDIR":
                    workdir = step.text
                    _inside(root, workdir).mkdir(parents=True, exist_ok=True)
                case "VOLUME":
                    for place in step.exec_form():
                        _inside(root, place).mkdir(parents=True, exist_ok=True)
                case "USER" | "EXPOSE" | "STOPSIGNAL" | "HEALTHCHECK" | "CMD":
                    pass  # how it is run: see `read_running`
                case _:
                    raise NotUnderstood(step.name)

    def _run(self, step: Instruction, root: Path, env: Mapping[str, str], workdir: str) -> None:
        run_in(
            root,
            ["/bin/sh", "-c", step.text],
            env={**env, **self._pip_env},
            workdir=workdir,
            binds=[*self._pip_places, *(Path(place) for place in _NETWORK)],
        )

    def _copy(self, step: Instruction, root: Path, workdir: str) -> None:
        *sources, place = step.words()
        target = _inside(root, os.path.join(workdir, place))  # noqa: PTH118 - a path in there
        for source in sources:
            if "from" in step.flags:
                found = _inside(self._roots[step.flags["from"]], source)
                shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True)
                continue
            here = self._context / source
            if here.is_dir():
                shutil.copytree(here, target, dirs_exist_ok=True, ignore=self._ignored)
            else:
                into = target / here.name if place.endswith("/") else target
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(here, into)

    def _ignored(self, folder: str, names: Sequence[str]) -> list[str]:
        place = PurePosixPath(Path(folder).relative_to(self._context).as_posix())
        return [name for name in names if is_ignored(place / name, self._patterns)]


def _inside(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _pip_of_this_machine() -> tuple[dict[str, str], list[Path]]:
    """How pip is set up here: as environment, and the places of this machine it refers to."""
    command = [sys.executable, "-m", "pip", "--no-color", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    env: dict[str, str] = {name: os.environ[name] for name in os.environ if _is_proxy(name)}
    places: set[Path] = set()
    for line in listed.split("\n"):
        name, is_setting, value = line.partition("=")
        if not is_setting:
            continue
        text = json.loads(value.replace("'", '"')) if value.startswith("'") else value
        env["PIP_" + name.rpartition(".")[2].upper().replace("-", "_")] = text
        places |= {_place(word) for word in text.split() if "/" in word}
    return env, sorted(place for place in places if place.is_absolute() and place.exists())


def _place(word: str) -> Path:
    """Where something is that pip is pointed to. An index refers to what lies beside it."""
    index = word.removeprefix("file://")
    return Path(word) if index == word else Path(index).parent


def _is_proxy(name: str) -> bool:
    return name.lower() in {"http_proxy", "https_proxy", "no_proxy"}
