"""One measurement: a load, put on one contender, and what it cost. A dict of figures each.

A figure's name says its unit. What a contender does not have (direct has no worker) is not among
its figures.
"""

import subprocess
import sys
import time
from math import ceil
from typing import Literal

import msgspec

from tests.bench import machine
from tests.bench.contenders import Contender, project_root
from tests.bench.job import READY, Heard, Job, Plan

Figures = dict[str, float]
Kind = Literal["paced", "unpaced", "create"]

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}

_LEAD_S = 0.1
"""From a job's being told to its first stream. Chosen: many times what reading it takes."""
_SLACK_S = 0.5
"""What streams run on behind the window, so that none ends within it."""
_GIVE_UP_S = 20.0
"""After the last event should have come. Chosen: a worker that is behind by more is lost."""
_SETTLE_S = 0.3
"""After the last answer: for a worker to put away what it began."""


class Settings(msgspec.Struct, frozen=True):
    """What is to be measured."""

    dialect: Literal["openai", "anthropic"]
    wants_usage: bool
    events_per_s: float
    event_bytes: int
    seconds: float
    """Length of a paced window."""
    warm_s: float
    """From the opening of the last stream to the beginning of the window."""
    opens_per_s: float
    """How fast streams are opened: paced and create."""
    unpaced_streams: int
    unpaced_events: int
    unpaced_s_max: float
    """After which an unpaced load is given up."""
    creates: int


class Sample(msgspec.Struct, frozen=True):
    """What one measurement gave."""

    figures: Figures
    failures: list[str]
    """Why streams are not whole. With any, the figures are worth nothing."""


class _Reading:
    """CPU seconds of everybody who takes part, at one moment."""

    def __init__(self, contender: Contender, provider_pid: int) -> None:
        self.at_s = time.monotonic()
        self.worker_s = sum(machine.cpu_s(pid) for pid in contender.workers)
        self.kernel_s = sum(machine.kernel_s(pid) for pid in contender.workers)
        self.store_s = sum(machine.cpu_s(pid) for pid in contender.stores)
        self.provider_s = machine.cpu_s(provider_pid)
        self.busy_s = machine.busy_s()


class _Generator:
    """A load generator: ready once it is made."""

    def __init__(self) -> None:
        self._until_s = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=project_root(),
        )
        assert self._process.stdout is not None, "piped"
        assert self._process.stdout.readline() == READY, "its first line"

    def begin(self, job: Job) -> None:
        """Put it to work."""
        self._until_s = job.give_up_ns / 1e9 + _GIVE_UP_S
        assert self._process.stdin is not None, "piped"
        self._process.stdin.write(msgspec.json.encode(job))
        self._process.stdin.close()
        self._process.stdin = None  # else `communicate` would flush it

    def is_over(self) -> bool:
        """Whether it has ended, or should have."""
        return self._process.poll() is not None or time.monotonic() > self._until_s

    def cpu_s(self) -> float:
        """CPU time so far."""
        return machine.cpu_s(self._process.pid)

    def heard(self) -> Heard:
        """What it heard, once it has ended."""
        try:
            told, _ = self._process.communicate(timeout=self._until_s - time.monotonic())
        finally:
            self._process.kill()
            self._process.wait()
        return msgspec.json.decode(told, type=Heard)


