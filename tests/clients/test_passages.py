"""What passes through whole, as the SDKs ask for it: embeddings, and counts of tokens."""

from typing import Any

import pytest

from tests.clients.aimock import Aimock
from tests.clients.conftest import APP_KEY, OTHER_KEY
from tests.clients.hearing import Heard, How, Kind, Question
from tests.clients.sdks import NAMES, Directly, Sdks
from tests.server import Served

ASKED: dict[str, tuple[Kind, How, dict[str, Any]]] = {
    "base64": ("openai", "embeddings", {"input": ["grüße", "漢字"]}),  # the SDKs ask for it
    "floats": ("openai", "embeddings", {"input": [[1, 2], [3]], "encoding_format": "float"}),
    "fourteen": (
        "anthropic",
        "count_tokens",
        {"messages": [{"role": "user", "content": "hi"}], "system": "Be brief."},
    ),
}


@pytest.mark.parametrize("sdk", NAMES)
@pytest.mark.parametrize("name", ASKED)
def test_an_sdk_gets_the_same_as_directly(
    name: str, sdk: str, sdks: Sdks, midstream: Served, directly: Directly
) -> None:
    kind, how, body = ASKED[name]
    (direct,) = directly.ask(kind, sdk, [Question(how, {"model": name, **body})])
    model = f"recorded.{kind}/{name}"
    (through,) = sdks[sdk](
        kind, midstream.url, [Question(how, {"model": model, **body})], key=APP_KEY
    )
    assert direct.final is not None
    assert through == direct
    if name == "base64":
        assert isinstance(first_vector(through)[0], float), "it was decoded"


def first_vector(heard: Heard) -> list[float]:
    """Of embeddings, as either language's SDK gives them."""
    final: Any = heard.final[1] if isinstance(heard.final, tuple) else heard.final
    vector: list[float] = final["data"][0]["embedding"]
    return vector


@pytest.mark.parametrize("sdk", NAMES)
def test_what_a_provider_does_not_have_is_not_found_in_the_callers_words(
    sdk: str, sdks: Sdks, midstream: Served
) -> None:
    (embedded,) = sdks[sdk](
        "openai",
        midstream.url,
        [Question("embeddings", {"model": "recorded.anthropic/x", "input": "hi"})],
        key=APP_KEY,
    )
    body = {"model": "recorded.openai/x", "messages": [{"role": "user", "content": "hi"}]}
    (counted,) = sdks[sdk](
        "anthropic", midstream.url, [Question("count_tokens", body)], key=APP_KEY
    )
    assert embedded.error is not None
    assert (embedded.error.name, embedded.error.code) == ("NotFoundError", "not_offered")
    assert counted.error is not None
    assert (counted.error.name, counted.error.type) == ("NotFoundError", "not_found_error")
    assert "no way to count tokens" in counted.error.message


@pytest.mark.parametrize("sdk", NAMES)
def test_a_key_embeds_with_the_models_that_it_may_use_alone(
    sdk: str, sdks: Sdks, mocked: Served, aimock: Aimock
) -> None:
    aimock.answers("embed", {"embedding": [0.5, -0.25]})
    body = {"model": "mock.openai/embed", "input": "hi", "encoding_format": "float"}
    asked = [Question("embeddings", body)]
    (refused,) = sdks[sdk]("openai", mocked.url, asked, key=OTHER_KEY)
    assert refused.error is not None
    assert (refused.error.name, refused.error.code) == ("NotFoundError", "model_not_found")
    (made,) = sdks[sdk]("openai", mocked.url, asked, key=APP_KEY)
    assert made.error is None, made.error
    assert first_vector(made) == [0.5, -0.25]
