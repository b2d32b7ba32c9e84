"""The config file, read here and in every worker.

What surprises: it can be sent to another process, but what it says cannot: a secret is copied
into nothing that may be written down. So it is the path that is sent, and each process reads
secrets from its own environment, which is the one that its supervisor was started in.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from proxy.config import Config, parse
from proxy.errors import ConfigInvalid

_FILE_CHARS_MAX = 2 * 1024 * 1024  # chosen: over what `parse` takes, so that it can say so
_SECRET_CHARS_MAX = 64 * 1024  # chosen: over what a secret may have; /dev/zero has an end here


class ConfigFile:
    """A config file, in the environment of this process; in another one, when it is sent there.

    Each problem that is raised names the file.
    """

    def __init__(
        self,
        path: Path,
        env: Mapping[str, str],
        host: str | None = None,
        port: int | None = None,
    ) -> None:
        self._path = path
        self._env = env
        self._host = host
        self._port = port

    def __reduce__(self) -> tuple[object, ...]:
        return _here, (self._path, self._host, self._port)

    def read(self) -> str:
        """Its text, as it is now. Raises `ConfigInvalid`."""
        try:
            return _read_text(self._path, _FILE_CHARS_MAX)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise self._invalid((f"line {line}: this is not UTF-8",)) from error
        except OSError as error:
            what = error.strerror or type(error).__name__
            raise self._invalid((f"it cannot be read: {what}",)) from error

    def parse(self, text: str) -> Config:
        """What `text` means. Raises `ConfigInvalid`."""
        try:
            return parse(text, self._env, read_secret, host=self._host, port=self._port)
        except ConfigInvalid as invalid:
            raise self._invalid(invalid.problems) from None

    def _invalid(self, problems: tuple[str, ...]) -> ConfigInvalid:
        listed = "".join(f"\n  {problem}" for problem in problems)
        return ConfigInvalid((f"{self._path} is not valid:{listed}",))


def _here(path: Path, host: str | None, port: int | None) -> ConfigFile:
    return ConfigFile(path, os.environ, host, port)


def read_secret(path: str) -> str:
    """What ``file:PATH`` refers to. Raises `OSError` or `ValueError`."""
    return _read_text(Path(path), _SECRET_CHARS_MAX)


def _read_text(path: Path, chars_max: int) -> str:
    with path.open(encoding="utf-8-sig") as file:
        return file.read(chars_max)
