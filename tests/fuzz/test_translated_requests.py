"""Requests that are broken anywhere are refused by a path, and never break a translator."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import MalformedRequest
from tests.wire.random_requests import requests
from tests.wire.translating import BODIES, PAIRS, Object, reads, writes

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each holder and key in a body."""
    found: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def translate(ours: str, theirs: str, body: bytes) -> None:
    try:
        writes(theirs, reads(ours, body))
    except MalformedRequest as error:
        assert error.param  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_broken_request_is_refused_by_a_path(ours: str, theirs: str, data: st.DataObject) -> None:
    body: Object = copy.deepcopy(data.draw(requests(ours)))
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(places(body)))
        holder[key] = data.draw(JUNK)
    translate(ours, theirs, json.dumps(body).encode())


DEEP = b"[" * 100_000 + b"]" * 100_000
LONE = b'"\\ud83d"'
HUGE = b"1" + b"0" * 500


@pytest.mark.parametrize("junk", [DEEP, LONE, HUGE, b"1e999", b'"\\u0000"'])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_junk_in_any_field_of_a_small_request_breaks_nothing(
    ours: str, theirs: str, junk: bytes
) -> None:
    for number in range(len(places(copy.deepcopy(BODIES[ours])))):
        body = copy.deepcopy(BODIES[ours])
        holder, key = places(body)[number]
        if key == "stream":
            continue
        holder[key] = "JUNK"
        text = json.dumps(body).encode().replace(b'"JUNK"', junk)
        try:
            writes(theirs, reads(ours, text))
        except MalformedRequest as error:
            assert len(str(error)) < 2000  # noqa: PT017
