"""What ``config.toml`` may say: one Struct for each kind of table, one field for each key.

Types, ranges and defaults stand here and nowhere else; the shipped ``config.toml`` explains
each key beside its default, and a test compares the two. A number has a range, and its unit in
its name. `Config` is what the rest of the proxy sees: secrets resolved, models led to their
targets, and everything that is off taken out.

This is longer than a file should be because who writes a config reads it whole.
"""

import ipaddress
from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from proxy.config.addresses import without_credentials
from proxy.config.names import ModelName, Name
from proxy.config.quotas import Quota
from proxy.config.reaching import Certificates, ProxyUrl
from proxy.config.secret import Secret, random_key
from proxy.config.targets import SilentTokens, TargetTable
from proxy.config.tracing import Tracing
from proxy.policy.keys import Key, Role
from proxy.policy.pools import Pools
from proxy.policy.routes import SILENT_TOKENS_PER_S, Route, Strategy, Unstreamed
from proxy.stream import Detach, Price

_KIB = 1024
_MIB = 1024 * 1024
_GIB = 1024 * 1024 * 1024

Host = Annotated[
    str,
    Meta(pattern=r"\A[0-9A-Za-z.:_%-]{1,253}\Z", description="an IP address or a host name"),
]
BaseUrl = Annotated[
    str,
    Meta(
        pattern=r"\Ahttps?://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?(/[!-\"$->@-~]*)?\Z",
        description="an http or https address without credentials, query or fragment",
    ),
]
Path = Annotated[str, Meta(min_length=1, max_length=1000, description="a path")]
Sha256 = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9A-Fa-f]{64}\Z",
        description="64 hexadecimal digits, as `midstream key new NAME` prints them",
    ),
]
Seconds = Annotated[float, Meta(ge=0.01, le=86_400)]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """``[server]``: where the proxy listens, and what it takes from its clients."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    drain_s: Annotated[float, Meta(ge=0, le=3600)] = 20.0
    headers_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    body_s: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    header_bytes_max: Annotated[int, Meta(ge=1 * _KIB, le=1 * _MIB)] = 32 * _KIB
    header_count_max: Annotated[int, Meta(ge=10, le=10_000)] = 100
    body_bytes_max: Annotated[int, Meta(ge=1 * _KIB, le=1 * _GIB)] = 32 * _MIB
    message_bytes_max: Annotated[int, Meta(ge=1 * _KIB, le=1 * _GIB)] = 4 * _MIB
    connections_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    streams_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 2000
    quota: Name | None = None
    log: Literal["text", "json"] = "text"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """Where it listens, as a client writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """``[store]``: where journals are kept, and for how long."""

    url: Secret = Secret("embedded", "")
    path: Path = ".midstream"
    namespace: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9_.-]{1,64}\Z",
            description="1 to 64 letters, digits or any of _ . -",
        ),
    ] = "midstream"
    retention_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 3600.0
    retention_max_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 86_400.0
    timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    grace_s: Annotated[float, Meta(ge=0, le=600)] = 30.0
    encryption_key: tuple[Secret, ...] | None = None
    """The first one encrypts."""

    @property
    def encryption_keys(self) -> tuple[bytes, ...]:
        """Of a valid file, 32 bytes each."""
        keys = (random_key(secret.reveal()) for secret in self.encryption_key or ())
        return tuple(key for key in keys if key is not None)

    @property
    def kind(self) -> Literal["embedded", "memory", "redis"]:
        """What is behind `url`."""
        match self.url.reveal():
            case "embedded":
                return "embedded"
            case "memory://":
                return "memory"
            case _:
                return "redis"

    @property
    def address(self) -> str:
        """The store in one word, without credentials."""
        match self.kind:
            case "embedded":
                return f"embedded:{self.path}"
            case "memory":
                return "memory"
            case "redis":
                return without_credentials(self.url.reveal())


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """``[streams]``: how streams live."""

    detach: Detach = Detach()
    heartbeat_s: Annotated[float, Meta(ge=0.1, le=15)] = 15.0
    lease_s: Annotated[float, Meta(ge=1, le=60)] = 5.0
    event_bytes_max: Annotated[int, Meta(ge=64 * _KIB, le=64 * _MIB)] = 8 * _MIB
    stream_bytes_max: Annotated[int, Meta(ge=64 * _KIB, le=1 * _GIB)] = 64 * _MIB
    first_content_s: Annotated[float, Meta(ge=0, le=300)] = 10.0
    reader_stall_s: Annotated[float, Meta(ge=1, le=600)] = 30.0
    takeover: bool = False


class _Answering(msgspec.Struct, frozen=True, kw_only=True):
    """For any kind of provider: its quota, the producer's deadlines and patience, its rests."""

    quota: Name | None = None
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    retry_wait_s: Annotated[float, Meta(ge=0, le=600)] = 8.0
    terminator: Literal["required", "optional"] = "required"
    first_event_s: Seconds = 300.0
    idle_s: Seconds = 120.0
    total_s: Seconds = 3600.0
    rest_after: Annotated[int, Meta(ge=0, le=1000)] = 5
    rest_s: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    rest_max_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 120.0


