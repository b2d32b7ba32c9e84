"""What is worth telling: one method for each fact, as a line of the log, as numbers, or both.

It never takes a credential, a prompt, an answer, a query string or a header's value. What
surprises: of an error that nobody expected, its type and its frames are told and not its
message, because foreign ones quote what they choke on.

This is longer than a file should be because what may be told is to be seen in one place.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TextIO

from proxy.errors import ConfigInvalid, MidstreamError, ProviderRefused, ProviderStalled
from proxy.observe.board import Board
from proxy.observe.counts import Counts, Pace, Share
from proxy.observe.lines import Value, place_of, send_lines_to
from proxy.observe.traces import Course, Ended, Traces
from proxy.stream import Birth, Ending, StreamId, Usage

_CAUSES_MAX = 10  # chosen: ends a circle of causes, and a group of thousands


class Observer:
    """Where the proxy tells what happens. One method for each fact."""

    def __init__(self, logger: logging.Logger) -> None:
        self.counts = Counts()
        self.traces: Traces | None = None
        """What makes spans, where somebody wants them."""
        self._logger = logger

    def count_on(self, board: Board, sheet: int | None) -> None:
        """Count on this sheet from now on. What was counted before is forgotten."""
        self.counts = Counts(board, sheet)

    def started(self, url: str, store: str, *, is_open: bool) -> None:
        """It listens. `store` is the store's address without credentials."""
        self._tell(logging.INFO, "started", url=url, store=store, is_open=is_open)

    def worker_died(self, worker: int, pid: int, exit_code: int | None, lived_s: float) -> None:
        """A worker ended without being told to. A signal's number is negative."""
        self.counts.add("midstream_worker_deaths_total")
        self._tell(
            logging.ERROR,
            "worker_died",
            worker=worker,
            pid=pid,
            exit_code=exit_code,
            seconds=round(lived_s, 1),
        )

    def worker_not_started(self, worker: int, error: Exception) -> None:
        """The system did not start a process. It is tried again."""
        self._tell(
            logging.ERROR, "worker_not_started", worker=worker, exception=type(error).__name__
        )

    def worker_leaves(self, worker: int, pid: int) -> None:
        """A worker drains by itself, and another one takes its place."""
        self._tell(logging.INFO, "worker_leaves", worker=worker, pid=pid)

    def reloaded(self, needs_restart: Sequence[str]) -> None:
        """Another config is in force, but for the keys in `needs_restart`."""
        level = logging.WARNING if needs_restart else logging.INFO
        self._tell(level, "reloaded", needs_restart=", ".join(needs_restart) or None)

    def config_accepted(self) -> None:
        """A changed config is valid; each worker tells for itself that it goes by it."""
        self.counts.add("midstream_config_reloads_total", "accepted")

    def config_refused(self, invalid: ConfigInvalid) -> None:
        """A changed config is not valid, and changes nothing. Its problems quote no values."""
        self.counts.add("midstream_config_reloads_total", "refused")
        for problem in invalid.problems:
            self._tell(logging.ERROR, "config_refused", file=invalid.file or None, reason=problem)

    def draining(self, streams: int, drain_s: float) -> None:
        """It was told to stop and waits for `streams` producers, at most `drain_s` seconds."""
        self._tell(logging.INFO, "draining", streams=streams, seconds=drain_s)

    def served(
        self,
        *,
        method: str,
        route: str,
        status: int,
        ms: float,
        request: str,
        stream: StreamId | None = None,
    ) -> None:
        """One request was answered. `route` is the path's template, never the path as asked."""
        self.counts.served(method, route, status)
        self._tell(
            logging.INFO,
            "served",
            method=method,
            route=route,
            status=status,
            ms=round(ms, 1),
            request=request,
            stream=stream,
        )

    def create_answered(self, dialect: str, status: int) -> None:
        """A call for an answer that came over a WebSocket was answered."""
        self.counts.created(dialect, "websocket", status)

    def stream_started(self, birth: Birth) -> Pace:
        """A producer begins; what its times are told to."""
        self._tell(
            logging.INFO,
            "stream_started",
            stream=birth.id,
            owner=birth.owner,
            dialect=birth.dialect,
            model=birth.model,
            provider=birth.provider,
        )
        return self.counts.began(birth)

    def stream_ended(
        self,
        birth: Birth,
        ending: Ending | None,
        code: str,
        events: int,
        lasted_s: float,
        usage: Usage | None,
        *,
        provider: str,
        bytes_kept: int,
        course: Callable[[], Course],
    ) -> None:
        """A producer is done. `ending` is None if it lost its stream to another worker.

        `provider` was asked last, here and in the facts below.
        """
        counts = self.counts
        counts.add("midstream_streams_running", counts.provider(birth.provider), count=-1)
        if ending is not None:
            counts.ended(birth, provider, ending, lasted_s)
            counts.distribution("midstream_stream_events", birth.dialect).add(events)
            counts.distribution("midstream_stream_bytes", birth.dialect).add(bytes_kept)
            if self.traces is not None and self.traces.wants(birth):
                ended = Ended(birth, provider, ending, code, events, lasted_s, usage, course())
                self.traces.ended(ended, counts.clock())
        self._tell(
            logging.INFO,
            "stream_ended",
            stream=birth.id,
            ending=ending,
            code=code or None,
            events=events,
            ms=round(lasted_s * 1000, 1),
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
        )

    def stream_unread(self, birth: Birth, provider: str, usage: Usage | None, share: float) -> None:
        """A stream has ended, and nobody had read this share of its events: 1 is all of them."""
        self.counts.wasted(birth, provider, usage, share)

    def charged(self, birth: Birth, shares: Sequence[Share]) -> None:
        """What each provider has used of a stream or a passage is known."""
        for share in shares:
            self.counts.used(birth, share)

    def refused(self, kind: str, pool: str) -> None:
        """A limit refused a create. Both are names of the config."""
        self.counts.add("midstream_quota_refusals_total", self.counts.pool(pool), kind)

    def reader_came(self, transport: str, after: int) -> None:
        """A reader's cursor was opened behind event `after`."""
        self.counts.add("midstream_readers", transport)
        self.counts.add("midstream_reads_total", transport)
        if after > 0:
            self.counts.add("midstream_resumes_total", transport)

    def reader_left(self, transport: str) -> None:
        """Its cursor was closed."""
        self.counts.add("midstream_readers", transport, count=-1)

    def delivered(self, heard_ns: int) -> None:
        """The first reader has the events of an append whose oldest was read at this moment."""
        counts = self.counts
        counts.delivery_delay.add((counts.clock() - heard_ns) // 1000)

    def appended(self, appends: int, begun_ns: int) -> None:
        """The store has answered a batch of appends that was sent at this moment."""
        counts = self.counts
        counts.store_append.add((counts.clock() - begun_ns) // 1000)
        counts.store_appends[0] += appends

    def provider_failed(self, stream: StreamId, provider: str, error: MidstreamError) -> None:
        """A provider broke an answer. Its own words are not written: they may quote a prompt."""
        status = error.upstream_status if isinstance(error, ProviderRefused) else None
        name = self.counts.provider(provider)
        said = str(status) if status is not None and 300 <= status < 600 else ""
        self.counts.add("midstream_provider_errors_total", name, type(error).code, said)
        self._tell(
            logging.WARNING,
            "provider_failed",
            stream=stream,
            provider=provider,
            code=error.code,
            exception=type(error).__name__,
            upstream_status=status,
            deadline=error.deadline if isinstance(error, ProviderStalled) else None,
        )

    def asked_again(self, birth: Birth, failed: str, asked: str, kind: str, wait_s: float) -> None:
        """After a failed try another follows: `again`, the `next` target, or for the `rest`."""
        counts = self.counts
        provider = counts.provider(failed.partition("/")[0])
        counts.add("midstream_further_tries_total", provider, kind)
        milliseconds = round(wait_s * 1000)
        counts.add("midstream_retry_wait_milliseconds_total", provider, count=milliseconds)
        self._tell(
            logging.INFO,
            "asked_again",
            stream=birth.id,
            failed=failed,
            asked=asked,
            kind=kind,
            ms=milliseconds,
        )

    def resumed_upstream(self, birth: Birth, provider: str, away_s: float) -> None:
        """The line to a provider was cut in the middle of an answer, and mended after a while."""
        counts = self.counts
        counts.add("midstream_upstream_resumes_total", counts.provider(provider))
        self._tell(
            logging.INFO,
            "resumed_upstream",
            stream=birth.id,
            provider=provider,
            ms=round(away_s * 1000, 1),
        )

    def took_over(self, birth: Birth, how: str, events: int, takeovers: int) -> None:
        """A stream whose worker died goes on here: `resumed`, `asked` or `taken_up`."""
        self.counts.add("midstream_takeovers_total", how)
        self._tell(
            logging.WARNING,
            "took_over",
            stream=birth.id,
            kind=how,
            events=events,
            takeovers=takeovers,
        )

    def not_taken_over(self, birth: Birth, why: str) -> None:
        """A stream whose worker died does not go on. `why` is our own word."""
        self.counts.add("midstream_takeovers_total", "refused")
        self._tell(logging.WARNING, "not_taken_over", stream=birth.id, reason=why)

    def not_taken_up(self, birth: Birth, why: str) -> None:
        """What a provider broke could not be gone on with by another. `why` is our own word."""
        self._tell(logging.INFO, "not_taken_up", stream=birth.id, reason=why)

    def target_rests(self, target: str, reason: str, rest_s: float) -> None:
        """It has failed too often and is left alone, by all workers. Told by the one that saw it.

        `target` is a provider and a model; `reason` is our own word and the provider's status.
        """
        self.counts.add("midstream_target_rests_total", *self.counts.target(target))
        self._tell(
            logging.WARNING, "target_rests", target=target, reason=reason, seconds=round(rest_s, 1)
        )

    def target_probed(self, target: str, outcome: str) -> None:
        """A resting target was tried: it `succeeded`, `failed`, or was not heard of (`unheard`)."""
        provider, model = self.counts.target(target)
        self.counts.add("midstream_target_probes_total", provider, model, outcome)

    def target_back(self, target: str) -> None:
        """A target that rested has answered, and is asked again by all workers."""
        self._tell(logging.WARNING, "target_back", target=target)

    def store_lost(self, reason: str) -> None:
        """The store does not answer; what is not written is kept. `reason` is our own word."""
        self.counts.add("midstream_store_losses_total")
        self._tell(logging.ERROR, "store_lost", reason=reason)

    def store_back(self, away_s: float) -> None:
        """The store answers again, `away_s` seconds after `store_lost`."""
        milliseconds = round(away_s * 1000)
        self.counts.add("midstream_store_away_milliseconds_total", count=milliseconds)
        self._tell(logging.WARNING, "store_back", seconds=round(away_s, 3))

    def collector_lost(self) -> None:
        """Spans could not be sent, and are gone. Told once, until some are taken again."""
        self._tell(logging.WARNING, "collector_lost")

    def collector_back(self, spans: int) -> None:
        """Spans are taken again; so many were not, since `collector_lost`."""
        self._tell(logging.WARNING, "collector_back", spans=spans)

    def sweep_ended(
        self,
        birth: Birth,
        provider: str,
        ending: Ending,
        usage: Usage | None,
        age_s: float,
        events: int,
    ) -> None:
        """A stream was left by its worker, and this one wrote its ending."""
        self.counts.ended(birth, provider, ending, age_s)
        if self.traces is not None and self.traces.wants(birth):
            ended = Ended(birth, provider, ending, "", events, age_s, usage)
            self.traces.ended(ended, self.counts.clock())
        self._tell(logging.WARNING, "sweep_ended", stream=birth.id, ending=ending)

    def internal_error(self, error: BaseException, *, request: str | None = None) -> None:
        """A bug: the error, its causes and the members of a group, a line each."""
        self.counts.add("midstream_internal_errors_total")
        for each in _family(error):
            self._tell(
                logging.ERROR,
                "internal_error",
                request=request,
                exception=type(each).__qualname__,
                place=place_of(each),
            )

    def _tell(self, level: int, fact: str, **fields: Value) -> None:
        self._logger.log(level, fact, extra={"fields": fields})


def open_log(
    form: Literal["text", "json"], stream: TextIO, *, worker: int | None = None
) -> Observer:
    """An observer that tells everything on `stream`, a line each. See `send_lines_to`."""
    return Observer(send_lines_to(form, stream, worker))


def _family(error: BaseException) -> Iterator[BaseException]:
    """The error, the members of a group, and what each was raised from."""
    waiting, seen = [error], 0
    while waiting and seen < _CAUSES_MAX:
        each = waiting.pop(0)
        seen += 1
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is not None:
            waiting.append(cause)
