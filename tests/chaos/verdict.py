"""Compares what every reader has read with what the provider has sent. Pure.

It knows nothing of how the product works but its promises. What surprises: a late ending is
judged by the time in which somebody could have written it, and did not. For a reader of a stream
whose worker was killed that is the time, after the kill and one lease, in which the store had
been well for one lease, seen from some worker that had served for one: before that nobody may bury.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import msgspec

from tests.chaos.plan import answer_id, has_content, is_error
from tests.chaos.record import Anomaly, Asked, Fault, History, Life, Outage, Sent, Watched

Spans: TypeAlias = Sequence[tuple[float, float]]

LATE_S = 1.0
"""How long an ending may be overdue."""


class Run(msgspec.Struct):
    """Everything that is known of a run."""

    book: Sequence[Asked | Sent]
    watched: Sequence[Watched]
    lives: Sequence[Life]
    outages: Sequence[Outage]
    lease_s: float
    stalls: Sequence[Outage] = ()
    """When the machine had no time for the run, and so perhaps for no worker."""
    lag_s: float = 0.0
    """How late the run itself was at most: no wait is known better than that."""
    noted: Sequence[Anomaly] = ()
    """What was noticed at once."""


class Wait(NamedTuple):
    """How long one reader waited for the end of a stream whose worker was killed, in seconds."""

    whole_s: float
    reachable_s: float
    """Without the time in which the store was away."""
    overdue_s: float
    """In which somebody could have written the end, and the reader would have heard it: the
    longest stretch."""


class Verdict(msgspec.Struct):
    """What was found."""

    anomalies: list[Anomaly]
    waits: list[Wait]
    endings: Counter[str]
    events: int
    """Read, by all readers."""


def judge(run: Run) -> Verdict:
    """Every promise, for every stream."""
    asked = {(line.key, line.turn): line for line in run.book if isinstance(line, Asked)}
    sent = {(line.key, line.turn): line for line in run.book if isinstance(line, Sent)}
    verdict = Verdict([*run.noted], [], Counter(), 0)
    by_key: dict[str, list[Watched]] = defaultdict(list)
    barred = _barred(run)
    for watched in run.watched:
        by_key[watched.key].append(watched)
        verdict.events += sum(history.last_id for history in watched.histories)
        for history in watched.histories:
            verdict.anomalies += history.anomalies
        verdict.anomalies += _unequal(watched)
        turn = turn_of(watched)
        verdict.anomalies += _untrue(watched, sent.get((watched.key, turn)))
        ending = watched.state[0] if watched.state else None
        verdict.endings[ending or "none"] += 1
        life = _life_of(run.lives, asked.get((watched.key, turn)))
        verdict.anomalies += _wrongly_ended(watched, ending, life, run.lives)
        if ending == "interrupted" and life is not None and life.killed_at is not None:
            waits = [_wait(history, life.killed_at, run, barred) for history in watched.histories]
            verdict.waits += waits
            verdict.anomalies += [
                Anomaly(Fault.LATE, watched.id, f"{history.reader} {wait}")
                for history, wait in zip(watched.histories, waits, strict=True)
                if wait.overdue_s > LATE_S + run.lag_s
            ]
    asks = Counter(key for key, _ in asked)
    for key, streams in by_key.items():
        verdict.anomalies += _asked_twice(key, asks[key], streams)
    return verdict


# --- what was read --------------------------------------------------------------------------------


def _unequal(watched: Watched) -> Iterable[Anomaly]:
    """All readers have read the same, to the end that the stream itself tells."""
    ending, last_id = watched.state or (None, 0)
    for history in watched.histories:
        if not history.is_over:
            yield Anomaly(Fault.ENDLESS, watched.id, f"{history.reader} {history.legs[-6:]}")
            continue
        if history.data != watched.known:
            at = _first_difference(history.data, watched.known)
            fault = Fault.LOST if at == history.last_id else Fault.CHANGED
            yield Anomaly(fault, watched.id, f"{history.reader} differs after event {at}")
        if watched.state is None:
            continue
        if history.last_id != last_id:
            what = f"{history.reader} ended at {history.last_id}, the stream at {last_id}"
            yield Anomaly(Fault.LOST, watched.id, what)
        if history.ending not in {None, ending}:
            what = f"{history.reader} was told {history.ending}, the stream is {ending}"
            yield Anomaly(Fault.WRONG_ENDING, watched.id, what)


def _first_difference(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def turn_of(watched: Watched) -> int:
    """Which ask with its key has filled this stream; 0 if no event tells."""
    first = watched.known[0] if watched.known else b""
    begin = f'{{"id":"{answer_id(watched.key, 0)}'[:-1].encode()
    return int(first[len(begin) :].partition(b'"')[0]) if first.startswith(begin) else 0


def _untrue(watched: Watched, sent: Sent | None) -> Iterable[Anomaly]:
    """The events are what the provider has sent; all of it if the answer is complete."""
    said = [] if sent is None else [data.encode() for data in sent.said]
    told = list(watched.known)
    is_failed = bool(told) and is_error(told[-1])
    ending = watched.state[0] if watched.state else None
    if is_failed:
        told.pop()
    at = _first_difference(told, said)
    if at < len(told):
        fault = Fault.CHANGED if at < len(said) else Fault.DOUBLED
        yield Anomaly(fault, watched.id, f"event {at + 1} was not sent: {told[at][:200]!r}")
    if ending == "completed" and (sent is None or not sent.is_whole or len(told) < len(said)):
        what = f"completed with {len(told)} of {len(said)} events"
        yield Anomaly(Fault.LOST, watched.id, what)
    if ending is not None and is_failed == (ending == "completed"):
        yield Anomaly(Fault.WRONG_ENDING, watched.id, f"{ending}, and the last event is another")
    ends = sum(data == b"[DONE]" or is_error(data) for data in watched.known)
    if ending is not None and ends != 1:
        yield Anomaly(Fault.WRONG_ENDING, watched.id, f"{ends} ends")


# --- how it ended ---------------------------------------------------------------------------------


def _life_of(lives: Sequence[Life], asked: Asked | None) -> Life | None:
    """The worker that produced it."""
    if asked is None:
        return None
    return next(life for life in lives if life.name == asked.life)


def _wrongly_ended(
    watched: Watched, ending: str | None, life: Life | None, lives: Sequence[Life]
) -> Iterable[Anomaly]:
    """Only the death of its worker may keep an answer from being complete."""
    if ending in {None, "completed"}:
        return
    over_at = max(history.read_at for history in watched.histories)
    suspects = lives if life is None else [life]
    if ending != "interrupted" or not any(
        each.killed_at is not None and each.killed_at < over_at for each in suspects
    ):
        known = "nobody knows of" if life is None else life.name
        what = f"{ending} at {over_at:.2f}, but its worker {known} lived"
        yield Anomaly(Fault.WRONG_ENDING, watched.id, what)


def _asked_twice(key: str, asks: int, streams: Sequence[Watched]) -> Iterable[Anomaly]:
    """A stream asks its provider once at most, and only one of a key's streams has content."""
    if asks > len(streams):
        yield Anomaly(Fault.ASKED_TWICE, key, f"{asks} asks for {len(streams)} streams")
    full = [watched.id for watched in streams if has_content(watched.known)]
    if len(full) > 1:
        yield Anomaly(Fault.ASKED_TWICE, key, f"{full} have content")
    turns = [turn_of(watched) for watched in streams if turn_of(watched)]
    if len(set(turns)) < len(turns):
        yield Anomaly(Fault.ASKED_TWICE, key, f"one ask filled several of {len(streams)} streams")


