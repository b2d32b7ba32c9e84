"""What is measured side by side: the way to the provider, direct, through nginx, and through us.

Each is started once, and lives until its block is left. Only processes started here are ended.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from tests.bench import machine
from tests.server import serving

_START_S = 10.0
_STOP_S = 10.0
_STORE_PROGRAMS = frozenset({"valkey-server", "redis-server"})
STORES = ("embedded", "redis", "memory")

_NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream provider {{ server 127.0.0.1:{provider_port}; keepalive 1024; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""

_MIDSTREAM = """
[store]
url = "{store}"
path = "data"
[providers.mock]
kind = "{kind}"
base_url = "{base_url}"
api_key = "env:BENCH_PROVIDER_KEY"
[models."bench-*"]
targets = ["mock/*"]
"""


class Contender(msgspec.Struct, frozen=True):
    """A way to the provider, and the processes that it costs."""

    name: str
    url: str
    """Without a path."""
    workers: tuple[int, ...] = ()
    """Process ids."""
    stores: tuple[int, ...] = ()


@contextmanager
def mock_provider() -> Iterator[tuple[int, int]]:
    """The mock provider, in a process of its own: its port and its process id."""
    command = [sys.executable, "-m", "tests.bench.mock_provider"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=project_root()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.stdin.close()  # which ends it
            _end(process)


@contextmanager
def nginx(folder: Path, provider_port: int) -> Iterator[Contender]:
    """Debian's nginx with one worker, passing on every piece as it comes."""
    folder.mkdir()
    port = _free_port()
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker may not enter `folder`
    config.write_text(
        _NGINX.format(folder=folder, port=port, provider_port=provider_port, user=user)
    )
    program = nginx_program()
    assert program is not None, "asked for only where it is installed"
    error_log = str(folder / "error.log")
    command = [program, "-e", error_log, "-p", str(folder), "-c", str(config)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            _wait_for_port(process, port)
            pids = tuple(machine.family(process.pid))
            yield Contender("nginx", f"http://127.0.0.1:{port}", workers=pids)
        finally:
            process.terminate()
            _end(process)


@contextmanager
def midstream(
    folder: Path,
    provider_port: int,
    dialect: str,
    store: str,
    checkout: Path | None,
    name: str = "midstream",
) -> Iterator[Contender]:
    """`midstream serve`, with its embedded store, a redis-server of its own, or none.

    Its provider speaks `dialect`. It is that of another `checkout` if one is given, and has the
    name of that folder.
    """
    folder.mkdir()
    base_url = f"http://127.0.0.1:{provider_port}"
    with ExitStack() as stack:
        url = "embedded"
        store_pids: tuple[int, ...] = ()
        if store == "memory":
            url = "memory://"
        elif store == "redis":
            url, pid = stack.enter_context(_redis(folder))
            store_pids = (pid,)
        config = _MIDSTREAM.format(
            store=url, kind=dialect, base_url=f"{base_url}/v1" if dialect == "openai" else base_url
        )
        env = {"BENCH_PROVIDER_KEY": "not-a-secret"}
        if checkout is not None:
            env["PYTHONPATH"] = str(checkout.resolve())
        served = stack.enter_context(serving(folder, config, env=env))
        family = machine.family(served.process.pid)
        stores = tuple(pid for pid, name in family.items() if name in _STORE_PROGRAMS)
        name = name if checkout is None else checkout.resolve().name
        yield Contender(
            name if store == "embedded" else f"{name}, {store}",
            served.url,
            workers=tuple(pid for pid in family if pid not in stores),
            stores=stores + store_pids,
        )


@contextmanager
def _redis(folder: Path) -> Iterator[tuple[str, int]]:
    """A redis-server, as durable as the embedded store: its address and process id."""
    path = folder / "redis.sock"
    program = shutil.which("redis-server")
    assert program is not None, "Debian's package redis-server"
    settings = {"port": "0", "unixsocket": str(path), "dir": str(folder)}
    settings |= {"save": "", "appendonly": "yes", "logfile": str(folder / "redis.log")}
    command = [program]
    for name, value in settings.items():
        command += [f"--{name}", value]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            _wait_for(process, path.exists)
            yield f"unix://{path}", process.pid
        finally:
            process.terminate()
            _end(process)


def nginx_program() -> str | None:
    """Where nginx is; Debian puts it where only root looks."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def project_root() -> Path:
    """Where ``tests`` is a package of modules."""
    return Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _wait_for_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    def is_open() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    _wait_for(process, is_open)


def _wait_for(process: "subprocess.Popen[bytes]", is_there: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_S
    while not is_there():
        assert process.poll() is None, f"{process.args!r} has ended"
        assert time.monotonic() < until, f"{process.args!r} does not answer"
        time.sleep(0.02)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process that was told to end; kill it if it does not."""
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
