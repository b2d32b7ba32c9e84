"""The composition root: knows every class, holds no rule."""

import importlib.metadata
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec
from litestar import Litestar
from litestar.datastructures import State as AppState
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp

from proxy.config import Config, needs_restart
from proxy.downstream.create import plan_again
from proxy.downstream.dashboard import dashboard_routes
from proxy.downstream.desk import ConfigRefusal, Desk, HttpSettings
from proxy.downstream.encryption import Encryption
from proxy.downstream.front import Front
from proxy.downstream.generate import generate_routes
from proxy.downstream.lanes.handshake import lanes_routes
from proxy.downstream.metrics import metrics_routes
from proxy.downstream.models import models_routes
from proxy.downstream.operator import operator_routes
from proxy.downstream.passing import passing_routes
from proxy.downstream.problems import handle_error
from proxy.downstream.responses import responses_routes
from proxy.downstream.resting import resting_routes
from proxy.downstream.revocation import revoke, revoking
from proxy.downstream.schema import openapi_json
from proxy.downstream.streams import streams_routes
from proxy.downstream.usage import usage_routes
from proxy.downstream.websocket.handshake import websocket_routes
from proxy.errors import ConfigInvalid
from proxy.observe import Names, Observer
from proxy.policy.keys import Keyring
from proxy.policy.routes import Routes
from proxy.relay.ports import Clock, Entropy, Identity
from proxy.relay.settings import Settings
from proxy.relay.switchboard import Switchboard
from proxy.relay.writer import Limits
from proxy.store.opening import OpenStore, open_store
from proxy.upstream.providers import Fleet
from proxy.wire.dialect import Dialect
from proxy.wire.dialects import all_dialects
from proxy.wire.responses import OpenAIResponses