def _wait(history: History, killed_at: float, run: Run, barred: Spans) -> Wait:
    begin = max(killed_at, history.began_at)
    end = history.read_at
    away_s = sum(
        max(0.0, min(outage.end, end) - max(outage.begin, begin)) for outage in run.outages
    )
    whole_s = max(0.0, end - begin)
    return Wait(
        whole_s,
        max(0.0, whole_s - away_s),
        _overdue_s(history, killed_at + run.lease_s, end, barred),
    )


def _barred(run: Run) -> Spans:
    """When nobody may bury: while the store is away, or no worker has served for a lease."""
    spans = [(each.begin, each.end + run.lease_s) for each in (*run.outages, *run.stalls)]
    judged_until = -math.inf
    able = [
        (life.serving_at + run.lease_s, math.inf if life.ended_at is None else life.ended_at)
        for life in run.lives
        if life.serving_at is not None
    ]
    for begin, end in sorted(able):
        if begin > judged_until:
            spans.append((judged_until, begin))
        judged_until = max(judged_until, end)
    return [*spans, (judged_until, math.inf)]


def _overdue_s(history: History, begin: float, end: float, barred: Spans) -> float:
    """The longest time at a stretch: what bars it, bars it for a lease, and then it begins anew."""
    barred = [span for span in barred if span[0] < end and span[1] > begin]
    heard = [span for span in history.listening if span[1] > begin]
    edges = {begin, end, *(edge for span in (*barred, *heard) for edge in span)}
    inside = sorted(edge for edge in edges if begin <= edge <= end)
    longest_s = stretch_s = 0.0
    for one, other in pairwise(inside):
        at = (one + other) / 2
        if _is_in(barred, at):
            stretch_s = 0.0
        elif _is_in(heard, at):
            stretch_s += other - one
        longest_s = max(longest_s, stretch_s)
    return longest_s


def _is_in(spans: Spans, at: float) -> bool:
    return any(begin <= at < end for begin, end in spans)
