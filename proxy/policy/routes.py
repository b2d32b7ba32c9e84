"""Which provider serves a model: names and patterns, and the targets behind them.

Owns the matching. It knows no provider, only their names and dialects. What surprises is the
star: alone behind a provider (``openai/*``) it stands for the client's whole name, so that
``gpt-*`` may pass through unchanged; but where the pattern ends in ``/*`` (``groq/*``) it
stands for what comes after the slash, because there the first part chose the provider. Within
a longer target (``vllm/meta/*``) it always stands for what the pattern's star matched.
"""

import enum
from collections.abc import Collection, Mapping, Sequence

import msgspec

from proxy.errors import ModelNotFound
from proxy.stream import Price

SILENT_TOKENS_PER_S = 200
"""Chosen: the fastest models that keep their reasoning to themselves write some 150."""

MODEL_CHARS_MAX = 200
"""The longest model name that is looked up. Chosen: several times the longest there is."""


class Strategy(enum.StrEnum):
    """In which order the targets of a route are asked: see `proxy.policy.routing`."""

    FAILOVER = "failover"
    WEIGHTED = "weighted"
    LEAST_BUSY = "least_busy"


class Unstreamed(enum.StrEnum):
    """How an answer that a client wants in one piece is had from its provider."""

    FOLD = "fold"
    """As a stream, which is folded."""
    DIRECT = "direct"
    """In one piece too."""


class Target(msgspec.Struct, frozen=True):
    """A (provider, model) pair that can serve a name. A route's own may hold a star."""

    provider: str
    model: str
    price: Price | None = None
    """None if nobody has said what it costs."""
    silent_tokens_per_s: int = SILENT_TOKENS_PER_S
    """How many tokens a second of silence may be, at most: see D16."""
    weight: int = 1
    """Its share, against the route's other targets; at least 1."""
    parameters: Mapping[str, msgspec.Raw] = {}
    """Top-level fields of its requests, as JSON, over what the client says."""
    prefill: bool | None = None
    """Whether its model goes on with the beginning of an answer; None if nobody has said so."""

    @property
    def name(self) -> str:
        """As the config writes it."""
        return f"{self.provider}/{self.model}"


class Route(msgspec.Struct, frozen=True):
    """A configured model: the name clients ask for, perhaps with one star, and who serves it."""

    name: str
    targets: tuple[Target, ...]
    """In the order of the config, at least one."""
    strategy: Strategy = Strategy.FAILOVER
    continue_after_failure: bool = False
    """Whether another request goes on with an answer whose provider failed in the middle."""
    unstreamed: Unstreamed = Unstreamed.FOLD

    @property
    def is_pattern(self) -> bool:
        """Whether the name stands for many."""
        return "*" in self.name

    def serve(self, model: str) -> "Route | None":
        """The route with the targets for a client's `model`; None if none of them is for it."""
        matched = match(self.name, model)
        if matched is None:
            return None
        served = (self._serve(target, model, matched) for target in self.targets)
        targets = tuple(target for target in served if target.model)
        return msgspec.structs.replace(self, targets=targets) if targets else None

    def _serve(self, target: Target, model: str, matched: str) -> Target:
        """Without a model if the star stands for nothing."""
        if "*" not in target.model:
            return target
        if target.model == "*" and not self.name.endswith("/*"):
            return msgspec.structs.replace(target, model=model)
        return msgspec.structs.replace(target, model=target.model.replace("*", matched))


class Routes:
    """All configured models."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact = {route.name: route for route in routes if not route.is_pattern}
        patterns = [route for route in routes if route.is_pattern]
        self.patterns: Sequence[Route] = sorted(
            patterns, key=lambda route: len(route.name), reverse=True
        )
        """The longest first: the order in which they are tried."""

    def resolve(self, model: str, allowed: Collection[str] | None = None) -> Route:
        """Who serves `model`, for a caller that may use `allowed` (None: all).

        Its targets have their own names for it. The exact name wins over patterns, a longer
        pattern over a shorter one, the earlier over the later. Raises
        `ModelNotFound` also for what exists and is not allowed.
        """
        route = self._find(model) if is_allowed(allowed, model) else None
        if route is None:
            raise ModelNotFound(model)
        return route

    def name_of(self, model: str) -> str | None:
        """The configured name, which may be a pattern, by which `model` is served; None if none."""
        found = self._find(model)
        return None if found is None else found.name

    def _find(self, model: str) -> Route | None:
        if not 0 < len(model) <= MODEL_CHARS_MAX:
            return None
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        served = (route.serve(model) for route in self.patterns)
        return next((route for route in served if route is not None), None)

    def names(self, allowed: Collection[str] | None = None) -> Sequence[str]:
        """The single names that can be asked for, in the order of the config.

        What patterns stand for only their providers know; but a name that a caller is
        explicitly allowed is one, where a pattern serves it.
        """
        names = [name for name in self._exact if is_allowed(allowed, name)]
        others = [name for name in allowed or () if "*" not in name and name not in self._exact]
        return [*names, *(name for name in others if self._find(name) is not None)]


def is_allowed(allowed: Collection[str] | None, model: str) -> bool:
    """Whether a list of names and patterns (None: everything) includes `model`."""
    return allowed is None or any(match(name, model) is not None for name in allowed)


def match(name: str, model: str) -> str | None:
    """What the star of `name` matched in `model`, "" where both are equal; None if neither."""
    head, star, tail = name.partition("*")
    if not star:
        return "" if name == model else None
    fits = len(model) >= len(head) + len(tail) and model.startswith(head) and model.endswith(tail)
    return model[len(head) : len(model) - len(tail)] if fits else None


def in_both(one: Collection[str], other: Collection[str]) -> tuple[str, ...]:
    """The names and patterns that stand for exactly what both lists include."""
    found = (name for first in one for second in other for name in _meet(first, second))
    return tuple(dict.fromkeys(found))


def _meet(one: str, other: str) -> tuple[str, ...]:
    """What both of two names or patterns include.

    Beside the pattern with the longer head and the longer tail there are names too short for it,
    in which the two overlap: `aba` is in both `ab*` and `*ba`.
    """
    if "*" not in one or "*" not in other:
        name, within = (one, other) if "*" not in one else (other, one)
        return (name,) if match(within, name) is not None else ()
    (head, _, tail), (other_head, _, other_tail) = one.partition("*"), other.partition("*")
    head, short_head = sorted((head, other_head), key=len, reverse=True)
    tail, short_tail = sorted((tail, other_tail), key=len, reverse=True)
    if not head.startswith(short_head) or not tail.endswith(short_tail):
        return ()
    overlaps = range(1, min(len(head), len(tail)) + 1)
    names = (head + tail[count:] for count in overlaps if head.endswith(tail[:count]))
    both = (name for name in names if None not in {match(one, name), match(other, name)})
    return (f"{head}*{tail}", *both)
