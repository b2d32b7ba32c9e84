"""The README's commands run, and its tables tell what there is."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from proxy.config import parse
from proxy.downstream.schema import openapi_json
from tests.bench.contenders import nginx_program
from tests.reading import READERS, ask, read_poll, session
from tests.server import Served, scripted, serving

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(mark: str) -> list[str]:
    """The code between ``<!-- mark -->`` and its end."""
    part = README.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]
    return re.findall(r"```\w+\n(.*?)```", part, re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The config that ships, but faster."""
    config = (ROOT / "config.toml").read_text()
    quick = re.sub(r"(?m)^# events_per_s = .*$", "events_per_s = 60", config)
    assert quick != config
    with serving(tmp_path_factory.mktemp("readme"), quick) as served:
        yield served


def run(command: list[str], demo: Served, code: str) -> str:
    there = code.replace("http://127.0.0.1:8080", demo.url)
    done = subprocess.run(
        [*command, there], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_line_is_cut_and_the_answer_goes_on(demo: Served, tmp_path: Path) -> None:
    code = "set -e\n" + "\n".join(blocks("try")).replace("/tmp/headers", str(tmp_path / "headers"))
    out = run(["bash", "-c"], demo, code)
    assert "\nid: 11\n" in out
    assert "data: [DONE]" in out
    assert '"object":"chat.completion"' in out


@pytest.mark.parametrize("code", blocks("python"), ids=["openai", "anthropic", "resume"])
def test_the_sdks_work_with_nothing_changed_but_the_base_url(demo: Served, code: str) -> None:
    assert len(run([sys.executable, "-c"], demo, code)) > 200


def test_a_response_in_the_background_is_come_back_to(demo: Served) -> None:
    (code,) = blocks("background")
    assert len(run([sys.executable, "-c"], demo, code)) > 200


def test_javascript_resumes_in_a_loop(demo: Served) -> None:
    (code,) = blocks("node")
    assert len(run(["node", "--input-type=module", "-e"], demo, code)) > 200


def test_javascript_follows_over_a_websocket_and_takes_up_after_a_cut(demo: Served) -> None:
    (code,) = blocks("websocket")
    (asked,) = blocks("node")
    ask = asked.split("let page")[0]
    follow = """
    const seen = [];
    const Real = globalThis.WebSocket;
    let cuts = 0;
    globalThis.WebSocket = class extends Real {
      constructor(...given) {
        super(...given);
        if (cuts < 2) setTimeout(() => { cuts += 1; this.close(); }, 400);
      }
    };
    follow(url.replace("http", "ws"), id, (event) => {
      seen.push(event.id);
      if (event.data === "[DONE]") console.log(JSON.stringify({ seen, cuts }));
    });
    """
    out = run(
        ["node", "--experimental-websocket", "--input-type=module", "-e"],
        demo,
        code + ask + follow,
    )
    told = json.loads(out)
    assert told["seen"] == list(range(1, len(told["seen"]) + 1))
    assert told["cuts"] >= 1


def test_the_terminal_follows_an_answer(demo: Served, tmp_path: Path) -> None:
    assert "midstream tail st_…" in README

    async def begin() -> str:
        async with session() as http:
            return await ask(http, demo.url, "demo")

    stream = asyncio.run(begin())
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "tail", stream, "--url", demo.url],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 200


def test_every_command_is_in_the_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = re.findall(r"(?m)^    (\w+) ", done.stdout)
    named = re.findall(r"(?m)^\| `midstream (\w+)", README)
    assert sorted(listed) == sorted(named)


def test_nginx_in_front_passes_everything_on(tmp_path: Path) -> None:
    """The README's own snippet, before two machines on one store."""
    program = nginx_program()
    if program is None:
        assert "CI" not in os.environ, "CI has to have nginx"
        pytest.skip("nginx is not installed")
    config = '[store]\nurl = "embedded"\npath = "data"\n' + scripted("slow", model="slow")
    with ExitStack() as stack:
        one = stack.enter_context(serving(tmp_path, config, name="one"))
        socket = next((tmp_path / "data").glob("*.sock"))
        shared = config.replace("embedded", f"unix://{socket}")
        two = stack.enter_context(serving(tmp_path, shared, name="two"))
        url = stack.enter_context(_nginx(program, tmp_path, one.url, two.url))

        async def scenario() -> None:
            async with session() as http:
                stream = await ask(http, url, "slow/long")
                whole = await read_poll(http, url, stream, 0, None)
                for read in READERS.values():
                    assert await read(http, url, stream, 7, None) == whole[7:]

        asyncio.run(scenario())
        assert all(" served " in each.log.read_text() for each in (one, two))


@contextmanager
def _nginx(program: str, folder: Path, one: str, two: str) -> Iterator[str]:
    (snippet,) = blocks("nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {"10.0.0.1:8080": one, "10.0.0.2:8080": two, "listen 80;": f"listen {port};"}
    for there, here in places.items():
        assert there in snippet
        snippet = snippet.replace(there, here.removeprefix("http://"))
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; {user}\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n{snippet}\n}}\n"
    )
    command = [program, "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(file)]
    with subprocess.Popen(command) as process:
        try:
            until = time.monotonic() + 10
            with socket.socket() as client:
                while client.connect_ex(("127.0.0.1", port)):
                    assert time.monotonic() < until, "nginx does not answer"
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_the_config_in_short_is_a_config() -> None:
    code = next(block for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL))
    assert tomllib.loads(code)
    config = parse(code.replace("…", "0" * 64), {"OPENAI_API_KEY": "x" * 20}, lambda _: "")
    assert set(config.providers) == {"openai"}


def test_every_call_that_is_named_exists() -> None:
    paths = json.loads(openapi_json())["paths"]
    for call, path in re.findall(r"`(GET|POST|DELETE) (/[^`?]*)", README):
        names = {re.sub(r"\{[^}]*\}", "{}", name): ways for name, ways in paths.items()}
        assert call.lower() in names[re.sub(r"\{[^}]*\}", "{}", path)], path


def test_the_commands_install_what_is_locked() -> None:
    for mark, lock in (("run", "run.txt"), ("test", "test.txt")):
        (command,) = blocks(mark)
        assert f".requirements/{lock}" in command
        assert "--require-hashes" in command
        assert (ROOT / ".requirements" / lock).exists()


@pytest.mark.skipif("CI" not in os.environ, reason="installs from the package registry")
def test_the_first_command_starts_the_proxy(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    (command,) = blocks("run")
    process = subprocess.Popen(
        ["bash", "-c", command.strip() + " --port 0"],
        cwd=tmp_path / "clone",
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "listens on" in line:
                break
        else:
            raise AssertionError("it did not start")
    finally:
        os.killpg(process.pid, 15)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            raise
