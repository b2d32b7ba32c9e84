"""Listening sockets: one, or one for each worker on the same port.

With SO_REUSEPORT the kernel deals connections out evenly, where workers that share a socket
leave nearly all to one of them while there is little to do. It also lets two programs take
the same port without noticing, so whether the port is free is asked without it first.
"""

import socket
import sys

_BACKLOG = 2048
"""Connections that wait to be accepted. Chosen: a thundering herd after a restart fits."""


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
    listening.setblocking(False)
    return listening


def address(listening: socket.socket) -> str:
    """Where it listens, as a client writes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
