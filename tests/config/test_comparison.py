"""What a new file would change, told before it is put in force."""

from proxy.config import Config, all_limits, compare, parse
from proxy.policy.quotas import Standing

KEY = '[keys.{name}]\nsha256 = "{digit}{digit}"\nquota = "{quota}"\nowner = "{owner}"\n'


def key(name: str, digit: str, *, quota: str = "each", owner: str = "acme") -> str:
    return KEY.format(name=name, digit=digit * 32, quota=quota, owner=owner)


BEFORE = (
    """
[server]
quota = "house"
[quotas.house]
usd_per_day = 12.5
zone = "Europe/Berlin"
[quotas.each]
requests_per_minute = 10
tokens_per_day = 1000
[quotas.team]
concurrent_streams = 4
shared = true
"""
    + key("ann", "1")
    + key("bob", "2", owner="bob")
    + key("cid", "3", quota="team")
    + key("dan", "4", quota="team")
)


def read(text: str) -> Config:
    def no_files(path: str) -> str:
        raise FileNotFoundError(path)

    return parse(text, {}, no_files)


def standings(config: Config, **left: int) -> list[Standing]:
    return [
        Standing(limit, limit.amount - left.get(limit.kind.value, limit.amount), 7200.0)
        for limit in all_limits(config)
    ]


def test_every_pool_is_asked_for_once() -> None:
    pools = [(limit.pool, limit.kind.value) for limit in all_limits(read(BEFORE))]

    assert pools == [
        ("key:ann", "requests_per_minute"),
        ("key:ann", "tokens_per_day"),
        ("key:bob", "requests_per_minute"),
        ("key:bob", "tokens_per_day"),
        ("team:team", "concurrent_streams"),
        ("all", "usd_per_day"),
    ]


def test_the_same_file_with_everything_left_changes_nothing() -> None:
    config = read(BEFORE)

    assert (
        compare(config, standings(config), {"acme": 3, "bob": 1}, config)
        == """\
used up at once: none
streams that nobody could read any more: none
keys that are gone: none
limits that change: none
"""
    )


def test_a_new_file_is_told_by_what_it_takes_and_gives() -> None:
    after = read(
        BEFORE.replace("12.5", "12.25")
        .replace("Europe/Berlin", "UTC")
        .replace("tokens_per_day = 1000", "tokens_per_month = 9")
        .replace("minute = 10", "minute = 11")
        .replace(key("bob", "2", owner="bob"), "")
        .replace(key("dan", "4", quota="team"), key("dan", "5", quota="team"))
    )

    assert (
        compare(after, standings(after, tokens_per_month=0), {"bob": 2, "acme": 1}, read(BEFORE))
        == """\
used up at once
  [keys.ann]: 9 tokens a month, whole again in 2 h
streams that nobody could read any more
  2 of owner bob
keys that are gone
  [keys.bob] of owner bob
  [keys.dan] of owner acme, which has another secret
limits that change
  [keys.ann]: 10 requests a minute is raised to 11
  [keys.ann]: 1000 tokens a day is no limit any more
  [keys.bob]: 10 requests a minute is no limit any more
  [keys.bob]: 1000 tokens a day is no limit any more
  [server]: 12.5 USD a day is lowered to 12.25
  [server]: 12.25 USD a day begins anew, in the days of UTC
  [keys.ann]: 9 tokens a month, which was not limited
"""
    )


def test_where_no_store_was_asked_nothing_is_said_of_what_is_used() -> None:
    config = read(BEFORE)

    assert (
        compare(config, None, None, config)
        == "keys that are gone: none\nlimits that change: none\n"
    )


def test_without_the_file_in_force_only_the_store_is_told_of() -> None:
    config = read(BEFORE)

    told = compare(config, standings(config, concurrent_streams=0), {})

    assert told.splitlines() == [
        "used up at once",
        "  [quotas.team]: 4 streams at a time",
        "streams that nobody could read any more: none",
    ]
