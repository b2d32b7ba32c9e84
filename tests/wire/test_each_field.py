"""Each field that the SDKs know, one at a time: translated, refused by its path, or on the list.

A field that a new version of an SDK brings fails here, until somebody has decided what becomes of
it: it is refused as one that is not known.
"""

import copy
import re
from collections.abc import Iterator
from functools import cache

import pytest

from proxy.errors import MalformedRequest
from proxy.wire.given import LeftOut, Refused
from tests.wire.sdk_types import (
    CHAT,
    MESSAGES,
    REQUESTS,
    Variation,
    path_of,
    pattern_of,
    variations,
)
from tests.wire.translating import BODIES, PAIRS, READ, RULES, WRITTEN, Object, outcome, translates

BEYOND_THE_TYPES = {
    CHAT: {
        "messages[].reasoning_content",
        "messages[].reasoning_details",
        "messages[].annotations",
        "messages[].parsed",
        "messages[].tool_calls[].function.parsed_arguments",
        "messages[].tool_calls[].index",
    },
    MESSAGES: {"mcp_servers", "context_management", "thread"},
}
"""Fields of the lists that the types do not have: other servers', those of betas, and what the SDKs
give back of an answer all the same."""


@cache
def all_variations(name: str) -> list[Variation]:
    return [one for one in variations(REQUESTS[name]) if one.path and one.path[0] != "stream"]


@cache
def all_patterns(name: str) -> set[str]:
    return {pattern_of(one.path) for one in all_variations(name)} | {
        pattern_of((*one.path[:-1], "")).removesuffix(".") for one in all_variations(name)
    }


def asks(name: str, variation: Variation) -> Object:
    """A request in which nothing is remarkable but one field."""
    first = str(variation.path[0])
    return copy.deepcopy({**BODIES[name], first: variation.value[first]})


def without(body: Object, variation: Variation) -> Object:
    bare = copy.deepcopy(body)
    holder = bare
    for step in variation.path[:-1]:
        holder = holder[step]  # type: ignore[index]
    del holder[variation.path[-1]]  # type: ignore[arg-type]
    return bare


def is_named(param: str | None, variation: Variation) -> bool:
    """Whether a refusal names the field, what it is in, or, of a type, what it makes needed."""
    path = path_of(variation.path)
    if variation.path[-1] == "type":
        path = path_of(variation.path[:-1])
    return param is not None and (path.startswith(param) or param.startswith(path))


def on_the_list(name: str, variation: Variation) -> Iterator[str]:
    """Where the lists speak of a field, or of what it is in."""
    for length in range(1, len(variation.path) + 1):
        pattern = pattern_of(variation.path[:length])
        kinds = {re.sub(r"\[\w+\]", "[]", rule): rule for rule in RULES[name]}
        for rule in {pattern, kinds.get(pattern, pattern)}:
            found = RULES[name].get(rule)
            if isinstance(found, LeftOut) or (isinstance(found, Refused) and found.unless):
                yield rule
        if pattern in READ[name]:
            yield pattern


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_each_field_is_translated_or_refused_by_its_path_or_on_the_list(
    ours: str, theirs: str
) -> None:
    silent = set()
    for variation in all_variations(ours):
        body = asks(ours, variation)
        found = outcome(ours, theirs, body)
        if isinstance(found, MalformedRequest):
            assert is_named(found.param, variation), (variation, str(found))
            assert "not known" not in str(found), (variation, str(found))
        elif variation.is_optional and isinstance(variation.path[-1], str):
            holder: object = body
            for step in variation.path:
                holder = holder[step]  # type: ignore[index]
            is_said = holder not in ({}, [])
            if is_said and outcome(ours, theirs, without(body, variation)) == found:
                silent.add(pattern_of(variation.path))
                assert list(on_the_list(ours, variation)), variation
    assert silent, "some fields are left out, and so this test can fail"


@pytest.mark.parametrize("name", REQUESTS)
def test_the_lists_speak_of_fields_that_there_are(name: str) -> None:
    known = all_patterns(name) | BEYOND_THE_TYPES.get(name, set())
    listed = {re.sub(r"\[\w+\]", "[]", pattern) for pattern in RULES[name]}
    assert listed | READ[name].keys() | WRITTEN[name].keys() <= known


@pytest.mark.parametrize("name", REQUESTS)
def test_a_field_that_nobody_knows_is_refused_by_its_path(name: str) -> None:
    theirs = next(other for other in REQUESTS if other != name)
    with pytest.raises(MalformedRequest) as refused:
        translates(name, theirs, {**BODIES[name], "surprise": {"a": 1}})
    assert refused.value.param == "surprise"
    field = "input" if "input" in BODIES[name] else "messages"
    body = copy.deepcopy(BODIES[name])
    body[field][0]["surprise"] = 0
    with pytest.raises(MalformedRequest) as refused:
        translates(name, theirs, body)
    assert refused.value.param == f"{field}[0].surprise"
