"""Which worlds a run goes through, and how a failure says what repeats it.

`MIDSTREAM_SEEDS` is how many there are, `MIDSTREAM_SEED` the only one.
"""

import os
from typing import Protocol

from tests.simulation.virtual_loop import run

BATCH = 100


class Living(Protocol):
    """A world: it lives until all is checked."""

    async def live(self) -> None: ...


class NewWorld(Protocol):
    """Called inside the loop, because a world starts tasks."""

    def __call__(self, seed: int, /) -> Living: ...


def one_world(new_world: NewWorld, seed: int, tests: str) -> None:
    """Live through it. A failure names the line that reruns it, of these tests."""

    async def live() -> None:
        await new_world(seed).live()

    try:
        run(live())
    except BaseException as error:
        error.add_note(f"MIDSTREAM_SEED={seed} pytest {tests}")
        raise


def batches(count: int) -> list[range]:
    """The seeds of this run: so many, if nothing else is asked for."""
    if "MIDSTREAM_SEED" in os.environ:
        seed = int(os.environ["MIDSTREAM_SEED"])
        return [range(seed, seed + 1)]
    count = int(os.environ.get("MIDSTREAM_SEEDS", str(count)))
    return [range(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
