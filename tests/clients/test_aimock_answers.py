"""An upstream that nobody here wrote: its answers are the same through the proxy."""

from typing import Any

import anthropic
import pytest

from tests.clients.aimock import UPSTREAM_KEY, Aimock, fixture
from tests.clients.conftest import APP_KEY
from tests.clients.hearing import How, Kind, question, without_nulls
from tests.clients.sdks import PAIRS, Sdks
from tests.server import Served

_TEXT = "Grüße aus dem Süden, 你好, 🎉! " * 5
_CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city":"Zürich","days":[1,2]}'},
    {"id": "call_2", "name": "clock", "arguments": "{}"},
]
_SAME: dict[str, Any] = {"id": "answer-1", "created": 1_700_000_000}
ANSWERS: dict[str, dict[str, Any]] = {
    "text": {"content": _TEXT},
    "reasoning": {"content": _TEXT, "reasoning": "Let me think about that. " * 3},
    "tools": {"toolCalls": _CALLS},
    "both": {"content": _TEXT, "toolCalls": _CALLS},
    "length": {"content": _TEXT, "finishReason": "length"},
}


@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_answers_are_the_same_as_directly(
    kind: Kind, sdk: str, sdks: Sdks, mocked: Served, aimock: Aimock
) -> None:
    ways: tuple[How, ...] = ("stream", "helper", "create")
    cases = [(how, answer) for how in ways for answer in ANSWERS]
    names = {case: f"{case[1]}.{kind}.{sdk}.{case[0]}" for case in cases}
    aimock.answers_all(
        [fixture(name, _SAME | ANSWERS[case[1]], chunkSize=7) for case, name in names.items()]
    )
    plain = [question(kind, how, names[how, answer]) for how, answer in cases]
    asked = [question(kind, how, f"mock.{kind}/{names[how, answer]}") for how, answer in cases]
    direct = sdks[sdk](kind, aimock.url, plain, key=UPSTREAM_KEY)
    through = sdks[sdk](kind, mocked.url, asked, key=APP_KEY)
    for case, expected, got in zip(cases, direct, through, strict=True):
        assert expected.events or expected.final, case
        if case[0] == "create":  # an answer made of events cannot tell null from absent
            assert without_nulls(got.final) == without_nulls(expected.final), case
        else:
            assert got == expected, case
    journal = aimock.journal()
    for name in names.values():
        statuses = [call["response"]["status"] for call in journal[name]]
        assert statuses == [200, 200], f"{name}: directly, and once through the proxy"


def test_the_beta_client_of_anthropic_says_its_betas_to_the_provider(
    mocked: Served, aimock: Aimock
) -> None:
    aimock.answers("beta", _SAME | ANSWERS["text"])
    asked: dict[str, Any] = question("anthropic", "create", "mock.anthropic/beta").body
    with anthropic.Anthropic(base_url=mocked.url, api_key=APP_KEY, max_retries=0) as client:
        whole = client.beta.messages.create(**asked, betas=["one-2026-01-01", "two-2026-01-01"])
        with client.beta.messages.stream(**asked, betas=["one-2026-01-01"]) as helper:
            streamed = helper.get_final_message()
    assert [block.to_dict() for block in whole.content] == [{"type": "text", "text": _TEXT}]
    assert streamed.to_dict()["content"] == whole.to_dict()["content"]
    headers = [call["headers"] for call in aimock.calls("beta")]
    said = [(told["anthropic-beta"], told["anthropic-version"]) for told in headers]
    version = str(client.default_headers["anthropic-version"])
    assert said == [("one-2026-01-01,two-2026-01-01", version), ("one-2026-01-01", version)]
