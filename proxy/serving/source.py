"""The config file, read here and in every worker.

What surprises: it can be sent to another process, but what it says cannot: a secret is copied
into nothing that may be written down. So it is the path that is sent, and each process reads
secrets from its own environment, which is the one that its supervisor was started in. And it
remembers what it has read, so that a change of any file behind it is noticed (`has_changed`).
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from proxy.config import Config, parse
from proxy.config.reaching import PEM_CHARS_MAX
from proxy.errors import ConfigInvalid

_FILE_CHARS_MAX = 2 * 1024 * 1024  # chosen: over what `parse` takes, so that it can say so
_REFERRED_CHARS_MAX = PEM_CHARS_MAX + 1
"""Over what a secret or certificates may have; /dev/zero has an end here."""


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
        self._digest = b""
        self._secrets: Mapping[str, bytes] = {}
        """The digests of the files that it refers to, as they were read."""

    def __reduce__(self) -> tuple[object, ...]:
        return _here, (self._path, self._host, self._port)

    def read(self) -> str:
        """Its text, as it is now. Raises `ConfigInvalid`."""
        self._digest = _digest(self._path)
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
        secrets: dict[str, bytes] = {}

        def read(path: str) -> str:
            secrets[path] = _digest(Path(path))
            return read_secret(path)

        try:
            return parse(text, self._env, read, host=self._host, port=self._port)
        except ConfigInvalid as invalid:
            raise self._invalid(invalid.problems) from None
        finally:
            self._secrets = secrets

    def marks(self) -> tuple[object, ...]:
        """What changes with any of the files: where each is on the disk, its size, its times."""
        return tuple(_mark(path) for path in (self._path, *map(Path, self._secrets)))

    def has_changed(self) -> bool:
        """Whether any of the files holds something else than when it was last read."""
        return self._digest != _digest(self._path) or any(
            digest != _digest(Path(path)) for path, digest in self._secrets.items()
        )

    def _invalid(self, problems: tuple[str, ...]) -> ConfigInvalid:
        return ConfigInvalid(problems, str(self._path))


def _here(path: Path, host: str | None, port: int | None) -> ConfigFile:
    return ConfigFile(path, os.environ, host, port)


def read_secret(path: str) -> str:
    """What ``file:PATH`` refers to. Raises `OSError` or `ValueError`."""
    return _read_text(Path(path), _REFERRED_CHARS_MAX)


def _read_text(path: Path, chars_max: int) -> str:
    with path.open(encoding="utf-8-sig") as file:
        return file.read(chars_max)


def _digest(path: Path) -> bytes:
    """Of what a file holds, as far as it is read; empty if it cannot be."""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(_FILE_CHARS_MAX)).digest()
    except (OSError, ValueError):  # a NUL in the path
        return b""


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
