"""A user that may do what ``config.toml`` says is needed, and no more."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.errors import ConfigInvalid
from proxy.store.redis_store import open_redis
from tests.contracts.backends import run
from tests.fleets import Instance, binary_of, until

ROOT = Path(__file__).parents[2]
SETUSER = re.search(
    r"ACL SETUSER (midstream .*?)\n#\n", (ROOT / "config.toml").read_text(), re.DOTALL
)
assert SETUSER is not None
RULES = SETUSER[1].replace("#", "").split()
COMMANDS = [rule for rule in RULES if rule.startswith("+")]


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(binary_of(request.param), tmp_path, [])
    try:
        until(lambda: instance.say("PING"))
        yield instance
    finally:
        instance.end()


async def warnings_of_a_start(
    server: Instance, rules: list[str], *, namespace: str = "midstream"
) -> tuple[str, ...]:
    server.say("FLUSHALL")
    server.say("ACL", "SETUSER", "midstream", "reset")
    server.say("ACL", "SETUSER", *rules)
    url = f"redis://midstream:PASSWORD@127.0.0.1:{server.port}"
    store = await open_redis(url, namespace=namespace, worker="w", lease_s=5, timeout_s=0.5)
    await store.close()
    return store.warnings


def test_the_rights_that_are_documented_are_enough_and_none_is_dangerous(server: Instance) -> None:
    async def test() -> None:
        (warning,) = await warnings_of_a_start(server, RULES)
        assert "may not run INFO" in warning
        assert await warnings_of_a_start(server, [*RULES, "+info"]) == ()
        assert len(await warnings_of_a_start(server, [*RULES, "-@dangerous"])) == 1
        assert server.say("KEYS", "*") == [], "nothing is left of the trial"

    run(test)


def test_each_of_them_is_needed_and_named_at_the_start_if_it_is_missing(server: Instance) -> None:
    async def test() -> None:
        for command in COMMANDS:
            with pytest.raises(ConfigInvalid) as refused:
                await warnings_of_a_start(server, [r for r in RULES if r != command])
            (problem,) = refused.value.problems
            assert f"its user may not run {command[1:].upper()};" in problem

    run(test)


def test_a_user_of_another_namespace_is_refused(server: Instance) -> None:
    async def test() -> None:
        with pytest.raises(ConfigInvalid) as refused:
            await warnings_of_a_start(server, RULES, namespace="other")
        (problem,) = refused.value.problems
        assert "[store] url: its user was refused: " in problem

    run(test)


def test_every_command_of_the_scripts_is_among_the_documented_rights() -> None:
    texts = [path.read_text() for path in (ROOT / "proxy" / "store" / "lua").glob("*.lua")]
    called = {name for text in texts for name in re.findall(r"redis\.call\('(\w+)'", text)}
    assert called <= {command[1:].upper() for command in COMMANDS}
