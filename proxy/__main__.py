"""The command line: serve, check, key new, tail, top, usage, bench.

The only reader of arguments and environment. It finds the file, has it parsed, and hands what
it means to the rest. Exit codes: 0; 1 for what the world refuses, such as a port in use or a
store out of reach; 2 for a config or a command that cannot be understood. What surprises: an
error that nobody expected is told as a line of the log, without its message and without
locals, because either may hold a secret.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from proxy import config
from proxy.app import WallClock
from proxy.arguments import parser
from proxy.config import Config, Secret, all_limits, compare, describe
from proxy.config.addresses import wrong_address
from proxy.config.secret import Unset, Wrong, resolve
from proxy.errors import ConfigInvalid, MidstreamError
from proxy.observe import Observer, open_log
from proxy.policy.keys import RANDOM_BYTES, digest, new_secret
from proxy.serving import ConfigFile, read_secret, serve
from proxy.store.looking import look, own_url
from proxy.stream import StreamId
from proxy.terminal.bench import BenchWish, bench
from proxy.terminal.server import Server
from proxy.terminal.tail import TailWish, tail
from proxy.terminal.top import TopWish, top
from proxy.terminal.usage import UsageWish, usage
from proxy.upstream.probe import Finding, probe, targets

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
    asked = parser().parse_args(arguments)
    observer = open_log("text", sys.stderr)
    try:
        match asked.command:
            case "serve":
                return _serve(asked, env, serve)
            case "check":
                return _check(asked, env)
            case "key":
                return _key_new(asked, env)
            case "tail":
                return _tail(asked, env)
            case "top":
                return _top(asked, env)
            case "usage":
                return _usage(asked, env)
            case _:
                return _bench(asked, env)
    except MidstreamError as error:
        sys.stderr.write(f"midstream: {error}\n")
        return _INVALID if isinstance(error, ConfigInvalid) else _FAILED
    except KeyboardInterrupt:
        return _STOPPED
    except BrokenPipeError:  # whoever read has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        return _FAILED
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
    if config.warnings:
        listed = "".join(f"  {warning}\n" for warning in config.warnings)
        sys.stdout.write(f"\nPerhaps not meant:\n{listed}")
    if asked.against or asked.before:
        sys.stdout.write(f"\n{_compared(asked, env, config)}")
    return _probe(config) if asked.probe else _OK


def _probe(config: Config) -> int:
    """Ask what the config names, a line for each."""
    asked = sum(target.model != "*" for target in targets(config))
    sys.stdout.write(
        "\nA token is asked for at each target, and paid for (16 tokens in openai.responses); "
        f"targets: {asked}\n"
    )

    def tell(finding: Finding) -> None:
        sys.stdout.write(f"  {finding}\n")
        sys.stdout.flush()

    return _OK if asyncio.run(probe(config, tell)) else _FAILED


def _compared(asked: argparse.Namespace, env: Mapping[str, str], config: Config) -> str:
    """What the config would change, for what is used and what runs, if a store is to be asked."""
    before = None
    if asked.before:
        file = ConfigFile(Path(asked.before), env)
        before = file.parse(file.read())
    if not asked.against:
        return compare(config, None, None, before)
    url = asked.against
    if url == "config":
        url = own_url(config.store)
    elif url.startswith(("env:", "file:")):
        url = _revealed("--against", url, env).reveal()
    what = wrong_address(url)
    if what or url in {"embedded", "memory://"}:
        raise ConfigInvalid((f"--against {what or 'wants the address of a Redis, or config'}",))
    seen = asyncio.run(look(url, config.store, all_limits(config), WallClock()))
    return compare(config, seen.standings, seen.running, before)


def _key_new(asked: argparse.Namespace, env: Mapping[str, str]) -> int:
    secret = new_secret(secrets.token_bytes(RANDOM_BYTES))
    name = asked.name if _BARE.fullmatch(asked.name) else json.dumps(asked.name)
    lines = [f"[keys.{name}]", f'sha256 = "{digest(secret).hex()}"']
    if asked.owner:
        lines.append(f'owner = "{asked.owner}"')
    if asked.operator:
        lines.append('role = "operator"')
    path = _find(None, env)
    place = f"{path}, where a running midstream notices it"
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


# --- commands that talk to a server ---------------------------------------------------------------


def _tail(asked: argparse.Namespace, env: Mapping[str, str]) -> int:
    again = [("--url", asked.url), ("--key", asked.key)]
    return tail(
        TailWish(
            server=_server(asked, env),
            stream=StreamId(asked.stream),
            after=asked.after,
            over=asked.over,
            shows_events=asked.events,
            again=tuple(word for option in again if option[1] for word in option),
        )
    )


def _top(asked: argparse.Namespace, env: Mapping[str, str]) -> int:
    return top(
        TopWish(
            server=_server(asked, env),
            every_s=asked.every,
            is_once=asked.once,
            is_json=asked.json,
            sort=asked.sort,
        )
    )


def _usage(asked: argparse.Namespace, env: Mapping[str, str]) -> int:
    return usage(UsageWish(_server(asked, env), asked.of, asked.json))


def _bench(asked: argparse.Namespace, env: Mapping[str, str]) -> int:
    is_own = urlsplit(asked.url).netloc == urlsplit(_own_url(env)).netloc
    return bench(
        BenchWish(
            url=asked.url,
            key=_key(asked.key, env, has_default=is_own),
            model=asked.model,
            dialect=asked.dialect,
            streams=asked.streams,
            requests=asked.requests,
            seconds=asked.seconds,
            prompt=asked.prompt,
            max_tokens=asked.max_tokens,
            is_json=asked.json,
        )
    )


def _server(asked: argparse.Namespace, env: Mapping[str, str]) -> Server:
    """The one that is asked for, or the one that the config in use would start."""
    url = asked.url or _own_url(env)
    return Server(url.rstrip("/"), _key(asked.key, env, has_default=True))


def _own_url(env: Mapping[str, str]) -> str:
    """Where the config in use says that the proxy listens, as a client on this machine writes it.

    A config that is not valid here, perhaps for want of a secret, tells nothing: then it is the
    default.
    """
    try:
        file = ConfigFile(_find(None, env), env)
        server = file.parse(file.read()).server
    except ConfigInvalid:
        server = config.Server()
    if server.port == 0:
        server = msgspec.structs.replace(server, port=config.Server().port)
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not listened on
    return msgspec.structs.replace(server, host=anywhere.get(server.host, server.host)).url


def _key(given: str | None, env: Mapping[str, str], *, has_default: bool) -> Secret | None:
    """What the reference refers to; without one, $MIDSTREAM_KEY if it may be that and is set."""
    if given is None and not (has_default and env.get("MIDSTREAM_KEY")):
        return None
    return _revealed("--key", given or "env:MIDSTREAM_KEY", env)


def _revealed(option: str, reference: str, env: Mapping[str, str]) -> Secret:
    found = resolve(reference, env, read_secret)
    match found:
        case Secret():
            return found
        case Unset():
            raise ConfigInvalid((f"{option}: {found.reason}",))
        case Wrong():
            raise ConfigInvalid((f"{option} {found.what}",))


# --- the file -----------------------------------------------------------------------------------


def _find(given: str | None, env: Mapping[str, str]) -> Path:
    """Which file is read: the one given, $MIDSTREAM_CONFIG, ./config.toml, the one that ships."""
    named = given or env.get("MIDSTREAM_CONFIG")
    if named:
        return Path(named)
    here = Path("config.toml")
    return here if here.exists() else _SHIPPED


if __name__ == "__main__":
    main()
