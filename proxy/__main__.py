"""The command line: serve, check, key new.

The only reader of arguments and environment. It finds the file, has it parsed, and hands what
it means to the rest. Exit codes: 0; 1 for what the world refuses, such as a port in use or a
store out of reach; 2 for a config or a command that cannot be understood. What surprises: an
error that nobody expected is told as a line of the log, without its message and without
locals, because either may hold a secret.
"""

import argparse
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from proxy.config import Config, describe
from proxy.config.expectations import expected
from proxy.config.tables import Host, Name
from proxy.errors import ConfigInvalid, MidstreamError
from proxy.observe import Observer, open_log
from proxy.policy.keys import RANDOM_BYTES, digest, new_secret
from proxy.serving import ConfigFile, serve

_OK = 0
_FAILED = 1
_INVALID = 2
_STOPPED = 130  # what a shell reports of a program that Ctrl-C ended
_SHIPPED = Path(__file__).with_name("config.toml")
_BARE = re.compile(r"[A-Za-z0-9_-]+")

Serve = Callable[[Config, ConfigFile, Observer], int]


def main() -> None:
    """The command ``midstream``."""
    sys.exit(run(sys.argv[1:], os.environ, serve))


def run(arguments: Sequence[str], env: Mapping[str, str], serve: Serve) -> int:
    """Carry out one command; its exit code. Raises `SystemExit` for help and misuse."""
    asked = _parser().parse_args(arguments)
    observer = open_log("text", sys.stderr)
    try:
        match asked.command:
            case "serve":
                return _serve(asked, env, serve)
            case "check":
                return _check(asked, env)
            case _:
                return _key_new(asked, env)
    except MidstreamError as error:
        sys.stderr.write(f"midstream: {error}\n")
        return _INVALID if isinstance(error, ConfigInvalid) else _FAILED
    except KeyboardInterrupt:
        return _STOPPED
    except Exception as error:  # noqa: BLE001 - the root: Python's own report shows messages
        observer.internal_error(error)
        return _FAILED


def _serve(asked: argparse.Namespace, env: Mapping[str, str], serve: Serve) -> int:
    path = _find(asked.config, env)
    file = ConfigFile(path, env, asked.host, asked.port)
    config = file.parse(file.read())
    return serve(config, file, open_log(config.server.log, sys.stderr))


def _check(asked: argparse.Namespace, env: Mapping[str, str]) -> int:
    path = _find(asked.file, env)
    file = ConfigFile(path, env)
    config = file.parse(file.read())
    sys.stdout.write(f"{path} is valid.\n\n{describe(config, time.time())}")
    return _OK


def _key_new(asked: argparse.Namespace, env: Mapping[str, str]) -> int:
    secret = new_secret(secrets.token_bytes(RANDOM_BYTES))
    name = asked.name if _BARE.fullmatch(asked.name) else json.dumps(asked.name)
    lines = [f"[keys.{name}]", f'sha256 = "{digest(secret).hex()}"']
    if asked.owner:
        lines.append(f'owner = "{asked.owner}"')
    if asked.operator:
        lines.append('role = "operator"')
    path = _find(None, env)
    place = f"{path}, and start midstream again"
    if path == _SHIPPED:
        place = f"a config.toml in this directory (begin with a copy of {path})"
    section = "\n".join(lines)
    sys.stdout.write(
        "The key's secret. It is shown this once and kept nowhere; give it to the application:\n\n"
        f"{secret}\n\n"
        f"What the proxy knows it by. Put this into {place}:\n\n"
        f"{section}\n"
    )
    return _OK


# --- the file -----------------------------------------------------------------------------------


def _find(given: str | None, env: Mapping[str, str]) -> Path:
    """Which file is read: the one given, $MIDSTREAM_CONFIG, ./config.toml, the one that ships."""
    named = given or env.get("MIDSTREAM_CONFIG")
    if named:
        return Path(named)
    here = Path("config.toml")
    return here if here.exists() else _SHIPPED


# --- the arguments ------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="midstream",
        description="A proxy for streamed LLM answers that outlive their connections.",
        epilog="Without a file: $MIDSTREAM_CONFIG, then ./config.toml, then the one that ships.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serving = commands.add_parser("serve", help="run the proxy")
    serving.add_argument("--config", metavar="FILE", help="the config to run with")
    serving.add_argument("--host", type=_one_of(Host), help="listen here, whatever the file says")
    serving.add_argument("--port", type=_port, help="and on this port; 0 for any that is free")

    checking = commands.add_parser("check", help="say what a config means, or what is wrong")
    checking.add_argument("file", nargs="?", metavar="FILE", help="the config to check")

    keys = commands.add_parser("key", help="make keys for applications")
    key_commands = keys.add_subparsers(dest="key_command", required=True, metavar="COMMAND")
    new = key_commands.add_parser("new", help="make a secret, and the section that admits it")
    new.add_argument("name", type=_one_of(Name), metavar="NAME", help="what to call the key")
    new.add_argument("--owner", type=_one_of(Name), help="whose its streams are (default: NAME)")
    new.add_argument("--operator", action="store_true", help="it sees and stops all streams")
    return parser


def _one_of(hint: object) -> Callable[[str], str]:
    """An argument that the file would take too."""

    def read(given: str) -> str:
        try:
            msgspec.convert(given, hint)
        except msgspec.ValidationError:
            raise argparse.ArgumentTypeError(f"must be {expected(hint)}") from None
        return given

    return read


def _port(given: str) -> int:
    if not (given.isascii() and given.isdecimal() and len(given) <= 5 and int(given) <= 65_535):
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 65535")
    return int(given)


if __name__ == "__main__":
    main()
