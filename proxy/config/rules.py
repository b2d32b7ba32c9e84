"""What must be true between the keys of a file, once each is right by itself.

Every rule is a function of what it is about, and adds to the problems.
"""

from collections.abc import Collection, Sequence

from proxy.config.addresses import has_password, wrong_address
from proxy.config.expectations import nearest
from proxy.config.lines import Path
from proxy.config.problems import Problems
from proxy.config.reaching import MODEL
from proxy.config.secret import random_key
from proxy.config.tables import (
    KeyTable,
    ModelTable,
    Off,
    Provider,
    RemoteProvider,
    ScriptedProvider,
    Server,
    Store,
    Streams,
)
from proxy.policy.keys import Key, digest, is_mistyped
from proxy.policy.routes import Strategy, match

_SECRET_CHARS_MIN = 16  # chosen: 8 random bytes in hex; what is shorter can be tried out


def check_store(store: Store, problems: Problems) -> None:
    """Its address, its two retentions, and its keys."""
    if store.retention_s > store.retention_max_s:
        problems.add(
            ("store", "retention_s"),
            f"must be at most retention_max_s, which is {store.retention_max_s:g}",
        )
    what = wrong_address(store.url.reveal())
    if what:
        problems.add(("store", "url"), what)
    elif not store.url.source and has_password(store.url.reveal()):
        problems.add(
            ("store", "url"),
            "holds a password, which must not stand in the file: put the whole address into a "
            'variable and write "env:NAME"',
        )
    for secret in store.encryption_key or ():
        if random_key(secret.reveal()) is None:
            problems.add(
                ("store", "encryption_key"),
                f"what {secret.source} holds must be 32 random bytes in base64 or hexadecimal; "
                "`openssl rand -base64 32` makes them",
            )


def check_workers(server: Server, store: Store, problems: Problems) -> None:
    """What one process keeps in its memory, another does not see."""
    if server.workers > 1 and store.kind == "memory":
        problems.add(
            ("server", "workers"),
            'must be 1 with the store in memory: set [store] url to "embedded", or to a Redis',
        )


def check_streams(streams: Streams, problems: Problems) -> None:
    """An event must fit into a stream."""
    if streams.event_bytes_max > streams.stream_bytes_max:
        problems.add(
            ("streams", "event_bytes_max"),
            f"must be at most stream_bytes_max, which is {streams.stream_bytes_max}",
        )


def check_scripted(
    written: Collection[str], path: Path, provider: ScriptedProvider, problems: Problems
) -> None:
    """A fault's details without the fault would be obeyed by nothing."""
    if "fault_after" in written and provider.fault in {None, "status"}:
        problems.add((*path, "fault_after"), "needs a fault that comes after events: set fault")
    if "fault_status" in written and provider.fault != "status":
        problems.add((*path, "fault_status"), 'needs fault = "status"')


def check_rest(path: Path, provider: Provider, problems: Problems) -> None:
    """The first rest is not longer than the longest."""
    if provider.rest_s > provider.rest_max_s:
        what = f"must be at most rest_max_s, which is {provider.rest_max_s:g}"
        problems.add((*path, "rest_s"), what)


def check_remote(path: Path, provider: RemoteProvider, problems: Problems) -> None:
    """What is written in its address, and what is there for TLS alone."""
    if set("{}") & set(provider.base_url.replace(MODEL, "")):
        problems.add((*path, "base_url"), f"can have no other braces than those of {MODEL}")
    addresses = [provider.base_url, provider.proxy.reveal() if provider.proxy else ""]
    is_tls = any(address.startswith("https:") for address in addresses)
    if provider.ca_file is not None and not is_tls:
        problems.warn((*path, "ca_file"), "is used by nothing: base_url is http")


def check_model(
    name: str, model: ModelTable, providers: Collection[str], problems: Problems
) -> None:
    """Each provider exists, and a star in a target has one in the name to stand for."""
    path = ("models", name, "targets")
    for target in model.targets:
        provider = target.provider
        if provider not in providers:
            problems.add(path, f"its provider is not configured{nearest(provider, providers)}")
        if target.model.count("*") > 1:
            problems.add(path, "can have one * at most")
        elif "*" in target.model and "*" not in name:
            problems.add(path, f"has a *, but the name {name} has none that it could stand for")
    _warn_of_targets(name, model, problems)


def _warn_of_targets(name: str, model: ModelTable, problems: Problems) -> None:
    """Of what is obeyed by nothing, and what is there twice."""
    asked = [(target.provider, target.model) for target in model.targets]
    if len(set(asked)) < len(asked):
        what = "names a target twice; a provider's own retries ask one again"
        problems.warn(("models", name, "targets"), what)
    has_weights = any(target.weight != 1 for target in model.targets)
    if has_weights and model.strategy is Strategy.FAILOVER:
        what = 'has weights, which strategy = "failover" does not look at'
        problems.warn(("models", name, "targets"), what)
    if model.continue_after_failure and len(asked) == 1:
        what = "has one target, which alone can go on with what it failed at itself"
        problems.warn(("models", name, "continue_after_failure"), what)


def check_allowed(
    path: Path, allowed: Sequence[str], models: Collection[str], problems: Problems
) -> None:
    """Each model that somebody may use is one that there is, or more or less than one."""
    for place, entry in enumerate(allowed, start=1):
        if not any(_overlap(entry, model) for model in models):
            what = f"entry {place} is no configured model{nearest(entry, models)}"
            problems.add((*path, "models"), what)


def _overlap(one: str, other: str) -> bool:
    """Whether one of two names or patterns includes the other."""
    return match(one, other) is not None or match(other, one) is not None


def check_key(name: str, table: KeyTable, problems: Problems) -> Key | None:
    """The key that a table describes; None if it describes none."""
    path = ("keys", name)
    if (table.sha256 is None) == (table.secret is None):
        problems.add(path, "must have one of sha256 and secret; `midstream key new NAME` makes one")
        return None
    secret = table.secret.reveal() if table.secret else None
    if secret is not None and is_mistyped(secret):
        problems.add((*path, "secret"), "was not copied whole: its checksum is wrong")
    elif secret is not None and len(secret) < _SECRET_CHARS_MIN:
        what = (
            f"must have at least {_SECRET_CHARS_MIN} characters; `midstream key new NAME` makes one"
        )
        problems.add((*path, "secret"), what)
    return Key(
        name=name,
        digest=bytes.fromhex(table.sha256) if table.sha256 else digest(secret or ""),
        owner=table.owner or name,
        role=table.role,
        expires_at=table.expires.timestamp() if table.expires else None,
        models=table.models,
    )


def check_unlike(keys: Sequence[Key], problems: Problems) -> None:
    """No two keys are the same secret: whose would it be?"""
    names: dict[bytes, str] = {}
    for key in keys:
        earlier = names.setdefault(key.digest, key.name)
        if earlier != key.name:
            problems.add(("keys", key.name), f"has the same secret as [keys.{earlier}]")


def check_reach(
    server: Server, keys: Sequence[Key], off: Sequence[Off], problems: Problems
) -> None:
    """Open access is for this machine alone."""
    if keys or server.is_loopback or problems.has_any(("keys",)):
        return
    asleep = [f"[keys.{key.name}] is off: {key.reason}" for key in off if key.section == "keys"]
    way = "You can "
    if asleep:
        way = f"{asleep[0]}. Set that (to {_SECRET_CHARS_MIN} characters or more), or "
    problems.add(
        ("server", "host"),
        "other machines could reach it, and without a key anybody may use your providers. "
        f"{way}add a key with `midstream key new NAME`, or listen on 127.0.0.1",
    )
