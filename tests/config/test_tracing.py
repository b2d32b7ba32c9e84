"""Whether something is traced is what the standard variables say, and nothing else."""

import importlib.metadata

import pytest

from proxy.config import parse
from proxy.config.tracing import Tracing

AT = "http://127.0.0.1:4318"


def read(**env: str) -> Tracing:
    def no_files(path: str) -> str:
        raise FileNotFoundError(path)

    return parse("", env, no_files).tracing


@pytest.mark.parametrize(
    "env",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": AT},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{AT}/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_TRACES_EXPORTER": "console, otlp"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": AT,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
        {"OTEL_EXPORTER_OTLP_ENDPOINT": AT, "OTEL_SDK_DISABLED": "false"},
    ],
)
def test_an_endpoint_or_the_exporter_turns_traces_on(env: dict[str, str]) -> None:
    assert read(**env).is_on


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SERVICE_NAME": "llm", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": AT},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": AT, "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": AT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_wish_or_against_it_there_are_none(env: dict[str, str]) -> None:
    traces = read(**env)

    assert not traces.is_on
    assert not traces.is_hindered


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": AT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is not http/protobuf",
        ),
    ],
)
def test_what_cannot_be_sent_is_told_and_stops_nobody(env: dict[str, str], named: str) -> None:
    traces = read(**env)

    assert not traces.is_on
    assert traces.is_hindered
    assert named in traces.reason


def test_without_the_packages_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)

    traces = read(OTEL_EXPORTER_OTLP_ENDPOINT=AT)

    assert not traces.is_on
    assert traces.is_hindered
    assert "pip install 'midstream[otel]'" in traces.reason
