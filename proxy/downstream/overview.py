"""The whole proxy in one small picture: what the dashboard is told every second.

Owns its shape, and what is left out so that it stays small. Pure: `looks` does the looking. It
holds names, numbers and codes, never a prompt, an answer, a key, or a provider's own words. What
surprises: everything in it is of one moment on one clock, the server's, so whoever shows it
needs none of their own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from proxy.downstream.describe import WorkerView, rfc3339, worker_view
from proxy.downstream.resting import RestingTarget
from proxy.policy.quotas import Kind, Standing
from proxy.relay.ports import Report
from proxy.relay.reporter import readers_of
from proxy.relay.tally import added, quantile_s
from proxy.stream import State, StreamId

BYTES_MAX: Final = 32 * 1024
"""Of one picture. Chosen: what a phone takes each second without a thought."""
STREAMS_MAX: Final = 50
_POOLS_MAX: Final = 30
_WORKERS_MAX: Final = 20
_PROVIDERS_MAX: Final = 20
_TROUBLES_MAX: Final = 20
_RESTING_MAX: Final = 20
_LISTS: Final = ("streams", "pools", "workers", "troubles", "resting")
"""What may get shorter."""
_CHARS_MAX: Final = 80
"""Of one name."""


class Waits(msgspec.Struct, frozen=True):
    """How long something took over the last 10 s. Null where it did not happen."""

    count: int
    p50_ms: float | None
    p99_ms: float | None


class RunningStream(msgspec.Struct, frozen=True):
    """A stream that runs."""

    id: StreamId
    owner: str
    tag: str | None
    model: str
    provider: str
    created_at: str
    events: int
    events_per_s: float | None
    """Since the picture before; None in the first one that it is in."""
    readers: int | None


class LimitBar(msgspec.Struct, frozen=True):
    """One limit of a pool, in its own units; money in micro-dollars."""

    kind: Kind
    amount: int
    remaining: int
    reset_s: float


class PoolBars(msgspec.Struct, frozen=True):
    """Who shares limits: ``key:NAME``, ``team:QUOTA``, ``all`` or ``provider:NAME``."""

    pool: str
    limits: list[LimitBar]


class ProviderView(msgspec.Struct, frozen=True):
    """What a provider does for all workers; what has ended, over the last ten minutes."""

    name: str
    running: int
    ended: int
    failed: int


class TroubleView(msgspec.Struct, frozen=True):
    """An answer that did not come to its end."""

    at: str
    code: str
    status: int
    model: str
    provider: str


class BusyWorker(WorkerView, frozen=True):
    """A worker, and its pace."""

    events_per_s: float | None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The picture. Each list is bounded; what is not in it, `of` counts."""

    at: str
    store: Literal["ok", "away"]
    """While it is away, what only the store knows is as it was."""
    store_away_s: float
    streams_running: int
    readers: int
    events_per_s: float
    first: Waits
    """From the start of a producer until the store has the first content."""
    gap: Waits
    """Between two reads of a provider that brought events, from the first content on."""
    streams: list[RunningStream]
    """The oldest first."""
    pools: list[PoolBars]
    """The most used first."""
    providers: list[ProviderView]
    resting: list[RestingTarget]
    """Targets that have failed too often, the longest first."""
    workers: list[BusyWorker]
    """The longest up first."""
    troubles: list[TroubleView]
    """The newest first."""
    of: dict[str, int]
    """How many there are of what each list may show only a part of."""


class Found(msgspec.Struct, frozen=True):
    """What was looked at for one picture."""

    reports: Sequence[Report]
    running: Sequence[State]
    standings: Sequence[Standing]
    providers: Sequence[str]
    """All that are configured."""
    pools: int = 0
    """How many have limits, be they in `standings` or not."""
    resting: Sequence[RestingTarget] = ()


