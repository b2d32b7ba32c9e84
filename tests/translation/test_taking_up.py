"""An answer that another provider has gone on with is one answer to the SDKs."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ProviderUntranslatable
from proxy.stream import Event
from proxy.wire.deltas import Kind
from proxy.wire.sse import encode_batch
from proxy.wire.taking_up import Continuation
from tests.translation.accumulated import Clients, Seen
from tests.translation.answers import CHAT, DIALECTS, MESSAGES, RESPONSES, Answer, answers
from tests.translation.joining import USED, check_events, heard, joined, taken_or_why_not
from tests.translation.providers import said
from tests.translation.telling import ALL
from tests.wire import recorded

SHORT = {
    CHAT: "usage.chat.sse",
    MESSAGES: "text.messages.sse",
    RESPONSES: "text.responses.sse",
}
LEGS = [(ours, theirs) for ours in DIALECTS for theirs in DIALECTS]
REPEATED = 12
"""Characters that are left out where both recordings are the same."""
NEVER = frozenset({"tool_call", "refusal", "citations", "reasoning", "unheard", "gaps"})


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    all_of_them = Clients()
    yield all_of_them
    all_of_them.close()


def text_of(seen: Seen) -> str:
    return "".join(part.text for part in seen.parts if part.kind == "text")


def refuses(answer: Answer) -> bool:
    """Then some of what a client reads as text may be no text of the answer's."""
    return bool(answer.explanation) or any(part.kind == "refusal" for part in answer.parts)


def names_of(dialect: str) -> list[str]:
    end = f".{dialect.partition('.')[2]}.sse"
    return [name for name in recorded.ALL if name.endswith(end) and not name.startswith("long")]


def text_so_far(ours: str, events: list[Event]) -> str:
    deltas = [delta for event in events for delta in ALL[ours].deltas(event.data)]
    return "".join(delta.text for delta in deltas if delta.kind is Kind.TEXT)


@pytest.mark.parametrize(("ours", "theirs"), LEGS)
@pytest.mark.parametrize("first", DIALECTS)
def test_recordings_go_on_after_every_event(
    clients: Clients, first: str, ours: str, theirs: str
) -> None:
    raw = recorded.raw(SHORT[theirs])
    second = clients.accumulate(theirs, raw)
    cuts = 0
    for name in names_of(first):
        try:
            whole = heard(first, ours, recorded.raw(name))
        except ProviderUntranslatable:
            continue
        for cut in range(len(whole)):
            events = whole[:cut]
            taken = taken_or_why_not(ours, theirs, events)
            if isinstance(taken, str):
                assert taken in NEVER, (name, cut)
                continue
            all_of_it = joined(events, taken, raw)
            check_events(ours, all_of_it)
            if not isinstance(taken, Continuation):
                assert all_of_it[-1].data == whole[-1].data
                continue
            cuts += 1
            folded = clients.read(ours, ALL[ours].fold(all_of_it))
            before, after = text_so_far(ours, events), text_of(second)
            is_repeated = len(before) >= REPEATED and after.startswith(before)
            text = after if is_repeated else before + after
            assert text_of(folded) == text, (name, cut)
            assert folded.usage.output == USED.output_tokens + second.usage.output
            assert folded.usage.input == USED.input_tokens + second.usage.input
            if cut % 3 == 0:  # the SDKs take a while
                assert clients.accumulate(ours, encode_batch(all_of_it)) == folded, (name, cut)
    assert cuts > 10


@pytest.mark.parametrize(("ours", "theirs"), LEGS)
def test_any_answer_goes_on_with_any_other(clients: Clients, ours: str, theirs: str) -> None:
    @settings(max_examples=40, deadline=None)
    @given(
        first=st.sampled_from(DIALECTS).flatmap(
            lambda name: st.tuples(st.just(name), answers(name))
        ),
        second=answers(theirs),
        seed=st.integers(0, 2**32),
        data=st.data(),
    )
    def compare(first: tuple[str, Answer], second: Answer, seed: int, data: st.DataObject) -> None:
        chance = random.Random(seed)
        whole = heard(first[0], ours, said(*first, chance))
        events = whole[: data.draw(st.integers(0, len(whole) - 1))]
        taken = taken_or_why_not(ours, theirs, events)
        if isinstance(taken, str):
            assert taken in NEVER
            return
        all_of_it = joined(events, taken, said(theirs, second, chance))
        check_events(ours, all_of_it)
        accumulated = clients.accumulate(ours, encode_batch(all_of_it))
        assert accumulated == clients.read(ours, ALL[ours].fold(all_of_it))
        if isinstance(taken, Continuation) and not refuses(second):
            wanted = "".join(part.text for part in second.parts if part.kind == "text")
            assert text_of(accumulated).endswith(wanted)

    compare()
