"""The stores of the contract suites, for what is tried on real servers here."""

from tests.contracts.conftest import (
    cluster_url,
    redis_backend,
    redis_url,
    sentinel_url,
    valkey_url,
)

__all__ = ["cluster_url", "redis_backend", "redis_url", "sentinel_url", "valkey_url"]