class WallClock:
    """The machine's clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


class SystemEntropy:
    """The machine's randomness."""

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes nobody can guess."""
        return secrets.token_bytes(count)


class App(msgspec.Struct, frozen=True):
    """The whole proxy but for its socket."""

    asgi: ASGIApp
    switchboard: Switchboard
    store: OpenStore
    reload: Callable[[Config], None]
    """Go by another config from now on; what needs a restart stays as it is, and is told."""
    refuse: Callable[[ConfigRefusal], None]
    """Tell whoever asks that there is another config, which is not valid."""


@asynccontextmanager
async def running_app(
    config: Config,
    observer: Observer,
    *,
    on_trouble: Callable[[str], None],
    store_url: str | None = None,
) -> AsyncIterator[App]:
    """The whole proxy but for its socket, while inside.

    `store_url` is that of the embedded store, if somebody else owns its server.
    """
    clock, entropy, dialects = WallClock(), SystemEntropy(), all_dialects()
    identity = _identity(clock, entropy)
    routes = Routes(config.models)
    observer.counts.know(_names(config, routes, dialects, identity))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_tracing(config, observer, identity))
        store = await stack.enter_async_context(
            open_store(
                config.store,
                lease_s=config.streams.lease_s,
                clock=clock,
                worker=identity.id,
                on_trouble=on_trouble,
                embedded_url=store_url,
            )
        )
        fleet = Fleet(config.providers)
        stack.push_async_callback(fleet.close)
        switchboard = Switchboard(
            store.journal,
            store.ledger,
            store.rests,
            clock,
            entropy,
            observer,
            dialects,
            _settings(config),
        )
        await stack.enter_async_context(switchboard.running())
        await stack.enter_async_context(switchboard.reporter(identity).running())
        desk = _desk(config, switchboard, dialects, fleet, routes, store)
        await stack.enter_async_context(revoking(desk))
        reload = _reload_from(config, desk, fleet, identity)

        def refuse(refusal: ConfigRefusal) -> None:
            desk.refused = refusal

        yield App(Front(_litestar(desk), observer, entropy), switchboard, store, reload, refuse)


def _desk(
    config: Config,
    switchboard: Switchboard,
    dialects: dict[str, Dialect],
    fleet: Fleet,
    routes: Routes,
    store: OpenStore,
) -> Desk:
    desk = Desk(
        switchboard=switchboard,
        dialects=dialects,
        providers=fleet.providers,
        routes=routes,
        keyring=Keyring(config.keys),
        pools=config.pools,
        observer=switchboard.observer,
        settings=_http_settings(config),
        encryption=_encryption(config),
        ping=store.ping,
    )
    switchboard.takeover.plan = partial(plan_again, desk)
    return desk


@asynccontextmanager
async def _tracing(config: Config, observer: Observer, identity: Identity) -> AsyncIterator[None]:
    """While inside, what happens is traced, if that is wanted."""
    if not config.tracing.is_on:
        yield
        return
    # its packages may not be there, and cost 70 ms and 10 MiB (measured)
    from proxy.observe.export import exporting  # noqa: PLC0415

    async with exporting(observer, identity.version, identity.id) as observer.traces:
        yield
    observer.traces = None


def _reload_from(
    config: Config, desk: Desk, fleet: Fleet, identity: Identity
) -> Callable[[Config], None]:
    """What `App.reload` does, in a process that was started with `config`."""

    def reload(changed: Config) -> None:
        """Everything that can fail comes first. Raises `ConfigInvalid`."""
        if not changed.keys and not config.server.is_loopback:  # it goes on listening there
            what = f"this server listens on {config.server.host}, and needs a key while it does"
            raise ConfigInvalid((f"[keys]: {what}",))
        encryption = _encryption(changed)
        desk.providers = fleet.change(changed.providers, desk.switchboard.providers_in_use())
        desk.routes = Routes(changed.models)
        desk.keyring = Keyring(changed.keys)
        desk.pools = changed.pools
        desk.settings = _http_settings(changed)
        desk.encryption = encryption
        desk.refused = None
        revoke(desk)
        desk.observer.counts.know(_names(changed, desk.routes, desk.dialects, identity))
        desk.observer.reloaded(needs_restart(config, changed))

    return reload


def _identity(clock: Clock, entropy: Entropy) -> Identity:
    return Identity(
        id=entropy.random_bytes(8).hex(),
        host=socket.gethostname(),
        pid=os.getpid(),
        version=importlib.metadata.version("midstream"),
        started_at=clock.now(),
    )


def _names(
    config: Config, routes: Routes, dialects: Mapping[str, Dialect], identity: Identity
) -> Names:
    owners = {key.owner for key in config.keys} | {Keyring.open_principal.owner}
    targets = [target for route in config.models for target in route.targets]
    return Names(
        route_of=routes.name_of,
        owners=owners,
        providers=set(config.providers),
        dialects={dialect.path: name for name, dialect in dialects.items()},
        version=identity.version,
        targets={f"{target.provider}/{target.model}" for target in targets},
    )


def _settings(config: Config) -> Settings:
    return Settings(
        lease_s=config.streams.lease_s,
        grace_s=config.store.grace_s,
        heartbeat_s=config.streams.heartbeat_s,
        streams_max=config.server.streams_max,
        limits=Limits(
            event_bytes_max=config.streams.event_bytes_max,
            stream_bytes_max=config.streams.stream_bytes_max,
        ),
    )


def _http_settings(config: Config) -> HttpSettings:
    return HttpSettings(
        body_bytes_max=config.server.body_bytes_max,
        message_bytes_max=config.server.message_bytes_max,
        heartbeat_s=config.streams.heartbeat_s,
        reader_stall_s=config.streams.reader_stall_s,
        first_content_s=config.streams.first_content_s,
        retention_s=config.store.retention_s,
        retention_max_s=config.store.retention_max_s,
        detach=config.streams.detach,
        takeover=config.streams.takeover,
    )


def _encryption(config: Config) -> Encryption:
    return Encryption(config.store.encryption_keys, secrets.token_bytes)


def _litestar(desk: Desk) -> Litestar:
    """The routes. Errors of any kind leave in the caller's dialect."""
    return Litestar(
        route_handlers=[
            *generate_routes(desk),
            *passing_routes(desk),
            *streams_routes(desk),
            *responses_routes(desk, desk.dialects[OpenAIResponses.name]),
            *models_routes(desk),
            *usage_routes(desk),
            *websocket_routes(desk),
            *lanes_routes(desk),
            *operator_routes(desk, openapi_json()),
            *resting_routes(desk),
            *metrics_routes(desk),
            *dashboard_routes(desk),
        ],
        exception_handlers={Exception: handle_error, HTTPException: handle_error},
        state=AppState({"desk": desk}),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
