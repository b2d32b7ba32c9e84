"""The README's commands run, and its tables tell what there is."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config import parse
from proxy.downstream.schema import openapi_json
from tests.server import Served, serving

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


def test_javascript_resumes_in_a_loop(demo: Served) -> None:
    (code,) = blocks("node")
    assert len(run(["node", "--input-type=module", "-e"], demo, code)) > 200


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
        ["bash", "-c", command + " --port 0"],
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
        process.communicate(timeout=30)
