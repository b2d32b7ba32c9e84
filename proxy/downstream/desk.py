"""What every handler needs, in one place. Built by the composition root.

What surprises: providers, routes, keyring, pools, settings and encryption are put anew when the
config is reloaded, so a handler asks the desk for them with each request, and keeps none.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from proxy.downstream.encryption import Encryption
from proxy.observe import Observer
from proxy.policy.keys import Keyring
from proxy.policy.pools import Pools
from proxy.policy.routes import Routes
from proxy.relay.ports import Provider
from proxy.relay.switchboard import Switchboard
from proxy.stream import Detach
from proxy.wire.dialect import Dialect


class HttpSettings(msgspec.Struct, frozen=True):
    """What the handlers are told by the config."""

    body_bytes_max: int
    message_bytes_max: int
    heartbeat_s: float
    reader_stall_s: float
    first_content_s: float
    """How long a streamed POST holds its status back, so that an early failure can be one."""
    retention_s: float
    retention_max_s: float
    detach: Detach
    takeover: bool


class ConfigRefusal(msgspec.Struct, frozen=True):
    """A changed config that was not valid, and changed nothing."""

    since: float
    """Unix seconds."""
    problem: str
    """The first of its problems."""


class Desk(msgspec.Struct):
    """See the module."""

    switchboard: Switchboard
    dialects: Mapping[str, Dialect]
    providers: Mapping[str, Provider]
    routes: Routes
    keyring: Keyring
    pools: Pools
    observer: Observer
    settings: HttpSettings
    encryption: Encryption
    """Of recipes."""
    ping: Callable[[], Awaitable[None]]
    """Reaches the store, or raises `StoreUnavailable`."""
    refused: ConfigRefusal | None = None
    """Set while the config's file is not what is in force, because it is not valid."""
