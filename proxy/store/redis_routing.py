"""Calls in a cluster: each on the node that has its slot, wherever that is by now.

It owns the connections to the nodes, and follows their redirections; it never waits for a node to
come back. What surprises: a call may be repeated on another node, which every call here allows.
"""

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, NamedTuple

import hiredis

from proxy.errors import StoreFull, StoreUnavailable
from proxy.store.redis_cluster import Cluster
from proxy.store.redis_link import Reply, pack
from proxy.store.redis_node import Node, Script
from proxy.store.redis_slots import Address, read_redirection, slot_of_call, slot_of_tag

_ROUTES_MAX: Final = 6
"""Of one call. Specified by what a move takes: one MOVED, one ASK, both again where the scripts
were not known yet, and one more for a move that ends meanwhile."""
_ASKING: Final = pack("ASKING")
_TRY_AGAIN: Final = "TRYAGAIN"
_RETURNED: Final = ("OOM", "MOVED", "ASK", _TRY_AGAIN)


class Route(NamedTuple):
    """Where a call goes next."""

    address: Address
    is_asking: bool = False


class ClusterCarrier:
    """See the module and `Carrier`. At most `links_max` calls at a time on each node.

    If it `returns_moving`, a call that was refused because its keys are just being moved has an
    error as its reply; otherwise that is raised.
    """

    def __init__(
        self,
        cluster: Cluster,
        scripts: Mapping[str, Script],
        *,
        timeout_s: float,
        links_max: int,
        returns_moving: bool,
    ) -> None:
        self._cluster = cluster
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._links_max = links_max
        self._returns_moving = returns_moving
        self._nodes: dict[Address, Node] = {}

    def part(self, tag: str) -> Hashable:
        """See `Carrier.part`."""
        return self._cluster.owner(slot_of_tag(tag.encode()))

    async def call(self, packed: bytes) -> Reply:
        """See `Carrier.call`."""
        (reply,) = await self.run((packed,))
        if isinstance(reply, hiredis.ReplyError):
            raise StoreFull
        return reply

    async def call_each(self, packed: bytes) -> Mapping[Hashable, Reply]:
        """See `Carrier.call_each`."""
        primaries = self._cluster.primaries
        asked = {Route(address): (packed,) for address in primaries}
        replies = await self._ask_all(asked, self._until())
        return {at: reply for at, (reply,) in zip(primaries, replies, strict=True)}

    async def run(self, calls: Sequence[bytes]) -> list[Reply]:
        """See `Carrier.run`. The nodes work side by side."""
        until = self._until()
        replies: list[Reply] = [None] * len(calls)
        routes = [self._route(call) for call in calls]
        todo = list(range(len(calls)))
        for _ in range(_ROUTES_MAX):
            if not todo:
                return replies
            places: dict[Route, list[int]] = {}
            for place in todo:
                places.setdefault(routes[place], []).append(place)
            asked = {route: [calls[p] for p in own] for route, own in places.items()}
            answers = await self._ask_all(asked, until)
            todo = []
            for (route, own), answer in zip(places.items(), answers, strict=True):
                for place, reply in zip(own, answer, strict=True):
                    replies[place] = reply
                    if onward := self._onward(reply, route.address):
                        routes[place] = onward
                        todo.append(place)
        raise StoreUnavailable("its nodes do not agree who has a slot")

    def close(self) -> None:
        """See `Carrier.close`."""
        for node in self._nodes.values():
            node.close()

    # --- one step -----------------------------------------------------------------------------

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s

    def _route(self, call: bytes) -> Route:
        slot = slot_of_call(call)
        address = self._cluster.by_trust()[0] if slot is None else self._cluster.owner(slot)
        if address is None:
            self._cluster.doubt()
            raise StoreUnavailable(f"no node has slot {slot}")
        return Route(address)

    def _onward(self, reply: Reply, asked: Address) -> Route | None:
        """Where the node that was asked sends the call; None if it has answered."""
        found = read_redirection(reply, asked)
        if found is None:
            if not self._returns_moving and _is_moving(reply):
                raise StoreUnavailable(f"{asked} is just moving it: {str(reply)!r}")
            return None
        if found.is_for_good:
            self._cluster.moved(found.slot, found.address)
        return Route(found.address, is_asking=not found.is_for_good)

    async def _ask_all(
        self, asked: Mapping[Route, Sequence[bytes]], until: float
    ) -> list[list[Reply]]:
        """Raises `StoreUnavailable` if one node fails, but not before all others are done."""
        if len(asked) == 1:
            ((route, calls),) = asked.items()
            return [await self._ask(route, calls, until)]
        answers = await asyncio.gather(
            *(self._ask(route, calls, until) for route, calls in asked.items()),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def _ask(self, route: Route, calls: Sequence[bytes], until: float) -> list[Reply]:
        address = route.address
        node = self._nodes.get(address) or self._open(address)
        try:
            if not route.is_asking:
                return await node.run(calls, until)
            both = [part for call in calls for part in (_ASKING, call)]
            return (await node.run(both, until))[1::2]
        except StoreUnavailable as error:
            self._cluster.doubt()
            if isinstance(error.__cause__, OSError):  # otherwise it has answered
                self._cluster.avoid(address)
            raise StoreUnavailable(f"{address}: {error.reason}") from error

    def _open(self, address: Address) -> Node:
        known = {*self._cluster.by_trust(), address}
        for gone in self._nodes.keys() - known:
            self._nodes.pop(gone).close()
        node = self._nodes[address] = Node(
            self._cluster.endpoint(address),
            self._scripts,
            timeout_s=self._timeout_s,
            links_max=self._links_max,
            returned=_RETURNED,
        )
        return node


def _is_moving(reply: Reply) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_TRY_AGAIN)