def overview(
    found: Found, rates: Mapping[StreamId, float], *, now: float, store_away_s: float | None
) -> Overview:
    """One picture. `store_away_s` is how old `found` is, if the store does not answer."""
    reports = found.reports
    lately = [report.lately for report in reports if report.lately is not None]
    running = max(sum(report.streams for report in reports), len(found.running))
    oldest = sorted(found.running, key=lambda state: (state.birth.created_at, state.birth.id))
    pools, providers = _pools(found.standings), _providers(found)
    return Overview(
        at=rfc3339(now),
        store="ok" if store_away_s is None else "away",
        store_away_s=round(store_away_s or 0.0, 1),
        streams_running=running,
        readers=sum(report.readers for report in reports),
        events_per_s=round(sum(each.events_per_s for each in lately), 1),
        first=_waits(each.first_waits for each in lately),
        gap=_waits(each.gaps for each in lately),
        streams=[_stream(state, reports, rates) for state in oldest[:STREAMS_MAX]],
        pools=pools[:_POOLS_MAX],
        providers=providers[:_PROVIDERS_MAX],
        resting=[_resting(target) for target in found.resting[:_RESTING_MAX]],
        workers=[_worker(report) for report in reports[:_WORKERS_MAX]],
        troubles=_troubles(reports),
        of={
            "streams": running,
            "pools": max(found.pools, len(pools)),
            "providers": len(providers),
            "resting": len(found.resting),
            "workers": len(reports),
        },
    )


def encoded(picture: Overview) -> bytes:
    """As JSON of at most `BYTES_MAX`: of a picture full of long names the lists get shorter."""
    while len(raw := msgspec.json.encode(picture)) > BYTES_MAX:
        longest = max(_LISTS, key=lambda name: _size(picture, name))
        kept = getattr(picture, longest)
        picture = msgspec.structs.replace(picture, **{longest: kept[: len(kept) // 2]})
    return raw


def _size(picture: Overview, name: str) -> int:
    return len(msgspec.json.encode(getattr(picture, name)))


# --- its parts ------------------------------------------------------------------------------------


def _short(name: str) -> str:
    return name if len(name) <= _CHARS_MAX else name[: _CHARS_MAX - 1] + "…"


def _waits(counts: Iterable[Sequence[int]]) -> Waits:
    total = added(counts)
    return Waits(sum(total), _ms(total, 0.5), _ms(total, 0.99))


def _ms(counts: Sequence[int], share: float) -> float | None:
    seconds = quantile_s(counts, share)
    return None if seconds is None else round(seconds * 1000, 1)


def _stream(
    state: State, reports: Sequence[Report], rates: Mapping[StreamId, float]
) -> RunningStream:
    birth = state.birth
    rate = rates.get(birth.id)
    return RunningStream(
        id=birth.id,
        owner=birth.owner,
        tag=None if birth.tag is None else _short(birth.tag),
        model=_short(birth.model),
        provider=state.provider,
        created_at=rfc3339(birth.created_at),
        events=state.last_id,
        events_per_s=None if rate is None else round(rate, 1),
        readers=readers_of(birth.id, reports),
    )


def _pools(standings: Sequence[Standing]) -> list[PoolBars]:
    by_pool: dict[str, list[Standing]] = {}
    for standing in standings:
        by_pool.setdefault(standing.limit.pool, []).append(standing)
    by_use = sorted(by_pool.items(), key=lambda pool: -max(map(_used, pool[1])))
    return [
        PoolBars(
            pool,
            [
                LimitBar(each.limit.kind, each.limit.amount, each.remaining, round(each.reset_s, 1))
                for each in members
            ],
        )
        for pool, members in by_use
    ]


def _used(standing: Standing) -> float:
    return standing.used / standing.limit.amount


def _providers(found: Found) -> list[ProviderView]:
    counts = {name: Counter[str]() for name in found.providers}
    for report in found.reports:
        if report.lately is not None:
            for name, each in report.lately.providers.items():
                counts.setdefault(name, Counter()).update(msgspec.structs.asdict(each))
    views = [
        ProviderView(name, n["running"], n["ended"], n["failed"]) for name, n in counts.items()
    ]
    return sorted(views, key=lambda one: (-one.failed, -one.running, -one.ended, one.name))


def _resting(target: RestingTarget) -> RestingTarget:
    return msgspec.structs.replace(target, model=_short(target.model))


def _worker(report: Report) -> BusyWorker:
    pace = None if report.lately is None else report.lately.events_per_s
    return BusyWorker(**msgspec.structs.asdict(worker_view(report)), events_per_s=pace)


def _troubles(reports: Sequence[Report]) -> list[TroubleView]:
    all_troubles = [
        trouble for report in reports if report.lately for trouble in report.lately.troubles
    ]
    newest = sorted(all_troubles, key=lambda trouble: -trouble.at)[:_TROUBLES_MAX]
    return [
        TroubleView(rfc3339(one.at), one.code, one.status, _short(one.model), one.provider)
        for one in newest
    ]
