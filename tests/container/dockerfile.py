"""The Dockerfile and .dockerignore, read: as much of them as ours use, and nothing guessed.

An instruction, a flag or a form that is not known here is an error, so that a Dockerfile which
grows beyond this interpreter is noticed.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

_FLAGS = {"COPY": {"from"}, "HEALTHCHECK": {"interval", "timeout", "start-period", "retries"}}
_KNOWN = frozenset(
    {
        *("ARG", "FROM", "RUN", "COPY", "ENV", "WORKDIR", "VOLUME", "USER"),
        *("EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"),
    }
)


class NotUnderstood(Exception):
    """What this interpreter does not know."""


class Instruction(msgspec.Struct, frozen=True):
    """One instruction: its name, its flags, and the rest of it."""

    name: str
    flags: dict[str, str]
    text: str

    def words(self) -> list[str]:
        """The rest, word by word."""
        return shlex.split(self.text)

    def exec_form(self) -> list[str]:
        """The rest as a JSON array. Raises `NotUnderstood` if it is none."""
        try:
            return msgspec.json.decode(self.text, type=list[str])
        except msgspec.DecodeError:
            raise NotUnderstood(f"{self.name} is not in exec form: {self.text}") from None


class Stage(msgspec.Struct, frozen=True):
    """One FROM, and what follows."""

    name: str
    base: str
    steps: list[Instruction]


def read_stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises `NotUnderstood`."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for step in _instructions(text):
        if step.name == "ARG" and not stages:
            name, _, value = step.text.partition("=")
            arguments[name] = value
        elif step.name == "FROM":
            base, *rest = _fill(step.text, arguments).split()
            if rest and (len(rest) != 2 or rest[0].upper() != "AS"):
                raise NotUnderstood(f"FROM {step.text}")
            stages.append(Stage(rest[1] if rest else "", base, []))
        elif not stages or step.name == "ARG":
            raise NotUnderstood(f"{step.name} does not belong there")
        else:
            stages[-1].steps.append(step)
    return stages


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    whole = re.sub(r"[ \t]*\\\n[ \t]*", " ", "\n".join(lines))
    return [_instruction(line) for line in whole.split("\n")]


def _instruction(line: str) -> Instruction:
    name, _, rest = line.partition(" ")
    if name not in _KNOWN:
        raise NotUnderstood(name)
    flags = {}
    while found := re.match(r"\s*--([a-z-]+)=(\S+)\s*", rest):
        if found[1] not in _FLAGS.get(name, set()):
            raise NotUnderstood(f"{name} --{found[1]}")
        flags[found[1]] = found[2]
        rest = rest[found.end() :]
    return Instruction(name, flags, rest.strip())


def _fill(text: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], text)


# --- what an image says of how it is run ----------------------------------------------------------


class Running(msgspec.Struct, frozen=True):
    """What the last stage says beside its files."""

    command: list[str]
    health: list[str]
    user: str
    workdir: str
    env: dict[str, str]
    volumes: list[str]
    ports: list[int]
    stop_signal: str


def read_running(stage: Stage) -> Running:
    """How the image of `stage` is run. Raises `NotUnderstood`, or KeyError for what is missing."""
    said = {step.name: step for step in stage.steps}  # of each the last, as in Docker
    health = said["HEALTHCHECK"].text
    if not health.startswith("CMD "):
        raise NotUnderstood(f"HEALTHCHECK {health}")
    check = Instruction("HEALTHCHECK", {}, health.removeprefix("CMD "))
    env = dict(
        word.split("=", 1) for step in stage.steps if step.name == "ENV" for word in step.words()
    )
    return Running(
        command=said["CMD"].exec_form(),
        health=check.exec_form(),
        user=said["USER"].text,
        workdir=said["WORKDIR"].text,
        env=env,
        volumes=json.loads(said["VOLUME"].text),
        ports=[int(port) for port in said["EXPOSE"].words()],
        stop_signal=said["STOPSIGNAL"].text,
    )


# --- .dockerignore --------------------------------------------------------------------------------


def is_ignored(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether .dockerignore keeps `path` out of the build: the last pattern that fits decides."""
    ignored = False
    for pattern in patterns:
        is_exception = pattern.startswith("!")
        fits = _pattern(pattern.removeprefix("!"))
        places = [path, *path.parents][: len(path.parts)]
        if any(fits.fullmatch(str(place)) for place in places):
            ignored = not is_exception
    return ignored


def _pattern(pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern.strip("/"))
    return re.compile(
        "".join(
            parts.get(piece, piece if piece.startswith("[") else re.escape(piece))
            for piece in pieces
        )
    )


def read_patterns(text: str) -> list[str]:
    """The patterns of a .dockerignore."""
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("#")]
