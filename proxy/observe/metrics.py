"""Every number that ``GET /metrics`` tells: its name, its labels, what it means.

This table is the documentation and the only list of them. Each is the sum over all workers of
one `midstream serve`; those of several machines are added by whoever collects them. Labels have
few values: names of the config, words of the contract, status codes. What a client makes up is
never one.
"""

import enum
from typing import Final

import msgspec

MICRO: Final = 1_000_000
WAIT_STEPS: Final = 4
WAIT_BOUNDS: Final = tuple(
    round(1000 * 2 ** (step / WAIT_STEPS)) for step in range(16 * WAIT_STEPS + 1)
)
"""Of waits for tokens: from 1 ms to 66 s in microseconds, by the fourth root of two. Chosen: a
quantile is right to a tenth where they are all at hand, and Prometheus is told each doubling."""
FIRST_WAITS: Final = "midstream_time_to_first_token_seconds"
GAPS: Final = "midstream_time_between_tokens_seconds"


class Kind(enum.StrEnum):
    """What a number does, in Prometheus's words."""

    COUNTER = "counter"
    """Grows, for as long as the supervisor lives."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One row of the table. `bounds` are those of a histogram, in what is kept.

    Times are kept in whole microseconds and told in seconds, quotas in millionths: `scale` is
    what is kept for one that is told. Of the bounds each `told_every`-th is told, and the first.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    bounds: tuple[int, ...] = ()
    scale: int = 1
    told_every: int = 1


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"midstream_{name}_total", Kind.COUNTER, tuple(labels.split()), meaning)


def _gauge(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"midstream_{name}", Kind.GAUGE, tuple(labels.split()), meaning)


def _seconds(name: str, labels: str, meaning: str, bounds_ms: tuple[float, ...]) -> Metric:
    bounds = tuple(round(bound * 1000) for bound in bounds_ms)
    name, names = f"midstream_{name}_seconds", tuple(labels.split())
    return Metric(name, Kind.HISTOGRAM, names, meaning, bounds, MICRO)


def _waits(name: str, labels: str, meaning: str) -> Metric:
    name, names = f"midstream_{name}_seconds", tuple(labels.split())
    return Metric(name, Kind.HISTOGRAM, names, meaning, WAIT_BOUNDS, MICRO, WAIT_STEPS)


def _quota(name: str, labels: str, meaning: str) -> Metric:
    names = tuple(labels.split())
    return Metric(f"midstream_quota_{name}", Kind.GAUGE, names, meaning, scale=MICRO)


def _sizes(name: str, labels: str, meaning: str, bounds: tuple[int, ...]) -> Metric:
    names = tuple(labels.split())
    return Metric(f"midstream_{name}", Kind.HISTOGRAM, names, meaning, bounds)


_DELAY_MS = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 25, 50, 100, 250, 1000)
"""Chosen: fine where a healthy store is (0.2 to 2 ms), coarse where something is wrong."""
_LASTED_MS = (100, 250, 500, 1000, 2500, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000)
_EVENTS = (1, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_BYTES = tuple(4**power * 1024 for power in range(9))

METRICS: Final = (
    # --- streams
    _gauge("streams_running", "provider", "Streams that are being produced."),
    _counter("streams_started", "dialect provider model", "Producers that began."),
    _counter(
        "streams_ended",
        "dialect provider model ending",
        "Streams that ended, by how. Those of dead workers are with whoever wrote their ending.",
    ),
    _seconds(
        "stream_duration",
        "provider model",
        "From the create to the ending.",
        _LASTED_MS,
    ),
    _sizes("stream_events", "dialect", "Events of a journal whose producer ended it.", _EVENTS),
    _sizes("stream_bytes", "dialect", "Bytes of such a journal's events.", _BYTES),
    # --- calls
    _counter("requests", "method route status", "HTTP requests answered, WebSockets ended."),
    _counter(
        "creates",
        "dialect transport status",
        "Calls for an answer, by the class of their status (2xx, 4xx, 5xx).",
    ),
    # --- tokens and money
    _counter(
        "tokens",
        "provider model type",
        "Tokens of streams that have ended: as their provider counted them, else as guessed. type "
        "is input (with cached_input in it), cached_input, output (with reasoning in it), or "
        "reasoning.",
    ),
    _counter(
        "guessed_tokens",
        "provider model type",
        "Those of them in usage that is marked as an estimate: the provider had not said all of "
        "it when the stream ended.",
    ),
    _counter("owner_tokens", "owner type", "The same for each owner."),
    _counter("owner_streams", "owner", "Producers that began, for each owner."),
    _counter("cost_microdollars", "provider model", "What streams cost, in millionths of a USD."),
    _counter("owner_cost_microdollars", "owner", "The same for each owner."),
    _counter(
        "wasted_tokens",
        "provider model",
        "Output tokens that nobody had read when their stream ended and nobody was reading it, by "
        "their share of its events. Not known, and not in it: what was read from another worker "
        "than the one that made it, and streams of dead workers.",
    ),
    _counter("wasted_streams", "provider model", "Streams that nobody had read when they ended."),
    _counter("quota_refusals", "pool kind", "Creates that a limit refused, by whose and which."),
    _quota(
        "used",
        "pool kind",
        "What is used or held of a limit, in the store's whole namespace: the same from every "
        "machine. In the limit's own units, money in USD, a rate's as it drains. Missing while the "
        "store does not answer.",
    ),
    _quota("limit", "pool kind", "What it may reach, likewise."),
    _gauge(
        "quota_pools_untold",
        "",
        "Pools of the config beyond the hundred that are told: each key's own come last.",
    ),
    # --- speed
    _waits(
        "time_to_first_token",
        "provider model",
        "From the start of a producer until the store has the first content.",
    ),
    _waits(
        "time_between_tokens",
        "provider model",
        "Between two reads of a provider that brought events, from the first content on.",
    ),
    _seconds(
        "append_delay",
        "",
        "What Midstream adds to an event before it may be seen: from the read that brought it "
        "until the store has accepted it. Counted once for each append.",
        _DELAY_MS,
    ),
    _seconds(
        "delivery_delay",
        "",
        "From the same read until the first reader that waits in the same worker has the event, "
        "ready to be sent. Counted once for each append.",
        _DELAY_MS,
    ),
    # --- readers
    _gauge("readers", "transport", "Readers that are connected, or whose poll waits."),
    _counter("reads", "transport", "Reads that began, resumes among them."),
    _counter(
        "resumes",
        "transport",
        "Reads that began after an event, not at the beginning. Each poll but the first is one.",
    ),
    # --- what breaks
    _counter(
        "provider_errors",
        "provider code status",
        "Answers that a provider broke. status is the provider's own, where it sent one.",
    ),
    _counter(
        "further_tries",
        "provider kind",
        "Tries that followed one that this provider failed: again, at the next target, or for the "
        "rest of what it had begun.",
    ),
    _counter(
        "retry_wait_milliseconds", "provider", "What answers waited for that, before such tries."
    ),
    _counter(
        "upstream_resumes",
        "provider",
        "Times that the rest of an answer was had from its provider after the line to it was cut.",
    ),
    _counter(
        "takeovers",
        "outcome",
        "Streams with a recipe whose worker died: resumed at the provider, asked anew, taken_up by "
        "a target that goes on from the text so far, or refused, and so interrupted.",
    ),
    _gauge(
        "target_resting",
        "provider model",
        "1 for a target that has failed and is left alone, in the store's whole namespace: the "
        "same from every machine. model is the provider's name of it; those that clients have "
        "named are added up as other. Missing while none rests.",
    ),
    _counter(
        "target_rests",
        "provider model",
        "Rests that began, with whoever saw the failure that was one too many.",
    ),
    _counter(
        "target_probes",
        "provider model outcome",
        "Requests that tried a resting target: succeeded, failed, or unheard (cancelled, or "
        "refused for what the client did wrong).",
    ),
    _seconds("store_append", "", "Round trips of appends, many streams in one.", _DELAY_MS),
    _counter("store_appends", "", "Appends that the store has answered."),
    _counter("store_losses", "", "Times that the store was lost."),
    _counter("store_away_milliseconds", "", "How long it was away, told when it is back."),
    _counter("internal_errors", "", "Bugs: each has its lines in the log."),
    _gauge("workers", "", "Processes that serve."),
    _counter("worker_deaths", "", "Workers that ended without being told to, and were replaced."),
    _counter("config_reloads", "result", "Configs that were read again: accepted, or refused."),
    _counter("metrics_overflows", "", "Series that found no room: their numbers are missing."),
    _gauge("build_info", "version", "1 for the version that runs."),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
