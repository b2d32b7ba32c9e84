"""What `midstream top` draws, without a server."""

import io
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from rich.console import Console

from proxy.terminal.picture import (
    Look,
    StreamSeen,
    WorkerSeen,
    as_json,
    columns_for,
    ordered,
    picture,
    rates,
)
from proxy.terminal.resting import TargetSeen
from proxy.terminal.words import span

NOW = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
NEEDED = dict.fromkeys(("id", "tag", "owner", "model", "provider", "age"), 0)


def make_stream(name: str, *, age_s: float, events: int, ending: str | None = None) -> StreamSeen:
    return StreamSeen(
        id=f"st_{name:0<26}",
        status="ended" if ending else "running",
        model="gpt-9",
        provider="openai",
        last_event_id=events,
        created_at=NOW - timedelta(seconds=age_s),
        ending=ending,
        tag="chat \x1b[31m猫",
        owner="shop",
        readers=None if ending else 2,
    )


def make_look(*running: StreamSeen, clock_s: float = 100.0, workers: bool = True) -> Look:
    worker = WorkerSeen("ab", "host-1", 77, "1.0", NOW - timedelta(hours=3), True, 2, 4)
    ended = [make_stream(f"e{n}", age_s=n, events=n, ending="failed") for n in range(30)]
    return Look(NOW, clock_s, running, ended, [worker] if workers else None, has_more=False)


def drawn(look: Look, *, width: int, height: int | None = None, sort: str = "age") -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=False)
    console.print(picture(look, {}, width=width, height=height, sort=sort))
    return file.getvalue().splitlines()


def test_the_pace_is_what_came_between_two_looks() -> None:
    before = make_look(make_stream("a", age_s=9, events=10), make_stream("b", age_s=9, events=5))
    now = make_look(
        make_stream("a", age_s=11, events=110),
        make_stream("b", age_s=11, events=5),
        make_stream("new", age_s=1, events=7),
        clock_s=102.0,
    )

    pace = rates(before, now)

    assert sorted(pace.values()) == [0.0, 50.0]
    assert make_stream("new", age_s=1, events=7).id not in pace
    assert rates(None, now) == rates(now, now) == {}


def test_the_oldest_come_first_or_the_fastest() -> None:
    old, new = make_stream("b", age_s=50, events=1), make_stream("a", age_s=5, events=1)
    look = make_look(new, old)

    assert ordered(look, {}, "age") == [old, new]
    assert ordered(look, {new.id: 9.0}, "rate") == [new, old]
    assert ordered(look, {}, "rate") == [old, new]


@pytest.mark.parametrize("width", range(10, 220, 7))
@pytest.mark.parametrize("height", [5, 12, 24, 60])
def test_it_fits_into_every_terminal(width: int, height: int) -> None:
    look = make_look(*(make_stream(f"r{n}", age_s=n, events=n) for n in range(9)))

    lines = drawn(look, width=width, height=height)

    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert any("st_r8" in line for line in lines)


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (20, ["id"]),
        (35, ["id", "age"]),
        (55, ["id", "age", "rate", "status"]),
        (80, ["id", "age", "events", "rate", "readers", "status"]),
        (200, None),
    ],
)
def test_where_it_is_narrow_the_lesser_columns_go(width: int, names: list[str] | None) -> None:
    chosen = columns_for(width, NEEDED, with_owner=True)

    if names is None:
        assert len(chosen) == 10
    else:
        assert [name for name, _ in chosen] == names
    assert sum(wide for _, wide in chosen) + 2 * (len(chosen) - 1) <= width


def test_what_runs_is_never_pushed_out_by_what_has_ended() -> None:
    look = make_look(*(make_stream(f"r{n}", age_s=n, events=n) for n in range(9)))

    lines = "\n".join(drawn(look, width=120, height=15))

    assert lines.count("st_r") == 9
    assert 0 < lines.count("st_e") < 30
    few = "\n".join(drawn(look, width=120, height=10))
    assert "and 4 more" in few
    assert "st_e" not in few


def test_targets_that_rest_stand_above_the_streams_with_reason_and_next_probe() -> None:
    soon, due = NOW + timedelta(seconds=7), NOW - timedelta(seconds=3)
    since = NOW - timedelta(minutes=3)
    resting = [TargetSeen("openai", "gpt-9", "provider_error 503", since, at) for at in (soon, due)]
    look = msgspec.structs.replace(make_look(make_stream("r", age_s=3, events=4)), resting=resting)

    lines = drawn(look, width=150)
    assert lines[2:4] == [
        "openai/gpt-9 rests for 3m, provider_error 503, next probe in 8s",
        "openai/gpt-9 rests for 3m, provider_error 503, probed by the next request",
    ]
    many = msgspec.structs.replace(look, resting=resting * 10)
    small = drawn(many, width=60, height=15)
    assert len(small) <= 15
    assert "and 19 more rest" in small
    assert any("st_r" in line for line in small)


def test_workers_are_shown_to_who_may_know_of_them_and_owners_with_them() -> None:
    look = make_look(make_stream("r", age_s=3, events=4))

    for_operator = "\n".join(drawn(look, width=150))
    for_user = "\n".join(drawn(make_look(*look.running, workers=False), width=150))

    assert "host-1  pid 77  up 3h  2 streams  4 readers  draining" in for_operator
    assert "1 worker, 2 streams, 4 readers" in for_operator
    assert "shop" in for_operator
    assert "host-1" not in for_user
    assert "1 stream, 2 readers" in for_user
    assert "shop" not in for_user


def test_a_tag_cannot_control_the_terminal() -> None:
    assert "\x1b" not in "".join(drawn(make_look(make_stream("r", age_s=3, events=4)), width=150))


def test_a_look_as_json_has_everything_and_the_pace() -> None:
    stream = make_stream("r", age_s=3, events=4)

    told = json.loads(as_json(make_look(stream), {stream.id: 2.5}, "age"))

    (seen,) = told["streams"]
    assert seen == json.loads(msgspec.json.encode(stream)) | {"events_per_s": 2.5}
    assert told["workers"][0]["host"] == "host-1"
    assert len(told["ended"]) == 30


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0s"), (99.9, "99s"), (100, "1m"), (5999, "99m"), (6000, "1h"), (259_200, "3d")],
)
def test_ages_are_short(seconds: float, said: str) -> None:
    assert span(seconds) == said
