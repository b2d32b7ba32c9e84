"""From the config's tables to providers."""

import subprocess
import sys

import pytest

from proxy import config
from proxy.config import Secret
from proxy.errors import ConfigInvalid
from proxy.relay.ports import Deadlines
from proxy.upstream.providers import Fleet, build_providers
from tests.upstream.asking import read, run
from tests.upstream.fake_provider import FakeProvider, streamed


def test_each_table_becomes_a_provider_of_its_kind() -> None:
    key = Secret("sk-anything", "env:KEY")
    built = build_providers(
        {
            "one": config.OpenAIProvider(api_key=key, connect_s=1, idle_s=2),
            "two": config.AnthropicProvider(api_key=key, first_event_s=3, total_s=4),
            "three": config.ScriptedProvider(idle_s=5),
            "four": config.OpenAIProvider(base_url="http://127.0.0.1:9/v1"),
            "five": config.OpenAIProvider(
                base_url="http://127.0.0.1:9/v1", dialects=("openai.responses", "openai.chat")
            ),
        }
    )
    assert [provider.name for provider in built.values()] == list(built)
    assert built["one"].dialects == ("openai.chat", "openai.responses")
    assert built["four"].dialects == ("openai.chat",), "most servers have no more"
    assert built["five"].dialects_for("any") == ("openai.responses", "openai.chat")
    assert built["two"].dialects == ("anthropic.messages",)
    assert built["three"].dialects == (*("openai.chat", "openai.responses", "anthropic.messages"),)
    assert built["one"].deadlines == Deadlines(connect_s=1, idle_s=2)
    assert built["two"].deadlines == Deadlines(first_event_s=3, total_s=4)
    assert built["three"].deadlines == Deadlines(idle_s=5)
    for provider in built.values():
        run(provider.close())


def test_a_table_that_cannot_be_built_is_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"\[providers\.stage\] recordings"):
        build_providers({"stage": config.ScriptedProvider(recordings="/nonexistent")})


@pytest.mark.parametrize(
    ("table", "loaded"),
    [
        ("ScriptedProvider()", set()),
        ("OpenAIProvider()", {"openai"}),
        ("AnthropicProvider()", {"anthropic"}),
    ],
)
def test_only_the_sdks_that_the_config_names_are_loaded(table: str, loaded: set[str]) -> None:
    code = (
        "import sys; from proxy import config; from proxy.upstream.providers import *; "
        f"build_providers({{'x': config.{table}}}); "
        "print(*({'openai', 'anthropic'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert set(shown.stdout.split()) == loaded


# --- while the config changes ------------------------------------------------------------------


def test_a_provider_whose_table_is_the_same_stays_and_the_others_are_made_anew() -> None:
    async def scenario() -> None:
        key = Secret("sk-anything", "env:KEY")
        fleet = Fleet(
            {
                "kept": config.OpenAIProvider(api_key=key),
                "changed": config.ScriptedProvider(),
                "gone": config.ScriptedProvider(),
            }
        )
        before = dict(fleet.providers)
        after = fleet.change(
            {
                "kept": config.OpenAIProvider(api_key=Secret("sk-anything", "env:KEY")),
                "changed": config.ScriptedProvider(idle_s=7),
                "new": config.ScriptedProvider(),
            },
            in_use=set(),
        )
        assert list(after) == ["kept", "changed", "new"]
        assert after["kept"] is before["kept"]
        assert after["changed"] is not before["changed"]
        assert after["changed"].deadlines.idle_s == 7
        await fleet.close()

    run(scenario())


def test_a_change_that_cannot_be_made_changes_nothing() -> None:
    async def scenario() -> None:
        fleet = Fleet({"one": config.ScriptedProvider()})
        before = dict(fleet.providers)
        with pytest.raises(ConfigInvalid):
            fleet.change({"two": config.ScriptedProvider(recordings="/nonexistent")}, set())
        assert fleet.providers == before
        await fleet.close()

    run(scenario())


def test_a_provider_that_is_gone_is_closed_when_nobody_reads_it_any_more() -> None:
    async def scenario() -> None:
        async with FakeProvider.running() as far:
            far.always_plays(streamed([b"data: [DONE]\n\n"]))
            fleet = Fleet({"old": config.OpenAIProvider(base_url=f"{far.url}/v1")})
            old = fleet.providers["old"]
            fleet.change({}, in_use={old})
            fleet.change({}, in_use={old})
            await read(old)
            assert far.open == 1, "kept for the next request"
            fleet.change({}, in_use=set())
            await far.until(lambda: far.open == 0)
            await fleet.close()

    run(scenario())
