"""Facts as numbers, on this process's sheet.

Knows which names a label may have: those of the config, and so many of them. A model that a
client made up is counted under the configured name that let it through. It never looks at a
credential, a prompt or an answer. What surprises: a stream's cells are found once, when it
begins; for each read of its provider a few of them are added to.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from proxy.observe.board import Board, Cells, private_board
from proxy.observe.exposition import Sample, expose
from proxy.observe.metrics import BY_NAME, FIRST_WAITS, GAPS, METRICS, Kind
from proxy.stream import Birth, Ending, Usage

OTHER = "other"
"""Whatever has no name of its own."""
_NAMES_MAX = 100
"""Of one label, as one process sees them. Chosen: more than a graph can show."""
METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
"""Of HTTP. What else a client makes up has one name for all."""
_UNLABELLED = tuple(metric.name for metric in METRICS if not metric.labels)

Clock = Callable[[], int]
"""Nanoseconds of a clock that never goes back, the same for all processes of the machine."""


class Names(msgspec.Struct, frozen=True):
    """The names that labels may have. `route_of` gives a model's configured name, or None."""

    route_of: Callable[[str], str | None]
    owners: Collection[str]
    providers: Collection[str]
    dialects: Mapping[str, str]
    """By the path that is asked in it."""
    version: str
    targets: Collection[str] = ()
    """As they stand in the config, such as ``openai/gpt-5``."""


_NOTHING = Names(lambda _: None, (), (), {}, "")


class Distribution:
    """A histogram's cells: one for each bucket, then the sum."""

    __slots__ = ("_bounds", "_cells")

    def __init__(self, bounds: tuple[int, ...], cells: Cells) -> None:
        self._bounds = bounds
        self._cells = cells

    def add(self, value: int) -> None:
        """Count one value."""
        cells = self._cells
        cells[bisect_left(self._bounds, value)] += 1
        cells[-1] += value


class Share(NamedTuple):
    """What one provider has used of an answer or a passage."""

    provider: str
    usage: Usage
    microdollars: int


