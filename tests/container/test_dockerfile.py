"""What of the container image can be held without building it."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from proxy.__main__ import run
from tests.container.dockerfile import (
    NotUnderstood,
    is_ignored,
    read_patterns,
    read_running,
    read_stages,
)

ROOT = Path(__file__).parents[2]
STAGES = read_stages((ROOT / "Dockerfile").read_text())
PATTERNS = read_patterns((ROOT / ".dockerignore").read_text())
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()


def _copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    return [
        source
        for stage in STAGES
        for step in stage.steps
        if step.name == "COPY" and "from" not in step.flags
        for source in step.words()[:-1]
    ]


def test_every_file_that_is_copied_is_there_and_not_ignored() -> None:
    for source in _copied():
        assert (ROOT / source).exists(), source
        assert not is_ignored(PurePosixPath(source), PATTERNS), source


def test_nothing_else_is_sent_to_the_build() -> None:
    sent = [path for path in TRACKED if not is_ignored(PurePosixPath(path), PATTERNS)]
    assert "proxy/app.py" in sent
    assert "proxy/store/lua/append.lua" in sent
    for path in sent:
        assert any(PurePosixPath(path).is_relative_to(source) for source in _copied()), path


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python", ".env", "proxy/.env.local", ".midstream/valkey.sock"),
        *("proxy/.midstream/appendonlydir/x", "tests/upstream/loopback.pem", "proxy/tls.key"),
        *("proxy/__pycache__/app.cpython-311.pyc", "midstream.egg-info/PKG-INFO", "server.log"),
        *("node_modules/x/index.js", "build/lib/proxy/app.py", ".hypothesis/x", "secrets.toml"),
    ],
)
def test_secrets_data_history_and_what_is_made_stay_out(path: str) -> None:
    assert is_ignored(PurePosixPath(path), PATTERNS)


def test_the_image_runs_as_a_fixed_user_who_is_not_root_and_is_told_to_stop() -> None:
    running = read_running(STAGES[-1])
    assert running.user == "10001:0"
    assert running.stop_signal == "SIGTERM"
    assert running.volumes == ["/midstream/.midstream"]
    assert running.workdir == "/midstream"


def test_its_command_is_one_that_midstream_understands_and_asks_for_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = read_running(STAGES[-1]).command
    assert program == "midstream"
    monkeypatch.chdir(tmp_path)

    code = run(arguments, {}, lambda *_: 0)

    assert code == 2
    assert "MIDSTREAM_KEY is not set" in capsys.readouterr().err
    assert run(arguments, {"MIDSTREAM_KEY": "x" * 16}, lambda *_: 0) == 0


def test_its_health_is_asked_for_at_the_port_that_it_listens_on() -> None:
    running = read_running(STAGES[-1])
    (port,) = running.ports
    assert running.command[-2:] == ["--port", str(port)]
    assert f"'127.0.0.1', {port}," in running.health[-1]
    compile(running.health[-1], "HEALTHCHECK", "exec")


@pytest.mark.parametrize(
    "text",
    [
        "FROM x\nONBUILD RUN y",
        "FROM x\nCOPY --chmod=755 a b",
        "RUN y",
        "FROM x\nADD a b",
        "FROM x AS",
    ],
)
def test_what_the_interpreter_does_not_know_it_refuses(text: str) -> None:
    with pytest.raises(NotUnderstood):
        read_stages(text)


@pytest.mark.parametrize(
    ("path", "patterns", "ignored"),
    [
        ("a/b", ["a"], True),
        ("b/a", ["a"], False),
        ("b/a", ["**/a"], True),
        ("a", ["**/a"], True),
        ("x/y.pyc", ["**/*.py[cod]"], True),
        ("x/y.py", ["**/*.py[cod]"], False),
        ("proxy/x", ["*", "!proxy"], False),
        ("proxy/x/k.pem", ["*", "!proxy", "**/*.pem"], True),
        (".r/run.txt", ["*", "!.r/run.txt"], False),
        (".r/test.txt", ["*", "!.r/run.txt"], True),
    ],
)
def test_patterns_mean_what_docker_means_by_them(
    path: str, patterns: list[str], *, ignored: bool
) -> None:
    assert is_ignored(PurePosixPath(path), patterns) == ignored
