"""Slots of a cluster: which one a call belongs to, and which node has it. Pure.

A key's slot is that of what stands in its first braces. Here each call names a key with a tag
before anything else with braces, so the first braces of its packed bytes are enough. What
surprises: the CRC in Python's standard library is the one that Redis takes.
"""

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Final, NamedTuple

import hiredis

from proxy.store.redis_link import Reply

SLOTS: Final = 16384


class Address(NamedTuple):
    """Where a node is."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Redirection(NamedTuple):
    """What a node answers that has not, or will soon not have, the slot of a call."""

    is_for_good: bool
    """MOVED: the slot is there. Otherwise ASK: this one call is to go there."""
    slot: int
    address: Address


class SlotMap(NamedTuple):
    """What one node says of its cluster."""

    owners: list[Address | None]
    """By slot."""
    primaries: list[Address]
    """All nodes that have slots."""
    copies: list[Address]
    """All others."""


def slot_of_tag(tag: bytes) -> int:
    """The slot of every key with this tag."""
    return crc_hqx(tag, 0) % SLOTS


def slot_of_call(packed: bytes) -> int | None:
    """The slot of a call; None if it names no key with a tag."""
    start = packed.find(b"{") + 1
    end = packed.find(b"}", start)
    return slot_of_tag(packed[start:end]) if 0 < start < end else None


def read_redirection(reply: Reply, asked: Address) -> Redirection | None:
    """What an error reply of the node at `asked` says about another node, if it does."""
    if not isinstance(reply, hiredis.ReplyError):
        return None
    match str(reply).split():
        case ["MOVED" | "ASK" as what, slot, place]:
            host, _, port = place.rpartition(":")
            address = Address(host.strip("[]") or asked.host, int(port))
            return Redirection(what == "MOVED", int(slot) % SLOTS, address)
        case _:
            return None


def read_slots(reply: Reply, asked: Address) -> SlotMap | None:
    """What the node at `asked` answers to CLUSTER SLOTS; None if it is no such answer."""
    owners: list[Address | None] = [None] * SLOTS
    primaries: dict[Address, None] = {}
    copies: dict[Address, None] = {}
    if not isinstance(reply, list):
        return None
    for entry in reply:
        match entry:
            case [int(first), int(last), list(primary), *replicas]:
                owner = _address(primary, asked)
                owners[first : last + 1] = [owner] * (last + 1 - first)
                primaries[owner] = None
                copies.update((_address(r, asked), None) for r in replicas if isinstance(r, list))
            case _:
                return None
    return SlotMap(owners, list(primaries), [copy for copy in copies if copy not in primaries])


def _address(node: Sequence[Reply], asked: Address) -> Address:
    """A node that does not know its own name has the one that it was asked by."""
    host, port = node[0], node[1]
    known = host.decode() if isinstance(host, bytes) else ""
    return Address(asked.host if known in {"", "?"} else known, int(port) if port else asked.port)  # type: ignore[arg-type]
