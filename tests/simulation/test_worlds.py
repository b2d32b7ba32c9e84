"""Thousands of small worlds, each with its own bad luck. A failure names the seed that repeats it:

MIDSTREAM_SEED=4711 pytest tests/simulation
"""

import os

import pytest

from tests.simulation.virtual_loop import run
from tests.simulation.world import World

SEEDS = int(os.environ.get("MIDSTREAM_SEEDS", "2000"))
BATCH = 100
FOUND = (7434, 9677, 11049)
"""Seeds that once failed: a fenced producer told the ledger that its stream had ended."""


def one_world(seed: int) -> None:
    async def live() -> None:
        await World(seed).live()

    try:
        run(live())
    except BaseException as error:
        error.add_note(f"MIDSTREAM_SEED={seed} pytest tests/simulation")
        raise


def seeds() -> list[range]:
    if "MIDSTREAM_SEED" in os.environ:
        seed = int(os.environ["MIDSTREAM_SEED"])
        return [range(seed, seed + 1)]
    return [range(first, min(first + BATCH, SEEDS)) for first in range(0, SEEDS, BATCH)]


@pytest.mark.parametrize("batch", seeds(), ids=str)
def test_every_reader_sees_exactly_the_journal(batch: range) -> None:
    for seed in batch:
        one_world(seed)


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_once_failed(seed: int) -> None:
    one_world(seed)
