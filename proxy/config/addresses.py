"""Addresses of stores: what they may be, and the servers that one names.

Pure. Nothing here quotes an address, for there may be a password in it. What surprises: of
several servers each gets an address of its own, in the form that one server's has, so that nobody
else has to know how they are written in one.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_SEVERAL = {
    "redis+sentinel": "redis",
    "rediss+sentinel": "rediss",
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
}
"""The schemes of several servers, and what one of them has."""
_SHAPES = {
    "sentinel": "must be like redis+sentinel://host1:26379,host2:26379/mymaster/0, its path the "
    "name of the master, and perhaps the number of a database",
    "cluster": "must be like redis+cluster://host1:6379,host2:6379, without a path: a cluster has "
    "one database",
}


class SentinelAddress(msgspec.Struct, frozen=True):
    """A master that Sentinels know."""

    sentinels: tuple[str, ...]
    server: str
    """How the master lets in; the host in it is one of the Sentinels'."""
    name: str


class ClusterAddress(msgspec.Struct, frozen=True):
    """Some nodes of a cluster. There may be more."""

    nodes: tuple[str, ...]


class _Parts(msgspec.Struct, frozen=True):
    """The address of several servers, taken apart."""

    scheme: str
    credentials: str
    """With the @ behind them, and quoted; or empty."""
    hosts: tuple[str, ...]
    path: str
    options: Mapping[str, str]

    @property
    def what(self) -> str:
        """``sentinel`` or ``cluster``."""
        return self.scheme.partition("+")[2]

    def urls(self, credentials: str, path: str, port: int) -> tuple[str, ...]:
        """An address for each host; `port` is for those that have none."""
        scheme = _SEVERAL[self.scheme]
        options = urlencode({k: v for k, v in self.options.items() if k in _TLS_OPTIONS})
        tail = f"{path}?{options}" if options else path
        places = (host if urlsplit(f"//{host}").port else f"{host}:{port}" for host in self.hosts)
        return tuple(f"{scheme}://{credentials}{place}{tail}" for place in places)


def several(address: str) -> SentinelAddress | ClusterAddress | None:
    """The servers that a valid address names; None if it names one alone."""
    parts = _split(address)
    if parts is None:
        return None
    if parts.what == "cluster":
        return ClusterAddress(parts.urls(parts.credentials, "", 6379))
    name, _, database = parts.path.partition("/")
    user, password = (quote(parts.options.get(o, ""), safe="") for o in _SENTINEL_OPTIONS)
    credentials = f"{user}:{password}@" if password else ""
    return SentinelAddress(
        sentinels=parts.urls(credentials, "", 26379),
        server=parts.urls(parts.credentials, f"/{database}", 6379)[0],
        name=name,
    )


def without_credentials(address: str) -> str:
    """A valid address as it may be shown."""
    scheme, _, rest = address.partition("://")
    place, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def has_password(address: str) -> bool:
    """Whether a valid address holds one."""
    whole, _, query = address.partition("://")[2].partition("?")
    credentials, _, _ = whole.partition("/")[0].rpartition("@")
    return ":" in credentials or "sentinel_password" in dict(parse_qsl(query))


def wrong_address(address: str) -> str | None:
    """What is wrong with the address of a store, if anything is."""
    if address in {"embedded", "memory://"}:
        return None
    scheme, _, _ = address.partition("://")
    if scheme not in {"redis", "rediss", "unix", *_SEVERAL}:
        return (
            'must be "embedded", "memory://", or an address that begins with redis://, rediss://, '
            "unix://, redis+sentinel:// or redis+cluster:// (rediss+ for TLS)"
        )
    if not address.isascii() or not address.isprintable() or " " in address:
        return "must be printable characters without spaces"
    parts = _split(address)
    return _wrong_single(address, scheme) if parts is None else _wrong_several(parts)


def _wrong_single(address: str, scheme: str) -> str | None:
    try:
        url = urlsplit(address)
        host, _ = url.hostname, url.port
    except ValueError:
        return "its host or port cannot be read: it must be like redis://host:6379/0"
    if what := _wrong_options(dict(parse_qsl(url.query, keep_blank_values=True)), ("db",)):
        return what
    if scheme == "unix":
        is_whole = not host and len(url.path) > 1
        return None if is_whole else "must name a socket by its whole path: unix:///run/redis.sock"
    if "," in url.netloc.rpartition("@")[2]:
        return "can name several hosts only as redis+sentinel:// or redis+cluster://"
    if not host or not (url.path.strip("/").isdecimal() or not url.path.strip("/")):
        return "must be like redis://host:6379/0, its path the number of a database"
    return None


def _wrong_several(parts: _Parts) -> str | None:
    for place, host in enumerate(parts.hosts, start=1):
        try:
            url = urlsplit(f"//{host}")
            is_whole = bool(url.hostname) and url.netloc == host and url.port != 0
        except ValueError:
            is_whole = False
        if not is_whole:
            return f"its host number {place} cannot be read: it must be like host:6379"
    if what := _wrong_options(parts.options, _SENTINEL_OPTIONS if parts.what == "sentinel" else ()):
        return what
    name, slash, database = parts.path.partition("/")
    if parts.what == "sentinel":
        is_shaped = bool(name) and (not slash or database.isdecimal())
    else:
        is_shaped = not parts.path
    return None if is_shaped else _SHAPES[parts.what]


def _wrong_options(options: Mapping[str, str], more: tuple[str, ...]) -> str | None:
    allowed = sorted((*more, *_TLS_OPTIONS))
    if any(name not in allowed for name in options):
        return f"its options can be {', '.join(allowed)}"
    return None


def _split(address: str) -> _Parts | None:
    """The address of several servers, right or wrong; None for any other."""
    scheme, _, rest = address.partition("://")
    if scheme not in _SEVERAL:
        return None
    whole, _, query = rest.partition("?")
    place, _, path = whole.partition("/")
    given, at, hosts = place.rpartition("@")
    user, colon, password = given.partition(":")
    credentials = f"{quote(unquote(user), safe='')}{colon}{quote(unquote(password), safe='')}{at}"
    return _Parts(
        scheme=scheme,
        credentials=credentials,
        hosts=tuple(hosts.split(",")),
        path=path,
        options=dict(parse_qsl(query, keep_blank_values=True)),
    )
