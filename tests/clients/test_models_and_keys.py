"""Models, keys, and what is wrong with a request, as the SDKs tell their users."""

from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from tests.clients.aimock import Aimock
from tests.clients.conftest import APP_KEY, OTHER_KEY
from tests.clients.hearing import Failure, Heard, How, Kind, Question, question
from tests.clients.sdks import PAIRS, Sdks
from tests.server import Served


def fields(thing: object) -> dict[str, Any]:
    """What an SDK's object holds."""
    found = thing[1] if isinstance(thing, tuple) else thing
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_models_are_listed_and_retrieved_as_the_sdk_types_them(
    kind: Kind, sdk: str, sdks: Sdks, mocked: Served
) -> None:
    listed, one = sdks[sdk](
        kind,
        mocked.url,
        [Question("models", {}), Question("model", {"model": "known"})],
        key=APP_KEY,
    )
    assert listed.error is None
    assert one.error is None
    models = [fields(model) for model in listed.events]
    type_field = "type" if kind == "anthropic" else "object"
    expected = {"id": "known", type_field: "model"}
    assert expected.items() <= fields(one.final).items()
    assert fields(one.final) in models
    ids = [model["id"] for model in models]
    assert len(ids) == len(set(ids))
    behind_a_pattern = [name for name in ids if name.startswith("mock.openai/")]
    assert behind_a_pattern, "what a pattern stands for"
    (again,) = sdks[sdk](
        kind, mocked.url, [Question("model", {"model": behind_a_pattern[0]})], key=APP_KEY
    )
    assert fields(again.final) in models


@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_a_key_sees_only_the_models_that_it_may_use(
    kind: Kind, sdk: str, sdks: Sdks, mocked: Served
) -> None:
    listed, hidden = sdks[sdk](
        kind,
        mocked.url,
        [Question("models", {}), Question("model", {"model": "mock.openai/gpt-4o"})],
        key=OTHER_KEY,
    )
    assert [fields(model)["id"] for model in listed.events] == ["known"]
    assert hidden.error is not None
    assert hidden.error.name == "NotFoundError"


def test_a_list_in_small_pages_is_the_whole_list(mocked: Served) -> None:
    with anthropic.Anthropic(base_url=mocked.url, api_key=APP_KEY) as client:
        whole = [model.id for model in client.models.list()]
        paged = [model.id for model in client.models.list(limit=2)]
        last = client.models.list(limit=2, before_id=whole[-1])
        active = [model.id for model in client.models.list(lifecycle=["active", "deprecated"])]
        retired = client.models.list(lifecycle=["retired"])
    assert len(whole) > 4
    assert paged == active == whole
    assert retired.data == []
    assert [model.id for model in last.data] == whole[-3:-1]


def test_every_caller_sees_the_models_of_all_dialects(mocked: Served) -> None:
    with anthropic.Anthropic(base_url=mocked.url, api_key=APP_KEY) as client:
        seen = {model.id for model in client.models.list()}
    with openai.OpenAI(base_url=f"{mocked.url}/v1", api_key=APP_KEY) as other:
        assert {model.id for model in other.models.list()} == seen
    assert {name.partition("/")[0] for name in seen} >= {"known", "mock.openai", "mock.anthropic"}


class Wrong(NamedTuple):
    """What is asked, and what an SDK must raise for it."""

    asked: dict[str, Any]
    name: str
    status: int
    code: str
    types: dict[str, str]
    key: str = APP_KEY
    ways: tuple[How, ...] = ("stream", "helper", "create")


_INVALID = {"openai": "invalid_request_error", "anthropic": "invalid_request_error"}
WRONG = {
    "wrong-key": Wrong(
        {},
        "AuthenticationError",
        401,
        "invalid_api_key",
        {"openai": "invalid_request_error", "anthropic": "authentication_error"},
        key="wrong-key-0123456789",
    ),
    "unknown-model": Wrong(
        {"model": "nobody-has-this"},
        "NotFoundError",
        404,
        "model_not_found",
        {"openai": "invalid_request_error", "anthropic": "not_found_error"},
    ),
    "no-list-of-messages": Wrong(
        {"messages": None},
        "BadRequestError",
        400,
        "invalid_request",
        _INVALID,
        ways=("stream", "create"),  # a helper looks at them itself
    ),
    "no-model": Wrong({"model": ""}, "BadRequestError", 400, "invalid_request", _INVALID),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_what_is_wrong_with_a_request_is_the_typed_exception(
    name: str, kind: Kind, sdk: str, sdks: Sdks, mocked: Served, aimock: Aimock
) -> None:
    wrong = WRONG[name]
    model = f"mock.{kind}/wrong.{name}.{kind}.{sdk}"
    asked = [question(kind, how, model, **wrong.asked) for how in wrong.ways]
    all_heard: list[Heard] = sdks[sdk](kind, mocked.url, asked, key=wrong.key)
    for heard in all_heard:
        error = heard.error
        assert isinstance(error, Failure)
        assert error.name == wrong.name
        assert error.status == wrong.status
        if kind == "openai":
            assert error.code == wrong.code
        assert error.type == wrong.types[kind]
    assert aimock.calls(model.partition("/")[2]) == [], "nothing reaches the provider"


def test_the_request_id_is_where_each_sdk_looks_for_it(mocked: Served) -> None:
    with anthropic.Anthropic(base_url=mocked.url, api_key=APP_KEY) as client:
        assert str(client.models.with_raw_response.list().headers["request-id"]).startswith("req_")
    with openai.OpenAI(base_url=f"{mocked.url}/v1", api_key=APP_KEY) as other:
        assert str(other.models.with_raw_response.list().headers["x-request-id"]).startswith("req_")
