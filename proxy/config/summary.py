"""What a config means, for a person to read. No secret is in it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from proxy.config.addresses import without_credentials
from proxy.config.money import usd
from proxy.config.quotas import Quota
from proxy.config.tables import Config, Off, Provider, RemoteProvider, ScriptedProvider, Store
from proxy.policy.keys import Key
from proxy.policy.quotas import Kind
from proxy.policy.routes import Route, Strategy, Target

WORDS = {
    Kind.REQUESTS_PER_MINUTE: "requests a minute",
    Kind.TOKENS_PER_MINUTE: "tokens a minute",
    Kind.CONCURRENT_STREAMS: "streams at a time",
    Kind.TOKENS_PER_DAY: "tokens a day",
    Kind.TOKENS_PER_MONTH: "tokens a month",
    Kind.USD_PER_DAY: "USD a day",
    Kind.USD_PER_MONTH: "USD a month",
}
"""What each kind of limit counts."""


def amount(kind: Kind, number: int) -> str:
    """A number of `Limit` as a person writes it."""
    return usd(number) if kind.is_money else str(number)


def describe(config: Config, now: float) -> str:
    """A few lines that end in a newline; `now` (Unix seconds) tells which keys have expired."""
    return "\n".join(_lines(config, now)) + "\n"


def _lines(config: Config, now: float) -> Iterator[str]:
    server, store = config.server, config.store
    reach = "this machine only" if server.is_loopback else "reachable from other machines"
    access = "with a key" if config.keys else "open access, no key needed"
    yield f"listens on  {server.url}, {reach}, {access}"
    yield f"store       {store.address}"
    kept, longest = duration(store.retention_s), duration(store.retention_max_s)
    yield f"streams     kept {kept} after their end, {longest} if asked for; {_detach(config)}"
    if config.streams.takeover:
        yield f"takeover    on; until an answer ends its request is kept {_kept(store)}"
    yield f"traces      {'on' if config.tracing.is_on else 'off'}: {config.tracing.reason}"
    on = [(name, _provider(provider)) for name, provider in config.providers.items()]
    yield from _table("providers", on, config.off)
    routes = [(route.name, _route(route)) for route in config.models]
    yield from _table("models", routes, config.off)
    quotas = [(name, _quota(name, quota, config)) for name, quota in config.quotas.items()]
    yield from _table("quotas", quotas, config.off)
    keys = [(key.name, _key(key, now)) for key in config.keys]
    yield from _table("keys", keys, config.off)


def _table(section: str, entries: Sequence[tuple[str, str]], off: Sequence[Off]) -> Iterator[str]:
    rows = [*entries, *((o.name, f"off: {o.reason}") for o in off if o.section == section)]
    yield f"{section}" if rows else f"{section:<12}none"
    width = max((len(name) for name, _ in rows), default=0)
    for name, means in rows:
        yield f"  {name:<{width}}  {means}"


def _kept(store: Store) -> str:
    if not store.encryption_key:
        return "as it is"
    first, *others = (secret.source for secret in store.encryption_key)
    more = f", decrypted with {' or '.join(others)} too" if others else ""
    return f"encrypted with {first}{more}"


def _detach(config: Config) -> str:
    match config.streams.detach.grace_s:
        case None:
            return "they run on when the last reader leaves"
        case 0:
            return "they stop when the last reader leaves"
        case grace_s:
            return f"they stop {duration(grace_s)} after the last reader left"


def _provider(provider: Provider) -> str:
    match provider:
        case ScriptedProvider():
            fault = f", with fault {provider.fault}" if provider.fault else ""
            return f"scripted, plays {provider.recordings or 'the demo recordings'}{fault}"
        case RemoteProvider():
            source = f"key from {provider.api_key.source}" if provider.api_key else "without a key"
            spoken = f", asked in {' and '.join(provider.asked_in)}"
            proxy = provider.proxy and without_credentials(provider.proxy.reveal())
            through = f", through {proxy}" if proxy else ""
            trusted = f", trusting {provider.ca_file.path}" if provider.ca_file else ""
            return f"{provider.kind} at {provider.base_url}, {source}{spoken}{through}{trusted}"


def _route(route: Route) -> str:
    targets = route.targets
    told = [_target(target) for target in targets]
    if len(targets) == 1:
        means = told[0]
    elif route.strategy is Strategy.FAILOVER:
        means = f"first {'; then '.join(told)}"
    else:
        shares = sum(target.weight for target in targets)
        parts = [f"{t.weight} of {shares} {each}" for t, each in zip(targets, told, strict=True)]
        by = "by chance" if route.strategy is Strategy.WEIGHTED else "the least busy for its share"
        means = f"{by}: {'; '.join(parts)}"
    after = "; goes on after a failure" if route.continue_after_failure else ""
    return f"{means}{after}"


def _target(target: Target) -> str:
    told, price = target.name, target.price
    if target.parameters:
        told += f" with {', '.join(target.parameters)}"
    if price is None:
        return told
    parts = [f"{usd(price.input)} in", f"{usd(price.output)} out"]
    if price.cached_input != price.input:
        parts.append(f"{usd(price.cached_input)} cached")
    if price.cache_write is not None:
        parts.append(f"{usd(price.cache_write)} to cache")
    if price.reasoning != price.output:
        parts.append(f"{usd(price.reasoning)} reasoning")
    return f"{told}, USD for a million tokens: {', '.join(parts)}"


def _quota(name: str, quota: Quota, config: Config) -> str:
    parts = [f"{amount(kind, number)} {WORDS[kind]}" for kind, number in quota.amounts.items()]
    if quota.max_output_tokens is not None:
        parts.append(f"{quota.max_output_tokens} tokens an answer")
    if quota.models is not None:
        parts.append(f"models {', '.join(quota.models) or 'none'}")
    if quota.zone != "UTC":
        parts.append(f"days of {quota.zone}")
    if quota.on_store_error == "allow":
        parts.append("rates let through without the store")
    keys = [key.name for key in config.keys if key.quota == name]
    has = [f"keys {', '.join(keys)}{' together' if quota.shared else ''}"] if keys else []
    has += [f"provider {each}" for each, at in config.providers.items() if at.quota == name]
    has += ["everything"] if config.server.quota == name else []
    return f"{', '.join(parts) or 'no limit'}; for {'; '.join(has) or 'nobody'}"


def _key(key: Key, now: float) -> str:
    models = "all models" if key.models is None else f"models {', '.join(key.models) or 'none'}"
    quota = f", quota {key.quota}" if key.quota else ""
    told = f"{key.role} of owner {key.owner}, {models}{quota}"
    if key.expires_at is None:
        return f"{told}, never expires"
    moment = datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{told}, {'EXPIRED' if key.expires_at <= now else 'expires'} {moment}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that they are a whole number of."""
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds / unit_s:g} {unit}"
    return f"{seconds:g} s"
