"""Any answer of any provider is, in any other dialect, the same answer to the real SDKs."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.sse import encode_batch
from tests.translation.accumulated import Clients
from tests.translation.answers import PAIRS, Answer, answers
from tests.translation.expected import check, expected
from tests.translation.providers import said
from tests.translation.telling import ALL, told_in_pieces


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    all_of_them = Clients()
    yield all_of_them
    all_of_them.close()


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_the_sdks_see_the_answer_of_the_provider(clients: Clients, theirs: str, ours: str) -> None:
    @settings(max_examples=80, deadline=None)
    @given(answers(theirs), st.integers(0, 2**32))
    def compare(answer: Answer, seed: int) -> None:
        chance = random.Random(seed)
        raw = said(theirs, answer, chance)
        events = told_in_pieces(theirs, ours, raw, chance)
        wanted = expected(theirs, ours, answer)
        check(clients.accumulate(ours, encode_batch(events)), wanted)
        check(clients.read(ours, ALL[ours].fold(events)), wanted)

    compare()
