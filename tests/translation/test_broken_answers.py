"""An answer that a provider breaks off, anywhere, is an error to the SDKs, and never a success."""

import random
from collections.abc import Iterator

import anthropic
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ProviderTruncated
from proxy.stream import Ending, Event, Frame
from proxy.wire.dialect import SoFar
from proxy.wire.sse import encode_batch
from tests.translation.accumulated import Clients
from tests.translation.answers import PAIRS, RESPONSES, Answer, answers
from tests.translation.providers import said
from tests.translation.telling import ALL, BIRTH, frames_of, numbered, translator


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    all_of_them = Clients()
    yield all_of_them
    all_of_them.close()


def broken_off(theirs: str, ours: str, heard: list[Frame]) -> list[Event]:
    """What a client gets if the provider's line breaks after these."""
    one = translator(theirs, ours)
    frames = [own for frame in heard for own in one.hear(frame)]
    assert not one.is_complete
    events = numbered(frames)
    problem = ProviderTruncated().problem()
    last = ALL[ours].last_frames(Ending.FAILED, problem, SoFar(BIRTH, len(events), events))
    return numbered([*frames, *last])


def check_fails(clients: Clients, ours: str, events: list[Event]) -> None:
    """The SDK raises what an error of the API is, and nothing of its own before that."""
    if ours == RESPONSES:  # which tells it as a last event, and not by raising
        if events[0].name != "response.created":
            return  # nothing was heard: a client gets an HTTP status
        last = clients.last_response_event(encode_batch(events))
        assert last["type"] == "response.failed"
        assert last["response"]["error"]["code"] == "provider_truncated"
        assert last["sequence_number"] == events[-1].id - 1
        return
    with pytest.raises((openai.APIError, anthropic.APIStatusError)) as raised:
        clients.accumulate(ours, encode_batch(events))
    assert isinstance(raised.value, openai.APIError | anthropic.APIStatusError)
    assert "provider_truncated" in str(raised.value.body)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_the_sdks_see_an_error_wherever_the_provider_stops(
    clients: Clients, theirs: str, ours: str
) -> None:
    @settings(max_examples=30, deadline=None)
    @given(answers(theirs), st.integers(0, 2**32), st.data())
    def compare(answer: Answer, seed: int, data: st.DataObject) -> None:
        raw = said(theirs, answer, random.Random(seed))
        heard = frames_of(raw)
        count = data.draw(st.integers(0, len(heard) - 1))
        events = broken_off(theirs, ours, heard[:count])
        check_fails(clients, ours, events)
        ALL[ours].fold(events)

    compare()