class Bench:
    """Puts loads on contenders."""

    def __init__(self, settings: Settings, provider_pid: int) -> None:
        self._settings = settings
        self._provider_pid = provider_pid

    def paced(self, contender: Contender, streams: int) -> Sample:
        """`streams` at a pace; measured in a window in which all of them run."""
        settings = self._settings
        ramp_s = streams / settings.opens_per_s
        before_s = ramp_s + settings.warm_s
        open_s = before_s + settings.seconds + _SLACK_S
        plan = self._plan(ceil(open_s * settings.events_per_s), settings.events_per_s)
        generator = _Generator()
        start_s = time.monotonic() + _LEAD_S
        window_s = (start_s + before_s, start_s + before_s + settings.seconds)
        job = self._job(contender, plan, streams, start_s, ramp_s, open_s + ramp_s, window_s)
        rss_before = sum(machine.rss_bytes(pid) for pid in contender.workers)
        generator.begin(job)
        _sleep_until(window_s[0])
        begin, load_begin_s = self._read(contender), generator.cpu_s()
        yardstick_ms = machine.yardstick_ms(lambda: time.monotonic() > window_s[1] - _LEAD_S)
        _sleep_until(window_s[1])
        end, load_end_s = self._read(contender), generator.cpu_s()
        rss = sum(machine.rss_bytes(pid) for pid in contender.workers) - rss_before
        heard = generator.heard()
        figures = _costs(contender, begin, end, "token", heard.window_tokens)
        figures |= _cores(contender, begin, end, load_end_s - load_begin_s)
        figures |= _times(heard, ("first_token", "delay", "jitter"))
        figures["tokens_per_s"] = heard.window_tokens / settings.seconds
        figures["yardstick_ms"] = yardstick_ms
        if contender.workers:
            figures["worker_kib_per_stream"] = rss / 1024 / streams
        return Sample(figures, heard.failures)

    def unpaced(self, contender: Contender) -> Sample:
        """A few streams, each as fast as it goes."""
        settings = self._settings
        plan = self._plan(settings.unpaced_events, 0)
        streams, lasts_s = settings.unpaced_streams, settings.unpaced_s_max
        heard, figures = self._whole(contender, plan, streams, 0, lasts_s, "token")
        figures["tokens_per_s"] = heard.tokens / heard.seconds if heard.tokens else 0.0
        return Sample(figures, heard.failures)

    def create(self, contender: Contender) -> Sample:
        """Answers of one token, one after the other."""
        settings = self._settings
        ramp_s = settings.creates / settings.opens_per_s
        plan = self._plan(1, 0)
        heard, figures = self._whole(contender, plan, settings.creates, ramp_s, 0, "request")
        figures |= _times(heard, ("first_token",))
        return Sample(figures, heard.failures)

    def _whole(
        self,
        contender: Contender,
        plan: Plan,
        streams: int,
        ramp_s: float,
        lasts_s: float,
        unit: str,
    ) -> tuple[Heard, Figures]:
        """A load measured from before its first stream to after its last."""
        generator = _Generator()
        start_s = time.monotonic() + _LEAD_S
        span_s = ramp_s + lasts_s
        window_s = (start_s, start_s + span_s + _GIVE_UP_S)
        job = self._job(contender, plan, streams, start_s, ramp_s, span_s, window_s)
        begin = self._read(contender)
        generator.begin(job)
        yardstick_ms = machine.yardstick_ms(generator.is_over)
        heard = generator.heard()
        time.sleep(_SETTLE_S)
        costs = _costs(contender, begin, self._read(contender), unit, heard.tokens)
        return heard, costs | {"yardstick_ms": yardstick_ms}

    def _plan(self, events: int, events_per_s: float) -> Plan:
        return Plan(events, events_per_s, self._settings.event_bytes)

    def _read(self, contender: Contender) -> _Reading:
        return _Reading(contender, self._provider_pid)

    def _job(
        self,
        contender: Contender,
        plan: Plan,
        streams: int,
        start_s: float,
        ramp_s: float,
        lasts_s: float,
        window_s: tuple[float, float],
    ) -> Job:
        return Job(
            url=contender.url + PATHS[self._settings.dialect],
            dialect=self._settings.dialect,
            wants_usage=self._settings.wants_usage,
            plan=plan,
            streams=streams,
            start_ns=int(start_s * 1e9),
            ramp_s=ramp_s,
            window_ns=(int(window_s[0] * 1e9), int(window_s[1] * 1e9)),
            give_up_ns=int((start_s + lasts_s + _GIVE_UP_S) * 1e9),
        )


def _sleep_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))


def _costs(contender: Contender, begin: _Reading, end: _Reading, unit: str, count: int) -> Figures:
    figures: Figures = {}
    count = max(1, count)  # nothing heard is a failure, and is told as one
    if contender.workers:
        figures[f"worker_us_per_{unit}"] = (end.worker_s - begin.worker_s) * 1e6 / count
        figures[f"kernel_us_per_{unit}"] = (end.kernel_s - begin.kernel_s) * 1e6 / count
    if contender.stores:
        figures[f"store_us_per_{unit}"] = (end.store_s - begin.store_s) * 1e6 / count
    return figures


def _cores(contender: Contender, begin: _Reading, end: _Reading, load_s: float) -> Figures:
    """How busy everybody was, in cores. Who took no part spoils the times, not the costs."""
    seconds = end.at_s - begin.at_s
    provider_s = end.provider_s - begin.provider_s
    worker_s, store_s = end.worker_s - begin.worker_s, end.store_s - begin.store_s
    ours_s = provider_s + worker_s + store_s + load_s
    figures = {
        "load_cores": load_s / seconds,
        "provider_cores": provider_s / seconds,
        "others_cores": max(0.0, end.busy_s - begin.busy_s - ours_s) / seconds,
    }
    if contender.workers:
        figures["worker_cores"] = worker_s / seconds
    return figures


def _times(heard: Heard, names: tuple[str, ...]) -> Figures:
    figures: Figures = {}
    for name in names:
        spread = getattr(heard, name)
        figures[f"{name}_p50_ms"] = spread.p50
        figures[f"{name}_p99_ms"] = spread.p99
    return figures
