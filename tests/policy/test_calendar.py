"""Windows of days and months: next to each other, whatever the zone does."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.policy.calendar import windows
from proxy.policy.quotas import Kind

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Pacific/Apia",
)
HOUR_MS = 3_600_000


def unix(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@given(
    kind=st.sampled_from([Kind.TOKENS_PER_DAY, Kind.USD_PER_MONTH]),
    zone=st.sampled_from(ZONES),
    now_s=st.integers(631_152_000, 2_840_140_800),  # 1990 to 2060
)
@example(Kind.TOKENS_PER_DAY, "Pacific/Apia", 1_325_239_200)  # 30 December 2011 was left out
def test_the_three_windows_touch_and_now_is_in_the_middle_one(
    kind: Kind, zone: str, now_s: int
) -> None:
    before, this, following = windows(kind, zone, now_s)
    assert before.begin_ms < before.end_ms == this.begin_ms
    assert this.begin_ms <= now_s * 1000 < this.end_ms == following.begin_ms
    assert len({before.name, this.name, following.name}) == 3
    again = windows(kind, zone, this.end_ms / 1000)
    assert again[0] == this
    assert again[1] == following


@pytest.mark.parametrize(
    ("month", "days"),
    [("2026-02", 28), ("2028-02", 29), ("2026-04", 30), ("2026-12", 31)],
)
def test_a_month_is_as_long_as_it_is(month: str, days: int) -> None:
    _, this, _ = windows(Kind.USD_PER_MONTH, "UTC", unix(f"{month}-15"))
    assert this.name == month
    assert this.end_ms - this.begin_ms == days * 24 * HOUR_MS


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)]
)
def test_a_day_on_which_the_clock_is_changed_is_shorter_or_longer(day: str, hours: int) -> None:
    _, this, _ = windows(
        Kind.TOKENS_PER_DAY, "Europe/Berlin", unix(f"{day}T12:00", "Europe/Berlin")
    )
    assert this.name == day
    assert this.end_ms - this.begin_ms == hours * HOUR_MS


def test_the_last_millisecond_of_a_day_is_still_that_day() -> None:
    midnight_s = unix("2026-11-25")
    assert windows(Kind.USD_PER_DAY, "UTC", midnight_s - 0.001)[1].name == "2026-11-24"
    assert windows(Kind.USD_PER_DAY, "UTC", midnight_s)[1].name == "2026-11-25"
