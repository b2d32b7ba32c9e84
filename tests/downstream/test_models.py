"""Anthropic's list of models, page by page."""

import json
from collections.abc import Mapping

import msgspec
import pytest
from anthropic.types import ModelInfo

from proxy.downstream.models import AnthropicModel, anthropic_page
from proxy.errors import MalformedRequest
from proxy.relay.ports import ProviderModel

MODELS = [ProviderModel(f"m{n}", created=n) for n in range(5)]


def page(query: Mapping[str, str]) -> tuple[list[str], bool]:
    found = anthropic_page(MODELS, query)
    ids = [model.id for model in found.data]
    assert (found.first_id, found.last_id) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, found.has_more


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ({}, "01234", False),
        ({"limit": "5"}, "01234", False),
        ({"limit": "2"}, "01", True),
        ({"limit": "2", "after_id": "m1"}, "23", True),
        ({"limit": "2", "after_id": "m3"}, "4", False),
        ({"after_id": "m4"}, "", False),
        ({"limit": "2", "before_id": "m3"}, "12", True),
        ({"limit": "2", "before_id": "m2"}, "01", False),
        ({"before_id": "m0"}, "", False),
        ({"lifecycle[]": "deprecated,active"}, "01234", False),
        ({"lifecycle[]": "retired"}, "", False),
    ],
)
def test_a_page_is_that_beside_its_cursor(
    query: Mapping[str, str], expected: str, has_more: bool
) -> None:
    assert page(query) == ([f"m{digit}" for digit in expected], has_more)


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1001"}, {"after_id": "x"}, {"before_id": "x"}]
)
def test_a_page_that_cannot_be_is_refused_by_its_parameter(query: Mapping[str, str]) -> None:
    with pytest.raises(MalformedRequest) as refused:
        page(query)
    assert refused.value.param in query


def test_a_model_has_every_field_of_the_sdks_type_and_is_one() -> None:
    (model,) = anthropic_page(MODELS[:1], {}).data
    written = msgspec.json.encode(model)
    ModelInfo.model_validate(json.loads(written))
    assert set(AnthropicModel.__struct_fields__) == set(ModelInfo.model_fields)
