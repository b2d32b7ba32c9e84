"""The master that Sentinels know: found anew for each connection, and looked for between them.

It is a way to the master, for nodes and bells alike, and owns nothing but the memory of the links
that it made. What a Sentinel says is believed only if the server that it names says so too. What
surprises: links to an earlier master are closed as soon as a later one is found. A master that
stood still, was cut off or was told to step down goes on as if nothing had happened, for 8 s and
more; what is written there is lost, and whoever is with the next one takes the writer for dead.
"""

import asyncio
import contextlib
import weakref
from collections.abc import Sequence
from typing import Final, cast

import hiredis

from proxy.store.redis_link import Endpoint, Link, Reply, pack

_ASK_S: Final = 0.5
"""For one Sentinel, with its connection. Chosen: they do nothing that takes time, and one that is
gone must leave time for the others."""


_LOOK_EVERY_S: Final = 1.0
"""Chosen: a lease has more than twice as long left, even if it was just about to be renewed."""


class Sentinels:
    """See the module. `server` says how the master lets in; its place is not looked at."""

    def __init__(self, sentinels: Sequence[Endpoint], server: Endpoint, *, name: str) -> None:
        self._sentinels = list(sentinels)
        """The one that answered last comes first."""
        self._server = server
        self._name = name
        self._found: tuple[str, int] | None = None
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()

    async def connect(self) -> Link:
        """A link to the master. Raises OSError. The caller bounds the time."""
        troubles = []
        for sentinel in tuple(self._sentinels):
            try:
                async with asyncio.timeout(_ASK_S):
                    found = await self._ask(sentinel)
            except TimeoutError:
                troubles.append(f"Sentinel {_place(sentinel)} does not answer")
                continue
            except OSError as error:
                troubles.append(f"Sentinel {_place(sentinel)}: {error}")
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            try:
                return await self._connect_to(*found)
            except OSError as error:
                troubles.append(f"{found[0]}:{found[1]}, which a Sentinel names: {error}")
        raise ConnectionRefusedError("; ".join(troubles))

    async def keep_looking(self, timeout_s: float) -> None:
        """Leave a master that is none any more, within a second or so, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._found is None:
                continue
            try:
                async with asyncio.timeout(_ASK_S):
                    found = await self._ask(self._sentinels[0])
            except OSError:
                self._sentinels.append(self._sentinels.pop(0))
                continue
            if found != self._found:
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(timeout_s):
                        (await self.connect()).abort("it was looked for")

    async def _ask(self, sentinel: Endpoint) -> tuple[str, int]:
        """Where the master is, as one Sentinel says. Raises OSError."""
        link = await sentinel.connect()
        try:
            (said,) = await link.exchange(
                pack("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name), 1
            )
        finally:
            link.abort("asked")
        match said:
            case [bytes(host), bytes(port)]:
                return host.decode(), int(port)
            case hiredis.ReplyError():
                raise ConnectionRefusedError(str(said))
            case _:
                raise ConnectionRefusedError(f"it knows no master {self._name}")

    async def _connect_to(self, host: str, port: int) -> Link:
        link = await self._server.at(host, port).connect()
        (said,) = await link.exchange(pack("HELLO"), 1)
        role = read_hello(said).get("role", "server that does not answer as Redis does")
        if role != "master":
            link.abort("it is no master")
            raise ConnectionRefusedError(f"it says that it is a {role}")
        if self._found != (host, port):
            self._found = (host, port)
            for earlier in tuple(self._links):
                earlier.abort("another server is the master now")
            self._links.clear()
        self._links.add(link)
        return link


def read_hello(reply: Reply) -> dict[str, str]:
    """What a server says of itself: version, mode, role; nothing if it does not know HELLO."""
    if not isinstance(reply, list):
        return {}
    names, values = cast("list[bytes]", reply[::2]), reply[1::2]
    told = zip(names, values, strict=True)
    return {name.decode(): value.decode() for name, value in told if isinstance(value, bytes)}


def _place(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}"