class Counts:
    """See the module."""

    def __init__(
        self,
        board: Board | None = None,
        sheet: int | None = 0,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.clock = clock
        self._board = board or private_board()
        self._sheet = self._board.sheet(sheet)
        self._names = _NOTHING
        self._seen: dict[str, set[str]] = {}
        for name in _UNLABELLED:  # what has never happened is told as 0
            self._cells(name)
        self.append_delay = self.distribution("midstream_append_delay_seconds")
        self.delivery_delay = self.distribution("midstream_delivery_delay_seconds")
        self.store_appends = self._cells("midstream_store_appends_total")
        self.store_append = self.distribution("midstream_store_append_seconds")

    def know(self, names: Names) -> None:
        """Label by these names from now on. Who knows them serves."""
        self._names = names
        self._cells("midstream_workers")[0] = 1

    # --- cells --------------------------------------------------------------------------------

    def add(self, name: str, *values: str, count: int = 1) -> None:
        """Add to a counter or a gauge of the table, with the values of its labels in order."""
        self._cells(name, *values)[0] += count

    def distribution(self, name: str, *values: str) -> Distribution:
        """A histogram of the table."""
        return Distribution(BY_NAME[name].bounds, self._cells(name, *values))

    def _cells(self, name: str, *values: str) -> Cells:
        metric = BY_NAME[name]
        assert len(values) == len(metric.labels), f"{name} has the labels {metric.labels}"
        count = len(metric.bounds) + 2 if metric.kind is Kind.HISTOGRAM else 1
        cells = self._sheet.cells("\0".join((name, *values)).encode(), count)
        if self._sheet.is_full:
            self._sheet.is_full = False
            self._cells("midstream_metrics_overflows_total")[0] += 1
        return cells

    # --- names --------------------------------------------------------------------------------

    def model(self, model: str) -> str:
        """The configured name by which a client's model is served."""
        return self._bounded("model", self._names.route_of(model))

    def provider(self, provider: str) -> str:
        """A configured provider, or one that was when it was first seen here."""
        known = provider in self._names.providers or provider in self._seen.get("provider", ())
        return self._bounded("provider", provider if known else None)

    def target(self, target: str) -> tuple[str, str]:
        """The provider and the model of a target; of one that a client has named, `OTHER`."""
        provider, _, model = target.partition("/")
        known = target in self._names.targets
        return self.provider(provider), self._bounded("target", model if known else None)

    def owner(self, owner: str) -> str:
        """An owner of configured keys."""
        return self._bounded("owner", owner if owner in self._names.owners else None)

    def pool(self, pool: str) -> str:
        """Who shares a limit, as the config has it."""
        return self._bounded("pool", pool)

    def _bounded(self, label: str, value: str | None) -> str:
        if value is None:
            return OTHER
        seen = self._seen.setdefault(label, set())
        if value not in seen:
            if len(seen) >= _NAMES_MAX:
                return OTHER
            seen.add(value)
        return value

    # --- what has more than one number ----------------------------------------------------------

    def began(self, birth: Birth) -> "Pace":
        """A producer begins."""
        provider, model = self.provider(birth.provider), self.model(birth.model)
        self.add("midstream_streams_running", provider)
        self.add("midstream_streams_started_total", birth.dialect, provider, model)
        self.add("midstream_owner_streams_total", self.owner(birth.owner))
        return Pace(self, birth)

    def ended(self, birth: Birth, provider: str, ending: Ending, lasted_s: float) -> None:
        """A stream has its ending. `provider` was asked last."""
        provider, model = self.provider(provider), self.model(birth.model)
        self.add("midstream_streams_ended_total", birth.dialect, provider, model, ending)
        lasted = self.distribution("midstream_stream_duration_seconds", provider, model)
        lasted.add(round(max(lasted_s, 0) * 1_000_000))

    def used(self, birth: Birth, share: Share) -> None:
        """Tokens and their cost, of a stream or a passage that is over."""
        provider, model = self.provider(share.provider), self.model(birth.model)
        owner, usage = self.owner(birth.owner), share.usage
        for kind, tokens in (
            ("input", usage.input_tokens),
            ("cached_input", usage.cached_input_tokens),
            ("output", usage.output_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if tokens:
                self.add("midstream_tokens_total", provider, model, kind, count=tokens)
                self.add("midstream_owner_tokens_total", owner, kind, count=tokens)
                if usage.is_estimate:
                    self.add("midstream_guessed_tokens_total", provider, model, kind, count=tokens)
        spent = share.microdollars
        self.add("midstream_cost_microdollars_total", provider, model, count=spent)
        self.add("midstream_owner_cost_microdollars_total", owner, count=spent)

    def wasted(self, birth: Birth, provider: str, usage: Usage | None, share: float) -> None:
        """A stream has ended, and nobody had read this share of it. `provider` was asked last."""
        provider, model = self.provider(provider), self.model(birth.model)
        if share == 1:
            self.add("midstream_wasted_streams_total", provider, model)
        if usage is not None:
            tokens = int(usage.output_tokens * share)
            self.add("midstream_wasted_tokens_total", provider, model, count=tokens)

    def served(self, method: str, route: str, status: int) -> None:
        """A request was answered. `route` is a template."""
        method = method if method in METHODS else OTHER
        self.add("midstream_requests_total", method, route or OTHER, str(status))
        dialect = self._names.dialects.get(route)
        if dialect is not None and method == "POST":
            self.created(dialect, "http", status)

    def created(self, dialect: str, transport: str, status: int) -> None:
        """A call for an answer was answered."""
        self.add("midstream_creates_total", dialect, transport, f"{status // 100}xx")

    # --- what is told -----------------------------------------------------------------------------

    def counted(self, name: str) -> list[int]:
        """What a histogram of the table has counted on this sheet, whatever its labels."""
        return self._sheet.total(name.encode())[:-1] or [0] * (len(BY_NAME[name].bounds) + 1)

    def exposition(self, told: Mapping[str, Sequence[Sample]]) -> bytes:
        """All numbers of all processes, in Prometheus's text format.

        And those in `told`, by metric, which no process has counted.
        """
        samples: dict[str, list[Sample]] = {}
        for key, numbers in self._board.read().items():
            name, *values = key.decode().split("\0")
            samples.setdefault(name, []).append((values, numbers))
        samples["midstream_build_info"] = [([self._names.version], [1])]
        return expose({**samples, **told})


class Pace:
    """The times of one stream that runs here: called for each read, never for each event."""

    __slots__ = (
        "_append_delay",
        "_between",
        "_counts",
        "_first",
        "_heard_ns",
        "_model",
        "began_ns",
        "first_content_ns",
        "first_read_ns",
        "now",
    )

    def __init__(self, counts: Counts, birth: Birth) -> None:
        self.now = counts.clock
        self._counts = counts
        self._model = counts.model(birth.model)
        self._append_delay = counts.append_delay
        self.asks(birth.provider)
        self.began_ns = counts.clock()
        self.first_read_ns = 0
        """When the first events came; 0 before."""
        self.first_content_ns = 0
        """When the store had the first content; 0 before."""

    def asks(self, provider: str) -> None:
        """Who is asked from now on: its pace is told, and the wait for it with all before it."""
        names = self._counts.provider(provider), self._model
        self._first = self._counts.distribution(FIRST_WAITS, *names)
        self._between = self._counts.distribution(GAPS, *names)
        self._heard_ns = 0

    def heard(self, at_ns: int) -> None:
        """A read at this moment has brought events, and there is content."""
        if self._heard_ns:
            self._between.add((at_ns - self._heard_ns) // 1000)
        elif not self.first_read_ns:
            self.first_read_ns = at_ns
        self._heard_ns = at_ns

    def paused(self) -> None:
        """The provider was not listened to: what it sends next says nothing of its pace."""
        self._heard_ns = 0

    def accepted(self, heard_ns: int) -> None:
        """The store has taken an append whose oldest event was read at this moment."""
        self._append_delay.add((self.now() - heard_ns) // 1000)

    def spoke(self) -> None:
        """The store has the first content."""
        self.first_content_ns = self.now()
        self._first.add((self.first_content_ns - self.began_ns) // 1000)


def is_momentary(key: bytes) -> bool:
    """Whether the numbers of a board's key are true only while their process lives."""
    return BY_NAME[key.split(b"\0", 1)[0].decode()].kind is Kind.GAUGE
