"""What a connection remembers of its responses, so that the next one can follow them.

With ``store: false``, and at a provider that knows no Responses, nobody keeps what
`previous_response_id` names. OpenAI's service then goes by a memory of the connection, and so does
this: what was asked and answered is sent again as input. It is in this process alone, never in the
store, and gone with the connection; of all connections together the oldest goes first when it is
too much. What surprises: reasoning that is not encrypted cannot be sent again, and is left out, so
whoever wants it kept asks for ``include: ["reasoning.encrypted_content"]``.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from proxy.stream import Event
from proxy.wire.json_text import ABSENT, NULL, Fields, says_nothing

BYTES_MAX = 64 * 1024 * 1024
"""Of what all connections of a process remember. Chosen: some hundred long conversations."""

Items = Sequence[msgspec.Raw]


class Memories:
    """Of all connections. Every chain counts whole, though it shares its beginning with others."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._chains: OrderedDict[tuple[int, str], Items] = OrderedDict()
        self._names: dict[int, set[str]] = {}
        """Of the responses that each connection remembers."""
        self._connections = 0

    def memory(self) -> "Memory":
        """Of a new connection."""
        self._connections += 1
        return Memory(self, self._connections)

    def get(self, connection: int, name: str) -> Items | None:
        """And it is the newest now."""
        key = (connection, name)
        if key in self._chains:
            self._chains.move_to_end(key)
        return self._chains.get(key)

    def put(self, connection: int, name: str, items: Items) -> None:
        """The newest; what is older gives way."""
        self._drop(connection, name)
        self._chains[connection, name] = items
        self._names.setdefault(connection, set()).add(name)
        self._bytes += _size(items)
        while self._bytes > self._bytes_max:
            self._drop(*next(iter(self._chains)))

    def forget(self, connection: int) -> None:
        """All that it remembers."""
        for name in list(self._names.get(connection, ())):
            self._drop(connection, name)

    def _drop(self, connection: int, name: str) -> None:
        self._bytes -= _size(self._chains.pop((connection, name), ()))
        names = self._names.get(connection, set())
        names.discard(name)
        if not names:
            self._names.pop(connection, None)


class Memory:
    """Of one connection. `forget` it."""

    def __init__(self, memories: Memories, connection: int) -> None:
        self._memories = memories
        self._connection = connection

    def recall(self, response_id: str | None) -> Items | None:
        """All that led to a response, and it; None if that is not remembered."""
        return None if response_id is None else self._memories.get(self._connection, response_id)

    def keep(self, response_id: str, items: Items) -> None:
        """Remember what led to a response, and it."""
        self._memories.put(self._connection, response_id, items)

    def forget(self) -> None:
        """The connection is no more."""
        self._memories.forget(self._connection)


def _size(items: Items) -> int:
    return sum(len(bytes(item)) for item in items)


# --- reading ------------------------------------------------------------------------------------


class _Message(msgspec.Struct, frozen=True, tag="message"):
    role: str
    content: msgspec.Raw


def asked_items(fields: Fields) -> Items:
    """The input of a create, as items. Of what cannot be read, none: the create is refused."""
    given = fields.get("input", NULL)
    if bytes(given).lstrip().startswith(b'"'):
        return [msgspec.Raw(msgspec.json.encode(_Message("user", given)))]
    try:
        return msgspec.json.decode(given, type=list[msgspec.Raw] | None) or []
    except (msgspec.MsgspecError, RecursionError):
        return []


def following(fields: Fields, items: Items) -> Fields:
    """A create that follows from nothing, and says all of it again."""
    rest = {name: raw for name, raw in fields.items() if name != "previous_response_id"}
    said = [*items, *asked_items(fields)]
    return {**rest, "input": msgspec.Raw(msgspec.json.encode(said))}


class _Item(msgspec.Struct):
    type: str = ""
    encrypted_content: msgspec.Raw = ABSENT


class _Response(msgspec.Struct):
    id: str
    output: list[msgspec.Raw]


class _Ended(msgspec.Struct):
    response: _Response


def answered(event: Event) -> tuple[str, Items] | None:
    """The id of a response, and its items, by its last event; None if it does not say."""
    try:
        response = msgspec.json.decode(event.data, type=_Ended).response
        return response.id, [item for item in response.output if _can_be_said_again(item)]
    except (msgspec.MsgspecError, RecursionError):
        return None


def _can_be_said_again(item: msgspec.Raw) -> bool:
    said = msgspec.json.decode(item, type=_Item)
    return said.type != "reasoning" or not says_nothing(said.encrypted_content)
