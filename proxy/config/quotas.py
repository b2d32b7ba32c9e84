"""``[quotas.NAME]``: what a quota may say, and the limits it makes for those who have it.

A quota by itself limits nobody: a key, the server or a provider names it. What surprises: the
amounts of one that is not shared hold for each key by itself, and those of a shared one for all
of its keys together.
"""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from msgspec import Meta

from proxy.config.expectations import nearest
from proxy.config.lines import Path
from proxy.config.money import MICRODOLLARS
from proxy.config.names import ModelName
from proxy.config.problems import Problems
from proxy.policy.quotas import Kind, Limit

RATE_MAX = 1_000_000_000
"""Chosen: the store's numbers are exact to 9e15, and a unit of a rate counts 60,000."""
BUDGET_TOKENS_MAX = 1_000_000_000_000
"""Chosen, as `USD_MAX` is: exact in the store, and more than anybody pays for."""
USD_MAX = 1_000_000_000 * MICRODOLLARS

Rate = Annotated[int, Meta(ge=1, le=RATE_MAX)]
Budget = Annotated[int, Meta(ge=1, le=BUDGET_TOKENS_MAX)]
Usd = Annotated[int, Meta(ge=1, le=USD_MAX)]
"""Micro-dollars; in the file it is a number of dollars."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. What is not set is not limited."""

    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    concurrent_streams: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    tokens_per_day: Budget | None = None
    tokens_per_month: Budget | None = None
    usd_per_day: Usd | None = None
    usd_per_month: Usd | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=RATE_MAX)] | None = None
    models: tuple[ModelName, ...] | None = None
    shared: bool = False
    zone: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9_+/-]{1,64}\Z",
            description="the name of a time zone, such as Europe/Berlin",
        ),
    ] = "UTC"
    on_store_error: Literal["refuse", "allow"] = "refuse"

    @property
    def amounts(self) -> dict[Kind, int]:
        """What it limits, in the units of `Limit`."""
        said = {kind: getattr(self, kind.value) for kind in Kind}
        return {kind: amount for kind, amount in said.items() if amount is not None}

    @property
    def says_nothing(self) -> bool:
        """Whether whoever has it is not limited by it."""
        return not self.amounts and self.max_output_tokens is None and self.models is None

    def limits(self, pool: str) -> tuple[Limit, ...]:
        """Its amounts, for one pool."""
        allows = self.on_store_error == "allow"
        return tuple(
            Limit(
                pool=pool,
                kind=kind,
                amount=amount,
                zone=self.zone if kind.is_budget else "UTC",
                allows_without_store=allows and not kind.is_budget,
            )
            for kind, amount in self.amounts.items()
        )


def check_zone(path: Path, quota: Quota, problems: Problems) -> None:
    """Days and months begin in a zone that there is."""
    try:
        ZoneInfo(quota.zone)
    except (ValueError, OSError, LookupError):  # "..", a folder of zones, an unknown name
        hint = nearest(quota.zone, available_timezones(), lists_all=False)
        what = f"must be the name of a time zone, such as Europe/Berlin{hint}"
        problems.add((*path, "zone"), what)
