"""What a config means, for a person to read. No secret is in it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from proxy.config.tables import Config, Off, Provider, RemoteProvider, ScriptedProvider
from proxy.policy.keys import Key


def describe(config: Config, now: float) -> str:
    """A few lines that end in a newline; `now` (Unix seconds) tells which keys have expired."""
    return "\n".join(_lines(config, now)) + "\n"


def _lines(config: Config, now: float) -> Iterator[str]:
    server, store = config.server, config.store
    reach = "this machine only" if server.is_loopback else "reachable from other machines"
    access = "with a key" if config.keys else "open access, no key needed"
    yield f"listens on  {server.url}, {reach}, {access}"
    yield f"store       {store.address}"
    kept, longest = _duration(store.retention_s), _duration(store.retention_max_s)
    yield f"streams     kept {kept} after their end, {longest} if asked for; {_detach(config)}"
    on = [(name, _provider(provider)) for name, provider in config.providers.items()]
    yield from _table("providers", on, config.off)
    routes = [(r.name, f"{r.target.provider}/{r.target.model}") for r in config.models]
    yield from _table("models", routes, config.off)
    keys = [(key.name, _key(key, now)) for key in config.keys]
    yield from _table("keys", keys, config.off)


def _table(section: str, entries: Sequence[tuple[str, str]], off: Sequence[Off]) -> Iterator[str]:
    rows = [*entries, *((o.name, f"off: {o.reason}") for o in off if o.section == section)]
    yield f"{section}" if rows else f"{section:<12}none"
    width = max((len(name) for name, _ in rows), default=0)
    for name, means in rows:
        yield f"  {name:<{width}}  {means}"


def _detach(config: Config) -> str:
    match config.streams.detach.grace_s:
        case None:
            return "they run on when the last reader leaves"
        case 0:
            return "they stop when the last reader leaves"
        case grace_s:
            return f"they stop {_duration(grace_s)} after the last reader left"


def _provider(provider: Provider) -> str:
    match provider:
        case ScriptedProvider():
            fault = f", with fault {provider.fault}" if provider.fault else ""
            return f"scripted, plays {provider.recordings or 'the demo recordings'}{fault}"
        case RemoteProvider():
            source = f"key from {provider.api_key.source}" if provider.api_key else "without a key"
            return f"{provider.kind} at {provider.base_url}, {source}"


def _key(key: Key, now: float) -> str:
    models = "all models" if key.models is None else f"models {', '.join(key.models) or 'none'}"
    told = f"{key.role} of owner {key.owner}, {models}"
    if key.expires_at is None:
        return f"{told}, never expires"
    moment = datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{told}, {'EXPIRED' if key.expires_at <= now else 'expires'} {moment}"


def _duration(seconds: float) -> str:
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds / unit_s:g} {unit}"
    return f"{seconds:g} s"
