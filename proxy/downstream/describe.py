"""Streams and workers in words: their state as JSON, and the headers that name a stream."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from proxy.policy.quotas import cost
from proxy.relay.estimate import accounted, cost_of
from proxy.relay.ports import Report
from proxy.relay.reporter import readers_of
from proxy.stream import Leg, State, StreamId, Usage

_MICRODOLLARS = 1_000_000
"""In a dollar."""


class StreamError(msgspec.Struct, frozen=True):
    """Why a stream did not complete."""

    code: str
    message: str


class LegView(msgspec.Struct, frozen=True):
    """What one target did for an answer."""

    provider: str
    model: str
    dialect: str
    began_at: str
    after: int
    tries: int
    waited_s: float
    resumes: int
    is_taken_over: bool
    failure: str | None
    usage: Usage | None
    cost_usd: float | None


class StreamView(msgspec.Struct, frozen=True):
    """A stream's state, as ``GET /v1/streams/{id}`` answers it. Times are RFC 3339 in UTC."""

    id: StreamId
    status: str
    """``running`` or ``ended``."""
    ending: str | None
    dialect: str
    model: str
    provider: str
    tag: str | None
    last_event_id: int
    created_at: str
    ended_at: str | None
    expires_at: str | None
    usage: Usage | None
    cost_usd: float | None
    legs: Sequence[LegView]
    error: StreamError | None


class StreamItem(StreamView, frozen=True, kw_only=True):
    """A stream as one of a list, with what costs too much to ask for each alone."""

    owner: str
    readers: int | None
    """Of a running stream, over all workers, as of two seconds ago; None if that is not known."""


class WorkerView(msgspec.Struct, frozen=True):
    """One process that serves, as ``GET /v1/workers`` answers it."""

    id: str
    host: str
    pid: int
    version: str
    started_at: str
    draining: bool
    streams: int
    readers: int


def rfc3339(unix_s: float) -> str:
    """A moment in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def view(state: State) -> StreamView:
    """What its owner may know of a stream."""
    birth = state.birth
    problem = state.problem
    return StreamView(
        id=birth.id,
        status="running" if state.ending is None else "ended",
        ending=state.ending,
        dialect=birth.dialect,
        model=birth.model,
        provider=state.provider,
        tag=birth.tag,
        last_event_id=state.last_id,
        created_at=rfc3339(birth.created_at),
        ended_at=None if state.ended_at is None else rfc3339(state.ended_at),
        expires_at=None if state.expires_at is None else rfc3339(state.expires_at),
        usage=state.usage,
        cost_usd=_usd(cost_of(state)),
        legs=[_leg_view(leg) for leg in accounted(state)],
        error=None if problem is None else StreamError(problem.code, problem.message),
    )


def _leg_view(leg: Leg) -> LegView:
    return LegView(
        provider=leg.provider,
        model=leg.model,
        dialect=leg.dialect,
        began_at=rfc3339(leg.began_at),
        after=leg.after,
        tries=leg.tries,
        waited_s=leg.waited_s,
        resumes=leg.resumes,
        is_taken_over=leg.is_taken_over,
        failure=leg.failure or None,
        usage=leg.usage,
        cost_usd=_usd(cost(leg.usage, leg.price)) if leg.usage and leg.price else None,
    )


def _usd(microdollars: int | None) -> float | None:
    return None if microdollars is None else microdollars / _MICRODOLLARS


def item(state: State, reports: Sequence[Report]) -> StreamItem:
    """A stream of a list. `reports` is what the workers say of themselves."""
    birth = state.birth
    return StreamItem(
        **msgspec.structs.asdict(view(state)),
        owner=birth.owner,
        readers=readers_of(birth.id, reports) if state.ending is None else None,
    )


def worker_view(report: Report) -> WorkerView:
    """What an operator may know of a worker."""
    worker = report.worker
    return WorkerView(
        id=worker.id,
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        started_at=rfc3339(worker.started_at),
        draining=report.is_draining,
        streams=report.streams,
        readers=report.readers,
    )


def stream_headers(state: State, now: float) -> list[tuple[str, str]]:
    """What names a stream in an answer.

    ``Midstream-Expires`` is when it can no longer be resumed; while it runs, the earliest
    moment at which that could be.
    """
    expires_at = state.expires_at or now + state.birth.retention_s
    return [
        ("midstream-stream", state.birth.id),
        ("location", f"/v1/streams/{state.birth.id}"),
        ("midstream-expires", rfc3339(expires_at)),
    ]
