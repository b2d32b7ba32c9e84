"""Processes: one that does everything, or a supervisor and its workers.

Owns listening sockets, signals, the way down and what becomes of a worker that dies; it never
looks into a request.
"""

import signal

from proxy.config import Config
from proxy.observe import Observer
from proxy.serving.listening import allow_connections
from proxy.serving.source import ConfigFile, read_secret
from proxy.serving.supervisor import supervise
from proxy.serving.worker import serve_alone, warn

__all__ = ["ConfigFile", "read_secret", "serve"]


def serve(config: Config, source: ConfigFile, observer: Observer) -> int:
    """Serve until told to stop; the process's exit code."""
    # A reload waits until it can be done. Whoever does it unblocks it; the store may take minutes.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    shortage = allow_connections(config.server.connections_max + config.server.streams_max)
    if shortage is not None:
        warn(shortage)
    for warning in config.warnings:
        warn(warning)
    if config.tracing.is_hindered:
        warn(f"nothing is traced: {config.tracing.reason}")
    if config.server.workers == 1:
        return serve_alone(config, source, observer)
    return supervise(config, source, observer)
