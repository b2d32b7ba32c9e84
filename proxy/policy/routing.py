"""In which order the targets of a route are asked.

Pure: chance and what runs are given to it. It leaves nobody out; who rests, and who refuses, is
found out later. What surprises: `weighted` is not only about the first. Those that follow are
drawn by weight as well, so that what a target cannot take falls to the others by their shares.
"""

from collections.abc import Callable, Sequence
from typing import assert_never

from proxy.policy.routes import Strategy, Target


def in_order(
    strategy: Strategy,
    targets: Sequence[Target],
    draw: Callable[[], float],
    running: Callable[[Target], int],
) -> Sequence[Target]:
    """All `targets`, the one to be asked first before the others.

    `draw` gives numbers from 0 up to but not with 1; `running` says how many answers a target is
    making now.
    """
    match strategy:
        case Strategy.FAILOVER:
            return targets
        case Strategy.WEIGHTED:
            return _drawn(targets, draw)
        case Strategy.LEAST_BUSY:
            return sorted(targets, key=lambda target: running(target) / target.weight)
    assert_never(strategy)


def _drawn(targets: Sequence[Target], draw: Callable[[], float]) -> Sequence[Target]:
    rest, drawn = list(targets), []
    while len(rest) > 1:
        mark = draw() * sum(target.weight for target in rest)
        for place, target in enumerate(rest):  # noqa: B007 - the last one, if rounding passes it
            mark -= target.weight
            if mark < 0:
                break
        drawn.append(rest.pop(place))
    return drawn + rest
