"""A request goes to another dialect, and comes back meaning the same."""

import json

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from proxy.errors import MalformedRequest
from tests.wire.meanings import adapted, meaning
from tests.wire.random_requests import requests
from tests.wire.sdk_types import REQUESTS, problems
from tests.wire.translating import PAIRS, outcome, reads

RANDOM = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@RANDOM
@given(data=st.data())
def test_a_request_means_the_same_in_another_dialect(
    ours: str, theirs: str, data: st.DataObject
) -> None:
    body = data.draw(requests(ours))
    assert not problems(body, REQUESTS[ours]), "the SDK would send it"
    sent = outcome(ours, theirs, body)
    if isinstance(sent, MalformedRequest):
        assert sent.param, "a refusal names the field"
        reject()
    asked = adapted(reads(ours, json.dumps(body).encode()), theirs)
    assert meaning(reads(theirs, json.dumps(sent).encode())) == meaning(asked)
