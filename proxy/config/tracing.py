"""Whether traces are wanted, and can be sent: what the standard ``OTEL_*`` variables say of it.

There is no key for it in the file: these variables are what platforms set, and the OpenTelemetry
SDK reads all else that they say. What cannot be done is told, and nothing is traced; the proxy
serves all the same.
"""

import importlib.metadata
from collections.abc import Mapping

import msgspec

_PACKAGE = "opentelemetry-exporter-otlp-proto-http"
_PROTOCOL = "http/protobuf"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS = "OTEL_TRACES_EXPORTER"


class Tracing(msgspec.Struct, frozen=True):
    """Whether anything is traced, and why."""

    is_on: bool
    reason: str
    is_hindered: bool = False
    """Somebody wants them, but they cannot be sent."""


def read_tracing(env: Mapping[str, str]) -> Tracing:
    """What the variables ask for."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Tracing(is_on=False, reason="OTEL_SDK_DISABLED is true")
    wish = _wish(env)
    if wish is None:
        return Tracing(is_on=False, reason="no OTEL_EXPORTER_OTLP_ENDPOINT is set")
    exporters = {each.strip() for each in env.get(_EXPORTERS, "").split(",")} - {""}
    if exporters == {"none"}:
        return Tracing(is_on=False, reason=f"{_EXPORTERS} is none")
    what = _hindrance(env, exporters)
    if what is not None:
        return Tracing(is_on=False, reason=what, is_hindered=True)
    return Tracing(is_on=True, reason=f"{wish} is set")


def _wish(env: Mapping[str, str]) -> str | None:
    """The variable that asks for traces."""
    return next((name for name in (_EXPORTERS, *_ENDPOINTS) if env.get(name)), None)


def _hindrance(env: Mapping[str, str], exporters: set[str]) -> str | None:
    if exporters and "otlp" not in exporters:
        return f"{_EXPORTERS} asks for something else than otlp"
    named = next((name for name in _PROTOCOLS if env.get(name)), None)
    if named is not None and env[named].strip() != _PROTOCOL:
        return f"{named} is not {_PROTOCOL}, the one that traces are sent by"
    try:
        importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "traces need more packages: pip install 'midstream[otel]'"
    return None