class RemoteProvider(_Answering, frozen=True, kw_only=True):
    """A provider that is reached over HTTP."""

    kind: ClassVar[str]

    base_url: BaseUrl
    api_key: Secret | None = None
    optional: bool = False
    connect_s: Seconds = 10.0
    resumes: Literal["auto", "never"] = "auto"
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    query: dict[str, str] = msgspec.field(default_factory=dict)
    body: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    auth: Literal["bearer", "api-key", "x-api-key"] = "bearer"
    proxy: ProxyUrl = None
    ca_file: Certificates | None = None


_OPENAI_URL = "https://api.openai.com/v1"


class OpenAIProvider(RemoteProvider, frozen=True, kw_only=True):
    """``[providers.NAME]`` with ``kind = "openai"``."""

    kind = "openai"
    base_url: BaseUrl = _OPENAI_URL
    dialects: (
        Annotated[tuple[Literal["openai.chat", "openai.responses"], ...], Meta(min_length=1)] | None
    ) = None

    @property
    def asked_in(self) -> tuple[str, ...]:
        """The dialects it speaks, the preferred first. Servers like OpenAI mostly have but chat."""
        if self.dialects is not None:
            return tuple(dict.fromkeys(self.dialects))
        is_openai = self.base_url.rstrip("/") == _OPENAI_URL
        return ("openai.chat", "openai.responses") if is_openai else ("openai.chat",)


class AnthropicProvider(RemoteProvider, frozen=True, kw_only=True):
    """``[providers.NAME]`` with ``kind = "anthropic"``."""

    kind = "anthropic"
    base_url: BaseUrl = "https://api.anthropic.com"
    asked_in: ClassVar[tuple[str, ...]] = ("anthropic.messages",)


class ScriptedProvider(_Answering, frozen=True, kw_only=True):
    """``[providers.NAME]`` with ``kind = "scripted"``: plays recordings."""

    kind: ClassVar[str] = "scripted"

    recordings: Path | None = None
    """A directory; None for the demo's own recordings."""
    events_per_s: Annotated[float, Meta(ge=0.1, le=100_000)] = 20.0
    start_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    chunk: Literal["event"] | Annotated[int, Meta(ge=1, le=1 * _MIB)] = "event"
    fault: Literal["cut", "reset", "stall", "garbage", "error", "huge", "status"] | None = None
    fault_after: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    fault_status: Annotated[int, Meta(ge=400, le=599)] = 500
    resumes: bool = False
    fault_times: Annotated[int, Meta(ge=1, le=1000)] = 1


Provider = OpenAIProvider | AnthropicProvider | ScriptedProvider


class ModelTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[models.NAME]`` as it is written; `parse` makes a `Route` of it."""

    targets: tuple[TargetTable, ...]
    """At least one."""
    strategy: Strategy = Strategy.FAILOVER
    continue_after_failure: bool = False
    unstreamed: Unstreamed = Unstreamed.FOLD
    price: Price | None = None
    """Of a target that has none of its own."""
    silent_tokens_per_s: SilentTokens = SILENT_TOKENS_PER_S
    """The same."""


class KeyTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[keys.NAME]`` as it is written; `parse` makes a `Key` of it."""

    sha256: Sha256 | None = None
    secret: Secret | None = None
    owner: Name | None = None
    role: Role = Role.USER
    expires: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="a date and time with its offset, such as 2027-01-01T00:00:00Z",
            ),
        ]
        | None
    ) = None
    models: tuple[ModelName, ...] | None = None
    quota: Name | None = None
    optional: bool = False


class Off(msgspec.Struct, frozen=True):
    """A table that is not in force."""

    section: Literal["providers", "models", "keys"]
    name: str
    reason: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, valid."""

    server: Server
    store: Store
    streams: Streams
    providers: dict[str, Provider]
    models: tuple[Route, ...]
    keys: tuple[Key, ...]
    quotas: dict[str, Quota]
    pools: Pools
    """What the quotas of the server and of providers come to."""
    off: tuple[Off, ...]
    warnings: tuple[str, ...]
    """What is allowed and perhaps not meant, each with its line."""
    tracing: Tracing
    """As the environment has it; the file says nothing of it."""


_RELOADED = {
    "server": {"body_bytes_max", "quota"},
    "store": {"retention_s", "retention_max_s", "encryption_key"},
    "streams": {"detach", "first_content_s", "reader_stall_s", "takeover"},
}
"""What a running process can take from a changed file, of the sections that are not by name."""


def needs_restart(before: Config, after: Config) -> tuple[str, ...]:
    """The keys that a changed file sets to something else, and a running process cannot."""
    return tuple(
        f"[{section}] {name}"
        for section, reloaded in _RELOADED.items()
        for name in getattr(before, section).__struct_fields__
        if name not in reloaded
        and getattr(getattr(before, section), name) != getattr(getattr(after, section), name)
    )
