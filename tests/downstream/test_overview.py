"""One picture for the dashboard: what is in it, and that it stays small."""

import secrets

import msgspec

from proxy.downstream.describe import rfc3339
from proxy.downstream.overview import BYTES_MAX, Found, encoded, overview
from proxy.downstream.resting import resting_targets
from proxy.policy.breaker import Condition
from proxy.policy.quotas import Kind, Limit, Standing
from proxy.relay.ports import Conditions, Report
from proxy.relay.tally import Lately, ProviderTally, Trouble
from proxy.stream import Birth, State, StreamId, new_stream_id
from tests.contracts.backends import make_report

NOON = 1_700_000_000.0
NOTHING = Found((), (), (), ())


def make_state(*, age_s: float = 0, name: str = "x", last_id: int = 7) -> State:
    birth = Birth(
        new_stream_id(secrets.token_bytes(20)),
        owner=name[:64],
        dialect="openai.chat",
        model=name,
        provider=name[:64],
        created_at=NOON - age_s,
        retention_s=60,
        tag=name[:128],
    )
    return State(birth, epoch=1, last_id=last_id)


def make_busy(
    *,
    pace: float = 0,
    gaps: tuple[int, ...] = (),
    providers: dict[str, ProviderTally] | None = None,
    troubles: tuple[Trouble, ...] = (),
    streams: dict[StreamId, int] | None = None,
) -> Report:
    lately = Lately(pace, (), gaps, providers or {}, troubles)
    return msgspec.structs.replace(make_report(streams=streams or {}), lately=lately)


def test_targets_that_rest_are_told_by_the_servers_own_clock_the_longest_first() -> None:
    store_ms = 5_000_000  # the store's clock may say anything
    resting = Condition(
        failures=5,
        rest_ms=20_000,
        until_ms=store_ms + 8_000,
        since_ms=store_ms - 60_000,
        failed_ms=store_ms - 12_000,
        reason="provider_error 503",
    )
    newer = msgspec.structs.replace(resting, since_ms=store_ms - 1000)
    conditions = Conditions(
        store_ms, {"p/new": newer, "p/a/b": resting, "p/well": Condition(failures=3)}
    )
    found = Found((), (), (), (), resting=resting_targets(conditions, NOON))

    picture = overview(found, {}, now=NOON, store_away_s=None)

    assert [each.model for each in picture.resting] == ["a/b", "new"]
    first = picture.resting[0]
    assert (first.provider, first.reason, first.probing) == ("p", "provider_error 503", False)
    assert first.since == rfc3339(NOON - 60)
    assert first.failed_at == rfc3339(NOON - 12)
    assert first.probe_at == rfc3339(NOON + 8)
    assert picture.of["resting"] == 2


def test_workers_are_added_up() -> None:
    state = make_state()
    early, late = Trouble(NOON, "a", 502, "m", "p"), Trouble(NOON + 1, "b", 500, "m", "p")
    one = make_busy(
        pace=10,
        gaps=(1, 2),
        providers={"p": ProviderTally(running=1, ended=2, failed=0)},
        troubles=(early,),
        streams={state.birth.id: 2},
    )
    two = make_busy(
        pace=20.5,
        gaps=(0, 1, 4),
        providers={"p": ProviderTally(running=2, ended=3, failed=1)},
        troubles=(late,),
        streams={state.birth.id: 1},
    )
    found = Found([one, two], [state], (), ["p", "idle"])

    seen = overview(found, {state.birth.id: 12.34}, now=NOON, store_away_s=None)

    assert (seen.store, seen.events_per_s, seen.gap.count) == ("ok", 30.5, 8)
    assert [(one.name, one.running, one.ended, one.failed) for one in seen.providers] == [
        ("p", 3, 5, 1),
        ("idle", 0, 0, 0),
    ]
    assert [trouble.code for trouble in seen.troubles] == ["b", "a"]
    assert [(s.id, s.readers, s.events, s.events_per_s) for s in seen.streams] == [
        (state.birth.id, 3, 7, 12.3)
    ]
    assert [worker.events_per_s for worker in seen.workers] == [10, 20.5]


def test_the_pools_come_by_how_much_of_them_is_used() -> None:
    def left(pool: str, kind: Kind, remaining: int) -> Standing:
        return Standing(Limit(pool, kind, 100), 100 - remaining, 1.0)

    standings = [
        left("key:calm", Kind.REQUESTS_PER_MINUTE, 90),
        left("key:full", Kind.REQUESTS_PER_MINUTE, 99),
        left("all", Kind.TOKENS_PER_DAY, 15),
        left("key:full", Kind.TOKENS_PER_DAY, 0),
    ]
    found = msgspec.structs.replace(NOTHING, standings=standings)

    seen = overview(found, {}, now=NOON, store_away_s=None)

    assert [pool.pool for pool in seen.pools] == ["key:full", "all", "key:calm"]
    assert [limit.remaining for limit in seen.pools[0].limits] == [99, 0]


def test_a_worker_of_another_version_that_tells_less_or_more_is_no_trouble() -> None:
    found = msgspec.structs.replace(NOTHING, reports=[make_report(), make_busy(gaps=(0,) * 500)])

    seen = overview(found, {}, now=NOON, store_away_s=3.21)

    assert (seen.store, seen.store_away_s, seen.gap.p50_ms) == ("away", 3.2, None)
    assert [worker.events_per_s for worker in seen.workers] == [None, 0]


def test_however_much_there_is_a_picture_is_small_and_says_what_is_left_out() -> None:
    name = "ü\\" * 100
    running = [make_state(age_s=age, name=name) for age in range(300)]
    troubles = tuple(Trouble(NOON, name[:64], 502, name[:80], name[:64]) for _ in range(20))
    providers = {f"{n}{name}"[:64]: ProviderTally(1, 1, 1) for n in range(20)}
    reports = [make_busy(providers=providers, troubles=troubles) for _ in range(60)]
    standings = [
        Standing(Limit(f"key:{n:0>64}", kind, 10**12), 9 * 10**11, 1e6)
        for n in range(90)
        for kind in Kind
    ]
    rests = {f"p/{n}{name}": Condition(5, 20_000, reason="provider_error 503") for n in range(40)}
    resting = resting_targets(Conditions(0, rests), NOON)
    found = Found(reports, running, standings, [], resting=resting)

    raw = encoded(overview(found, {}, now=NOON, store_away_s=None))

    seen = msgspec.json.decode(raw)
    assert len(raw) <= BYTES_MAX
    of = {"streams": 300, "pools": 90, "providers": 20, "resting": 40, "workers": 60}
    assert seen["of"] == of
    assert all(seen[part] for part in (*of, "troubles"))
    oldest = sorted(running, key=lambda state: state.birth.created_at)
    assert seen["streams"][0]["id"] == oldest[0].birth.id
