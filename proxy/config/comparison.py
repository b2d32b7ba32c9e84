"""What a new file would change, told to a person before it is put in force.

Pure: what is used and what runs is given to it, as a store has told it. What surprises: a meter
belongs to who is limited, by what and in which zone, not to the number; so what was used counts
under a new number as well, and a limit that is lowered may be used up at once.
"""

from collections.abc import Iterator, Mapping, Sequence

from proxy.config.summary import WORDS, amount, duration
from proxy.config.tables import Config
from proxy.policy.quotas import Limit, Standing


def all_limits(config: Config) -> tuple[Limit, ...]:
    """Every limit that the file sets, each pool's once."""
    return config.pools.all_limits(limit for key in config.keys for limit in key.limits)


def compare(
    config: Config,
    standings: Sequence[Standing] | None,
    running: Mapping[str, int] | None,
    before: Config | None = None,
) -> str:
    """A few lines that end in a newline.

    `standings` are those of `all_limits(config)`, `running` how many streams run by their owner;
    None where no store was asked. `before` is the config in force; without it, it cannot be told
    what changes.
    """
    lines: list[str] = []
    if standings is not None:
        lines += _part("used up at once", _used_up(standings))
    if running is not None:
        lines += _part("streams that nobody could read any more", _orphans(config, running))
    if before is not None:
        lines += _part("keys that are gone", _gone(before, config))
        lines += _part("limits that change", _changed(before, config))
    return "\n".join(lines) + "\n"


def _part(title: str, found: Iterator[str]) -> Iterator[str]:
    lines = [f"  {line}" for line in found]
    yield title if lines else f"{title}: none"
    yield from lines


def _used_up(standings: Sequence[Standing]) -> Iterator[str]:
    for standing in standings:
        limit = standing.limit
        if standing.remaining == 0:
            again = f", whole again in {duration(round(standing.reset_s))}"
            yield f"{_who(limit.pool)}: {_told(limit)}{again if limit.kind.is_budget else ''}"


def _orphans(config: Config, running: Mapping[str, int]) -> Iterator[str]:
    """They run on to their end, but no key speaks for their owner."""
    if not config.keys:
        return
    owners = {key.owner for key in config.keys}
    for owner, streams in sorted(running.items()):
        if owner not in owners:
            yield f"{streams} of owner {owner}"


def _gone(before: Config, after: Config) -> Iterator[str]:
    names, digests = {key.name for key in after.keys}, {key.digest for key in after.keys}
    for key in before.keys:
        if key.digest not in digests:
            known = ", which has another secret" if key.name in names else ""
            yield f"[keys.{key.name}] of owner {key.owner}{known}"


def _changed(before: Config, after: Config) -> Iterator[str]:
    old = {(limit.pool, limit.kind): limit for limit in all_limits(before)}
    new = {(limit.pool, limit.kind): limit for limit in all_limits(after)}
    for place in dict.fromkeys([*old, *new]):
        was, is_now = old.get(place), new.get(place)
        who = _who(place[0])
        if was is None and is_now is not None:
            yield f"{who}: {_told(is_now)}, which was not limited"
        elif is_now is None and was is not None:
            yield f"{who}: {_told(was)} is no limit any more"
        elif was is not None and is_now is not None:
            if was.amount != is_now.amount:
                verb = "raised" if is_now.amount > was.amount else "lowered"
                yield f"{who}: {_told(was)} is {verb} to {amount(is_now.kind, is_now.amount)}"
            if was.zone != is_now.zone:
                yield f"{who}: {_told(is_now)} begins anew, in the days of {is_now.zone}"


def _told(limit: Limit) -> str:
    return f"{amount(limit.kind, limit.amount)} {WORDS[limit.kind]}"


def _who(pool: str) -> str:
    """The table that a pool comes from."""
    section, _, name = pool.partition(":")
    match section:
        case "key":
            return f"[keys.{name}]"
        case "team":
            return f"[quotas.{name}]"
        case "provider":
            return f"[providers.{name}]"
        case _:
            return "[server]"
