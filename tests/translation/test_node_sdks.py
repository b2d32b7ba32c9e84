"""The Node SDKs see what the Python SDKs do: one process puts all answers together."""

import json
import random
import subprocess
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.wire.sse import encode_batch
from tests.clients.node_sdks import FOLDER, need_node
from tests.translation.accumulated import Seen, seen
from tests.translation.answers import PAIRS, Answer, answers
from tests.translation.expected import check, expected
from tests.translation.providers import said
from tests.translation.telling import told_in_pieces

_WITHIN_S = 60.0


def accumulated(asked: list[dict[str, str]]) -> list[Any]:
    """What Node's stream helpers make of these event streams."""
    node = subprocess.run(
        ["node", "accumulate.mjs"],
        cwd=FOLDER,
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        timeout=_WITHIN_S,
        check=True,
    )
    made: list[Any] = json.loads(node.stdout)
    return made


def some_answers(dialect: str) -> list[tuple[Answer, int]]:
    """Always the same ones, each with a seed."""
    made: list[tuple[Answer, int]] = []

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(answers(dialect), st.integers(0, 2**32))
    def collect(answer: Answer, seed: int) -> None:
        made.append((answer, seed))

    collect()
    return made


def test_the_node_sdks_see_the_answer_of_the_provider() -> None:
    need_node()
    asked: list[dict[str, str]] = []
    wanted: list[tuple[Answer, Seen]] = []
    for theirs, ours in PAIRS:
        for answer, seed in some_answers(theirs):
            chance = random.Random(seed)
            events = told_in_pieces(theirs, ours, said(theirs, answer, chance), chance)
            asked.append({"dialect": ours, "stream": encode_batch(events).decode()})
            wanted.append((answer, expected(theirs, ours, answer)))
    for question, told, (answer, want) in zip(asked, accumulated(asked), wanted, strict=True):
        assert "final" in told, (answer, told)
        check(seen(question["dialect"], told["final"]), want)
