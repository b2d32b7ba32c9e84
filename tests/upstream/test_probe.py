"""`midstream check --probe`, against providers on loopback."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.__main__ import run as command
from proxy.config import Config, parse
from proxy.errors import ConfigInvalid
from proxy.upstream.probe import Finding, probe
from tests.upstream.asking import run
from tests.upstream.fake_provider import FakeProvider, Stall, streamed, whole

KEY = "sk-CANARY-of-some-length"
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"yes"}}]}\n\n'
EVENT = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"y"}}\n\n'
)
RESPONSE = b'data: {"type":"response.output_text.delta","sequence_number":0,"delta":"y"}\n\n'


def config_for(url: str, models: str, more: str = "") -> Config:
    text = f"""
        [providers.demo]
        kind = "scripted"
        [providers.far]
        kind = "openai"
        base_url = "{url}/v1"
        api_key = "env:KEY"
        {more}
        [providers.other]
        kind = "anthropic"
        base_url = "{url}"
        api_key = "env:KEY"
        {models}
    """
    return parse(text, {"KEY": KEY}, lambda path: path)


async def findings(config: Config) -> tuple[bool, dict[str, Finding]]:
    found: list[Finding] = []
    is_well = await probe(config, found.append)
    return is_well, {finding.target: finding for finding in found}


def test_each_target_is_asked_once_for_a_token_in_the_dialect_it_prefers() -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays(streamed([CHUNK, EVENT]))  # each hears its own
            config = config_for(
                far.url,
                '[models.a]\ntargets = ["far/m"]\n[models.b]\ntargets = ["far/m"]\n'
                '[models.c]\ntargets = ["other/c"]\n[models.d]\ntargets = ["demo/demo"]',
            )
            is_well, found = await findings(config)
            assert is_well
            assert sorted(found) == ["demo/demo", "far/m", "other/c"]
            bodies = {each.path: json.loads(each.body) for each in far.requests}
            assert bodies["/v1/chat/completions"]["max_completion_tokens"] == 1
            assert bodies["/v1/messages"]["max_tokens"] == 1
            await far.until(lambda: far.open == 0)

    run(main())


def test_a_target_is_asked_with_its_own_parameters_each_way_once() -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays(streamed([CHUNK]))
            own = '{to = "far/m", parameters = {temperature = 0.5}}'
            models = f'[models.a]\ntargets = [{own}]\n[models.b]\ntargets = [{own}, "far/m"]'
            found: list[Finding] = []
            assert await probe(config_for(far.url, models), found.append)
            assert len(found) == 2
            bodies = [json.loads(each.body) for each in far.requests]
            assert sorted(str(body.get("temperature")) for body in bodies) == ["0.5", "None"]
            assert {body["max_completion_tokens"] for body in bodies} == {1}

    run(main())


def test_openai_is_asked_for_as_few_tokens_of_a_response_as_it_takes() -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(streamed([RESPONSE]))
            spoken = 'dialects = ["openai.responses"]'
            config = config_for(far.url, '[models.a]\ntargets = ["far/m"]', spoken)
            assert (await findings(config))[0]
            assert json.loads(far.requests[0].body)["max_output_tokens"] == 16

    run(main())


def test_of_a_pattern_the_list_of_models_is_asked_for_and_nothing_else() -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(whole(200, b'{"data":[{"id":"x"},{"id":"y"}]}'))
            config = config_for(far.url, '[models."*"]\ntargets = ["far/*"]')
            is_well, found = await findings(config)
            assert is_well
            assert "lists 2 models; none was asked" in str(found["far/*"])
            assert [(each.method, each.path) for each in far.requests] == [("GET", "/v1/models")]

    run(main())


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            401,
            b"{}",
            "provider_refused_us: Provider 'far' does not accept this proxy's credentials",
        ),
        (401, b"{}", "(look at its api_key and auth)"),
        (404, b'{"error":{"message":"no\\nsuch","code":"gone"}}', "gone: Provider 'far' answered"),
        (404, b'{"error":{"message":"no\\nsuch","code":"gone"}}', "no such (look at the model's"),
        (500, f'{{"error":{{"message":"{KEY}"}}}}'.encode(), "answered with status 500"),
        (200, b"{}", "provider_garbled: The provider sent what cannot be relayed"),
    ],
)
def test_what_is_wrong_is_told_with_its_code_and_without_the_key(
    status: int, body: bytes, told: str
) -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(whole(status, body))
            is_well, found = await findings(config_for(far.url, '[models.a]\ntargets = ["far/m"]'))
            assert not is_well
            line = str(found["far/m"])
            assert line.startswith("FAILED  far/m  ")
            assert told in line
            assert KEY not in line
            assert "\n" not in line

    run(main())


def test_one_that_says_nothing_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.always_plays([Stall()])
            models = '[models.a]\ntargets = ["far/m"]\n[models.b]\ntargets = ["demo/demo"]'
            is_well, found = await findings(config_for(far.url, models, "first_event_s = 0.3"))
            assert not is_well
            assert "provider_stalled: The provider sent nothing within 0.3 s" in str(found["far/m"])
            assert found["demo/demo"].is_well

    run(main())


def test_a_cut_answer_and_a_dead_address_are_failures() -> None:
    async def main() -> None:
        async with FakeProvider.running() as far:
            far.plays(streamed([b": nothing\n\n"]))
            config = config_for(far.url, '[models.a]\ntargets = ["far/m"]')
            assert "provider_truncated" in str((await findings(config))[1]["far/m"])
        assert "look at base_url" in str((await findings(config))[1]["far/m"])

    run(main())


def test_recordings_that_are_not_there_make_the_config_invalid() -> None:
    text = (
        '[providers.p]\nkind = "scripted"\nrecordings = "/nowhere"\n[models.m]\ntargets = ["p/m"]'
    )
    with pytest.raises(ConfigInvalid):
        asyncio.run(findings(parse(text, {}, lambda path: path)))


@pytest.mark.parametrize(("model", "code"), [("demo", 0), ("nothing", 1)])
def test_the_command_warns_of_the_cost_and_tells_by_its_code(
    model: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[providers.d]\nkind = "scripted"\n[models.m]\ntargets = ["d/{model}"]\n')
    assert command(["check", str(file), "--probe"], {}, lambda *_: 9) == code
    said = capsys.readouterr().out
    assert "A token is asked for at each target, and paid for" in said
    assert ("  ok      d/demo  " if code == 0 else "  FAILED  d/nothing  ") in said
    file.write_text("nonsense")
    assert command(["check", str(file), "--probe"], {}, lambda *_: 9) == 2
