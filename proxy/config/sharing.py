"""Who has which quota, and what that comes to.

Like all rules it adds to the problems, and besides to the warnings: a quota that nobody has, and
a model without a price behind a limit in USD, are allowed, and perhaps not meant.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from proxy.config.expectations import nearest
from proxy.config.lines import Path
from proxy.config.problems import Problems
from proxy.config.quotas import Quota
from proxy.config.tables import Provider, Server
from proxy.policy.keys import Key
from proxy.policy.pools import (
    EVERYTHING,
    Allowance,
    Pools,
    key_pool,
    provider_pool,
    team_pool,
)
from proxy.policy.quotas import Limit
from proxy.policy.routes import Route, in_both

_NAMED_MAX = 3  # chosen: of those that a warning is about; more are not read


def check_named(document: Mapping[str, object], problems: Problems) -> frozenset[str]:
    """Each quota that something has is one that there is; their names.

    It looks at what is written, because what is off has its quota too.
    """
    declared = _tables(document, "quotas")
    holders: dict[Path, object] = {("server",): document.get("server")}
    for section in ("providers", "keys"):
        holders |= {(section, name): each for name, each in _tables(document, section).items()}
    named = set()
    for path, table in holders.items():
        name = table.get("quota") if isinstance(table, dict) else None
        if not isinstance(name, str):
            continue
        named.add(name)
        place = (*path, "quota")
        if name not in declared and not problems.has_any(place):
            known = nearest(name, declared) or "; there is no [quotas.NAME]"
            problems.add(place, f"is no configured quota{known}")
    return frozenset(named)


def _tables(document: Mapping[str, object], section: str) -> Mapping[str, object]:
    tables = document.get(section)
    return tables if isinstance(tables, dict) else {}


def pooled(
    server: Server,
    providers: Mapping[str, Provider],
    quotas: Mapping[str, Quota],
    problems: Problems,
) -> Pools:
    """The limits that are not a key's own."""
    everything = _allowance(("server",), server.quota, EVERYTHING, quotas, problems)
    behind = {
        name: _allowance(("providers", name), table.quota, provider_pool(name), quotas, problems)
        for name, table in providers.items()
        if table.quota
    }
    return Pools(everything, behind)


def _allowance(
    path: Path, name: str | None, pool: str, quotas: Mapping[str, Quota], problems: Problems
) -> Allowance:
    quota = quotas.get(name) if name else None
    if quota is None:
        return Allowance()
    if quota.models is not None:
        what = "has models, which only the quota of a key can have: take another one here"
        problems.add((*path, "quota"), what)
    return Allowance(quota.limits(pool), quota.max_output_tokens)


def with_quota(key: Key, name: str | None, quotas: Mapping[str, Quota]) -> Key:
    """The key, with what its quota lets it do."""
    quota = quotas.get(name) if name else None
    if name is None or quota is None:
        return key
    models = key.models if quota.models is None else quota.models
    if key.models is not None and quota.models is not None:
        models = in_both(key.models, quota.models)
    return msgspec.structs.replace(
        key,
        models=models,
        quota=name,
        limits=quota.limits(team_pool(name) if quota.shared else key_pool(key.name)),
        max_output_tokens=quota.max_output_tokens,
    )


# --- what is perhaps not meant --------------------------------------------------------------------


def warn_of_unused(quotas: Mapping[str, Quota], named: Collection[str], to: Problems) -> None:
    """Of quotas that limit nobody, though they say something."""
    for name, quota in quotas.items():
        if name not in named and not quota.says_nothing:
            to.warn(("quotas", name), "nobody has it: no key, no provider, nor [server]")


def warn_of_unpriced(
    routes: Iterable[Route], pools: Pools, keys: Iterable[Key], to: Problems
) -> None:
    """Of models that are refused to some, because nobody has said what they cost."""
    paying = [key for key in keys if _has_money(key.limits)]
    for route in routes:
        for target in route.targets:
            if target.price is not None:
                continue
            behind = pools.providers.get(target.provider, Allowance())
            if _has_money(pools.everything.limits) or _has_money(behind.limits):
                told = "everybody"
            else:
                told = _listed([key.name for key in paying if _may_use(key, route)])
            if told:
                is_one = len(route.targets) == 1
                which = "" if is_one else f"target {target.name} "
                what = "has no price, and is refused to whom a limit in USD holds for: "
                to.warn(("models", route.name), f"{which}{what}{told}")


def _may_use(key: Key, route: Route) -> bool:
    return key.models is None or bool(in_both(key.models, (route.name,)))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _has_money(limits: Iterable[Limit]) -> bool:
    return any(limit.kind.is_money for limit in limits)
