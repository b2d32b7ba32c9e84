"""A cluster: which nodes there are, who has which slot, and whom to listen to.

It owns what is known of the nodes, and the task that looks again when that was wrong; it carries
out no calls. Nobody waits for a look: a call that cannot be carried out fails, and whoever made
it tries again, which every write here allows. What surprises: one pub/sub connection is enough,
to any node, because a cluster carries each message to all of them.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import hiredis

from proxy.errors import StoreUnavailable
from proxy.store.redis_link import Endpoint, Link, pack
from proxy.store.redis_slots import Address, SlotMap, read_slots

_LOOK_S: Final = 1.0
"""For one node to be connected to and asked. Chosen: one that is frozen must not hide the others
for long."""
_LOOK_EVERY_S: Final = 0.1
"""Between two looks. Chosen: short beside the seconds that a failover takes."""
_SLOTS: Final = pack("CLUSTER", "SLOTS")


class Cluster:
    """See the module. `start` it, and `close` it.

    `turn` says where among equals to begin, so that not all processes listen to the same node.
    """

    def __init__(self, seeds: Sequence[Endpoint], *, turn: int) -> None:
        self._template = seeds[0]
        self._seeds = [Address(seed.host, seed.port) for seed in seeds]
        self._map = SlotMap([], [], [])
        self._turn = turn
        self._troubled_at: dict[Address, float] = {}
        """Loop time of the newest trouble with a node."""
        self._is_doubted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ear: Link | None = None
        self._ear_at: Address | None = None

    async def start(self) -> None:
        """Look for the first time, and from now on whenever it is needed.

        Raises `StoreUnavailable`.
        """
        await self._look()
        self._task = asyncio.create_task(self._keep_looking())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # --- what is known ------------------------------------------------------------------------

    @property
    def primaries(self) -> Sequence[Address]:
        """All nodes that have slots."""
        return self._map.primaries

    def by_trust(self) -> list[Address]:
        """All nodes: those that never made trouble first, then those that did so long ago."""
        known = [*self._map.primaries, *self._map.copies]
        turn = self._turn % max(len(known), 1)
        nodes = dict.fromkeys([*known[turn:], *known[:turn], *self._seeds])
        return sorted(nodes, key=lambda address: self._troubled_at.get(address, 0.0))

    def owner(self, slot: int) -> Address | None:
        """Who has a slot; None if nobody has."""
        return self._map.owners[slot]

    def endpoint(self, address: Address) -> Endpoint:
        """How to reach a node."""
        return self._template.at(address.host, address.port)

    def moved(self, slot: int, address: Address) -> None:
        """A node says that another has the slot, so more may be different."""
        self._map.owners[slot] = address
        self._is_doubted.set()

    def doubt(self) -> None:
        """A call failed, or there was nobody to call."""
        self._is_doubted.set()

    def avoid(self, address: Address) -> None:
        """A node cannot be reached, or does not answer."""
        self._troubled_at[address] = asyncio.get_running_loop().time()
        if address == self._ear_at and self._ear is not None:
            self._ear.abort("its node is in trouble")

    # --- looking ------------------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        while True:
            await self._is_doubted.wait()
            await asyncio.sleep(_LOOK_EVERY_S)
            self._is_doubted.clear()
            with contextlib.suppress(StoreUnavailable):
                await self._look()

    async def _look(self) -> None:
        """Learn the slots from the first node that tells them."""
        said = "it has no nodes"
        for address in self.by_trust():
            try:
                async with asyncio.timeout(_LOOK_S):
                    link = await self.endpoint(address).connect()
                    try:
                        (reply,) = await link.exchange(_SLOTS, 1)
                    finally:
                        link.abort("asked")
            except OSError as error:
                said = f"{address}: {error or 'no answer'}"
                self._troubled_at[address] = asyncio.get_running_loop().time()
                continue
            found = read_slots(reply, address)
            if found is not None and found.primaries:
                self._map = found
                known = {*found.primaries, *found.copies, *self._seeds}
                self._troubled_at = {a: at for a, at in self._troubled_at.items() if a in known}
                return
            said = f"{address}: {reply if isinstance(reply, hiredis.ReplyError) else 'no slots'}"
        raise StoreUnavailable(said)

    # --- listening ----------------------------------------------------------------------------

    async def connect(self) -> Link:
        """A link for bells, to any node that answers. Raises OSError.

        Who needs a new one has lost the one before, so its node comes last.
        """
        if self._ear_at is not None:
            self._troubled_at[self._ear_at] = asyncio.get_running_loop().time()
        refusals = ["there is no node"]
        for address in self.by_trust():
            try:
                async with asyncio.timeout(_LOOK_S):
                    link = await self.endpoint(address).connect()
                    await link.exchange(pack("PING"), 1)  # one that stands still connects too
            except OSError as error:
                refusals.append(f"{address}: {error or 'no answer'}")
                self._troubled_at[address] = asyncio.get_running_loop().time()
            else:
                self._ear, self._ear_at = link, address
                return link
        raise ConnectionRefusedError(refusals[-1])
