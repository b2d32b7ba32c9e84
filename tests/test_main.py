"""The command line, as a person types it."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.__main__ import run
from proxy.config import Config, parse
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.policy.keys import Keyring, Role, is_mistyped
from proxy.serving import ConfigFile

CANARY = "CANARY-4f1d-of-some-length"
STREAM = "st_0123456789abcdefghijklmnop"
KEY = f'[keys.a]\nsha256 = "{"0" * 64}"\n'


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("midstream")
    before = (root.handlers, root.level, own.level)
    yield
    root.handlers, root.level, own.level = before


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that the command is given in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Serving:
    """Stands where the proxy would run, and keeps what it was told."""

    def __init__(self, raises: BaseException | None = None, code: int = 0) -> None:
        self.config: Config | None = None
        self._raises = raises
        self._code = code

    def __call__(self, config: Config, source: ConfigFile, observer: Observer) -> int:
        assert source.parse(source.read()).server == config.server
        self.config = config
        observer.started(config.server.url, config.store.address, is_open=not config.keys)
        if self._raises:
            raise self._raises
        return self._code


def midstream(*arguments: str, **env: str) -> int:
    return run(arguments, env, Serving())


def no_files(path: str) -> str:
    raise FileNotFoundError(path)


# --- which file ---------------------------------------------------------------------


def test_without_any_file_the_one_that_ships_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert midstream("check") == 0

    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("proxy/config.toml is valid.")
    assert "openai     off: OPENAI_API_KEY is not set" in out


def test_a_file_given_wins_over_the_variable_and_that_over_the_directory(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("given", "variable", "config"):
        (here / f"{name}.toml").write_text("")

    midstream("check", "given.toml", MIDSTREAM_CONFIG="variable.toml")
    midstream("check", MIDSTREAM_CONFIG="variable.toml")
    midstream("check", MIDSTREAM_CONFIG="")

    firsts = re.findall(r"(?m)^(\S+) is valid\.$", capsys.readouterr().out)
    assert firsts == ["given.toml", "variable.toml", "config.toml"]


def test_serve_takes_the_file_that_is_given(here: Path) -> None:
    (here / "my.toml").write_text("server.port = 1234")
    serving = Serving()

    assert run(["serve", "--config", "my.toml"], {}, serving) == 0

    assert serving.config is not None
    assert serving.config.server.port == 1234


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("nope.toml", None, "nope.toml is not valid:\n  it cannot be read: No such file"),
        (".", None, ". is not valid:\n  it cannot be read: Is a directory"),
        ("a.toml", b"a = 1\n\nb = '\xff'", "a.toml is not valid:\n  line 3: this is not UTF-8"),
        ("a.toml", b"[server]\nprot = 1", "a.toml is not valid:\n  line 2: [server] prot: unk"),
    ],
)
@pytest.mark.parametrize("command", [["check"], ["serve", "--config"]])
def test_a_bad_file_is_told_on_stderr_with_exit_code_2(
    command: list[str],
    name: str,
    content: bytes | None,
    expected: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (here / name).write_bytes(content)

    assert midstream(*command, name) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"midstream: {expected}")


def test_all_problems_of_a_file_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "config.toml").write_text("[server]\nport = -1\nlog = 3\n[stor]\n")

    assert midstream("check") == 2

    told = re.findall(r"(?m)^  line (\d+): ", capsys.readouterr().err)
    assert told == ["2", "3", "4"]


def test_a_byte_order_mark_is_no_problem(here: Path) -> None:
    (here / "config.toml").write_bytes(b"\xef\xbb\xbf[server]\nport = 1\n")

    assert midstream("check") == 0


def test_secrets_are_read_from_files_and_not_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "secret").write_text(f"{CANARY}\n")
    (here / "config.toml").write_text(
        '[keys.a]\nsecret = "file:secret"\n[providers.p]\nkind = "openai"\napi_key = "env:P"\n'
    )

    assert midstream("check", P=CANARY) == 0

    out = capsys.readouterr().out
    assert "key from env:P" in out
    assert CANARY not in out


def test_a_secret_file_without_an_end_is_not_read_to_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "config.toml").write_text('[keys.a]\nsecret = "file:/dev/zero"\n')

    assert midstream("check") == 2
    assert "must hold one line" in capsys.readouterr().err


# --- serve ------------------------------------------------------------------------


def test_host_and_port_of_the_command_win(here: Path) -> None:
    (here / "config.toml").write_text(f'{KEY}[server]\nhost = "10.0.0.1"\nport = 1\n')
    serving = Serving()

    run(["serve", "--host", "0.0.0.0", "--port", "0"], {}, serving)

    assert serving.config is not None
    assert serving.config.server.url == "http://0.0.0.0:0"


def test_a_host_for_other_machines_wants_a_key_also_from_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    serving = Serving()

    assert run(["serve", "--host", "0.0.0.0"], {}, serving) == 2

    assert serving.config is None
    assert "MIDSTREAM_KEY is not set" in capsys.readouterr().err
    assert run(["serve", "--host", "0.0.0.0"], {"MIDSTREAM_KEY": CANARY}, serving) == 0


def test_a_loopback_host_of_the_command_needs_no_key_whatever_the_file_says(here: Path) -> None:
    (here / "config.toml").write_text('server.host = "0.0.0.0"')

    assert midstream("serve") == 2
    assert midstream("serve", "--host", "localhost") == 0


def test_the_exit_code_of_serving_is_passed_on() -> None:
    assert run(["serve"], {}, Serving(code=1)) == 1


def test_the_log_has_the_form_that_the_config_asks_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "config.toml").write_text('server.log = "json"')

    midstream("serve")

    assert '"fact": "started"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (StoreUnavailable("refused"), 1, "midstream: The store cannot be reached."),
        (RuntimeError(CANARY), 1, "internal_error exception=RuntimeError place="),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_while_serving_has_an_exit_code_and_shows_no_secret(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve"], {}, Serving(raises=error)) == code

    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err
    assert CANARY not in err


# --- key new ------------------------------------------------------------------------


def new_key(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """The secret and the section of a new key."""
    assert midstream("key", "new", *arguments) == 0
    out = capsys.readouterr().out
    (secret,) = re.findall(r"(?m)^ms_\w+$", out)
    assert out.count(secret) == 1
    return secret, out[out.index("[keys.") :]


def test_a_new_keys_section_admits_its_secret(capsys: pytest.CaptureFixture[str]) -> None:
    secret, section = new_key(capsys, "web")

    (key,) = parse(section, {}, no_files).keys
    found = Keyring([key]).find(secret, now=0)
    assert not is_mistyped(secret)
    assert found is not None
    assert (found.owner, found.role) == ("web", Role.USER)


def test_a_new_key_can_have_an_owner_and_be_an_operators(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, section = new_key(capsys, "ops@example.org", "--owner", "team", "--operator")

    (key,) = parse(section, {}, no_files).keys
    assert (key.name, key.owner, key.role) == ("ops@example.org", "team", Role.OPERATOR)


def test_each_new_key_has_another_secret(capsys: pytest.CaptureFixture[str]) -> None:
    assert len({new_key(capsys, "web")[0] for _ in range(20)}) == 20


def test_a_new_key_says_which_file_to_put_it_into(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    midstream("key", "new", "web")
    assert "begin with a copy of" in capsys.readouterr().out

    (here / "config.toml").write_text("")
    midstream("key", "new", "web")
    assert "Put this into config.toml, and start midstream again:" in capsys.readouterr().out


# --- which server -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "arguments", "url"),
    [
        ("server.port = 1", [], "http://127.0.0.1:1"),
        (f'{KEY}[server]\nhost = "0.0.0.0"\nport = 1', [], "http://127.0.0.1:1"),
        (f'{KEY}[server]\nhost = "::"\nport = 1', [], "http://[::1]:1"),
        ("server.port = 2", ["--url", "http://localhost:1/"], "http://localhost:1"),
    ],
)
def test_a_server_is_sought_where_the_config_in_use_says_that_it_listens(
    config: str, arguments: list[str], url: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "config.toml").write_text(config)

    assert midstream("top", *arguments) == 1

    assert capsys.readouterr().err.startswith(f"midstream: No connection to {url}: ")


# --- misuse ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["serve", "--port", "65536"],
        ["serve", "--port", "x"],
        ["serve", "--host", ""],
        ["serve", "--host", "a b"],
        ["key"],
        ["key", "new"],
        ["key", "new", "a b"],
        ["key", "new", "a", "--owner", "[]"],
        ["check", "a", "b"],
        ["tail"],
        ["tail", "st_short"],
        ["tail", STREAM, "--after", "-1"],
        ["tail", STREAM, "--after", "9007199254740992"],
        ["tail", STREAM, "--over", "pigeon"],
        ["tail", STREAM, "--url", "127.0.0.1"],
        ["tail", STREAM, "--key", CANARY],
        ["top", "--every", "0"],
        ["top", "--every", "nan"],
        ["top", "--sort", "name"],
        ["bench", "http://127.0.0.1:1/v1"],
        ["bench", "ftp://127.0.0.1", "--model", "m"],
        ["bench", "http://127.0.0.1:1/v1", "--model", "m", "--streams", "0"],
        ["bench", "http://127.0.0.1:1/v1", "--model", "m", "--requests", "1.5"],
        ["bench", "http://127.0.0.1:1/v1", "--model", "m", "--seconds", "inf"],
    ],
)
def test_a_command_that_cannot_be_understood_has_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        midstream(*arguments)

    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "usage: midstream" in err
    assert CANARY not in err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        midstream("--help")

    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("serve", "check", "key", "tail", "top", "bench"))


@pytest.mark.parametrize("command", ["tail", "top", "bench"])
def test_the_help_of_what_talks_to_a_server_has_examples_and_defaults(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        midstream(command, "--help")

    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"examples:\n  midstream {command}" in out
    assert "(default:" in out


def test_the_module_runs_as_a_program() -> None:
    root = Path(__file__).parents[1]
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    program = [sys.executable, "-m", "proxy", "check", str(root / "config.toml")]

    done = subprocess.run(
        program, cwd=root, env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("main  off: MIDSTREAM_KEY is not set\n")
