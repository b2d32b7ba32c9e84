"""Where an answer can be when it is cancelled, each as what a provider does then: a table."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.faults.fault import begun, plain, stream
from tests.faults.provider import Script
from tests.faults.words import Words
from tests.upstream.fake_provider import Deaf, Send, Sleep, Stall, Step, chunk, head, whole

_PACE_S = 0.05


class Phase(NamedTuple):
    """What the provider does; and whether the POST has been answered by then."""

    script: Script
    is_answered: bool = False
    is_connected: bool = True
    """Whether the provider's connection is open in that phase."""


def _slowly(said: Words) -> Sequence[Step]:
    pieces: list[Step] = [Sleep(_PACE_S), Send(chunk(said.content[1]))]
    return [Send(head() + chunk(begun(said))), *pieces * 1000]


PHASES: Mapping[str, Phase] = {
    "waiting for headers": Phase(plain(Stall())),
    "waiting for the rest of the headers": Phase(plain(Send(head()[:-2]), Stall())),
    "waiting for the first event": Phase(plain(Send(head()), Stall())),
    "holding back": Phase(lambda said: stream(*said.start, then=(Stall(),))),
    "within the content": Phase(
        _slowly,
        is_answered=True,
    ),
    "stalled after content": Phase(
        lambda said: stream(begun(said), then=(Stall(),)), is_answered=True
    ),
    "with a provider that reads nothing": Phase(plain(Deaf(), Stall())),
    "waiting to ask again": Phase(
        lambda _: whole(429, b"", [("retry-after", "7")]), is_connected=False
    ),
}

MOVES: Mapping[str, Phase] = {
    "asking the next": Phase(lambda _: whole(401, b"", [])),
    "taking up": Phase(lambda said: stream(begun(said)), is_answered=True),
}
"""What a first target does so that another one is asked, for all or for the rest."""
