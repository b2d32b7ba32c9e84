"""Ids and heartbeats between every two events disturb no SDK."""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.clients.conftest import APP_KEY
from tests.clients.hearing import Heard, How, Kind, question
from tests.clients.recording_server import (
    ENDS,
    Pace,
    RecordingServer,
    asking_for_usage,
    blocks_of,
    is_event,
    recorded,
)
from tests.clients.sdks import PAIRS, RESPONSES, Directly, Sdks
from tests.server import RECORDINGS, Served

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
"""By the helper of responses, of an item of a type that it does not know."""
_PACED_EVENTS_MAX = 30
"""Of one recording: a heartbeat takes 0.1 s, and the 30th is no other than the 300th."""
_WAYS: tuple[How, How] = ("stream", "helper")


class Answer(NamedTuple):
    """One recording, heard in one way, from both sides."""

    kind: Kind
    name: str
    how: How
    pace: Pace
    direct: Heard
    through: Heard

    def events(self) -> int:
        """How many the recording has."""
        return sum(map(is_event, blocks_of(RECORDINGS / f"{self.name}{ENDS[self.kind]}")))


Answers = Mapping[tuple[Kind, str], Sequence[Answer]]


@pytest.fixture(scope="module")
def answers(hasty: Served, recordings: RecordingServer, sdks: Sdks, directly: Directly) -> Answers:
    """All SDKs hear all recordings at once: the time goes in waiting for heartbeats."""
    tee = recordings.tee(hasty.url)

    def hear(pair: tuple[Kind, str]) -> list[Answer]:
        kind, sdk = pair
        fields = asking_for_usage(kind)  # else that event would be taken out
        cases = list(itertools.product(recorded(kind), _WAYS))
        paces = {case: Pace(_PACED_EVENTS_MAX) for case in cases}
        recordings.paces |= {_name(*pair, *case): pace for case, pace in paces.items()}
        asked = [
            question(kind, how, f"recorded.{kind}/{name}~{_name(*pair, name, how)}", **fields)
            for name, how in cases
        ]
        plain = [question(kind, how, name, **fields) for name, how in cases]
        direct = directly.ask(kind, sdk, plain)
        through = sdks[sdk](kind, tee, asked, key=APP_KEY)
        return [
            Answer(kind, *case, paces[case], before, after)
            for case, before, after in zip(cases, direct, through, strict=True)
        ]

    pairs = [*PAIRS, *RESPONSES]
    with ThreadPoolExecutor(len(pairs)) as threads:
        return dict(zip(pairs, threads.map(hear, pairs), strict=True))


def _name(*words: str) -> str:
    return "-".join(words)


@pytest.mark.parametrize(("kind", "sdk"), [*PAIRS, *RESPONSES])
def test_with_a_heartbeat_after_every_event_the_objects_are_the_same(
    kind: Kind, sdk: str, answers: Answers
) -> None:
    assert answers[kind, sdk]
    for answer in answers[kind, sdk]:
        assert answer.direct.events, answer.name
        assert answer.through == answer.direct, answer.name


@pytest.mark.parametrize(("kind", "sdk"), [*PAIRS, *RESPONSES])
def test_the_heartbeats_and_ids_were_there(kind: Kind, sdk: str, answers: Answers) -> None:
    for answer in answers[kind, sdk]:
        if answer.direct.error is not None:  # Node's helper leaves at an item that it does not know
            continue
        assert answer.pace.ids == list(range(1, answer.events() + 1)), answer.name
        gaps = range(1, min(answer.events() - 1, _PACED_EVENTS_MAX) + 1)
        assert set(gaps) <= answer.pace.heartbeats_after, answer.name
