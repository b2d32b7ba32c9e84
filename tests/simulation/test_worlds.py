"""Thousands of small worlds, each with its own bad luck. A failure names the seed that repeats it:

MIDSTREAM_SEED=4711 pytest tests/simulation/test_worlds.py
"""

import pytest

from tests.simulation.seeds import batches, one_world
from tests.simulation.world import World

SEEDS = 2000
THESE = "tests/simulation/test_worlds.py"
FOUND = (7434, 9677, 11049)
"""Seeds that once failed: a fenced producer told the ledger that its stream had ended."""


@pytest.mark.parametrize("batch", batches(SEEDS), ids=str)
def test_every_reader_sees_exactly_the_journal(batch: range) -> None:
    for seed in batch:
        one_world(World, seed, THESE)


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_once_failed(seed: int) -> None:
    one_world(World, seed, THESE)
