"""Listening sockets: one, or one for each worker on the same port.

With SO_REUSEPORT the kernel deals connections out evenly, where workers that share a socket
leave nearly all to one of them while there is little to do. It also lets two programs take
the same port without noticing, so whether the port is free is asked without it first.
"""

import resource
import socket
import sys

_BACKLOG = 2048
"""Connections that wait to be accepted. Chosen: a thundering herd after a restart fits."""
_KERNEL_BYTES = 64 * 1024
"""Of one connection, not sent yet. Chosen: two batches, so that the next one is at hand in time."""
_SPARE = 256
"""Descriptors for everything but connections. Chosen: several times what a process has open."""


def allow_connections(count: int) -> str | None:
    """Raise this process's limit of open files, and that of those it starts, for so many.

    What to say to the operator if the system does not allow it, else None.
    """
    needed = count + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return None
    return (
        f"this system allows a process {hard} open files, and connections_max and streams_max "
        f"need {needed}: lower them, or raise the hard limit (ulimit -Hn)"
    )


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one address; port 0 takes any that is free.

    On systems other than Linux, which do not deal out evenly, all are the same socket. Raises
    `OSError`.
    """
    first = _listening(host, port, is_shared=False)
    if count == 1:
        return [first]
    if sys.platform != "linux":
        return [first, *(first.dup() for _ in range(count - 1))]
    port = first.getsockname()[1]
    first.close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(_listening(host, port, is_shared=True))  # noqa: PERF401 - some may be open
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listening(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server(
        (host, port), family=family, backlog=_BACKLOG, reuse_port=is_shared
    )
    # What a client has not taken waits here, where it is counted, not in the kernel, which would
    # keep 4 MB for each that takes nothing. Connections have it from the socket they come to.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_BYTES)
    listening.setblocking(False)
    return listening


def address(listening: socket.socket) -> str:
    """Where it listens, as a client writes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
