"""The one message that the events of a stream amount to.

Owns what of a message is said once, what grows and what is replaced, over `assembly`. Of no
events it makes a message without content, whose id and model are empty: a stream that has said
nothing yet.

What surprises: a tool's input comes as pieces of JSON text. While they do not make a whole, the
block has ``"input": {}`` and the text so far in ``partial_json``, so that a reader who joins
here can add the pieces that follow.
"""

from collections.abc import Iterable

from proxy.stream import Event
from proxy.wire.assembly import Object, decode, encode, folding, grow, index_of, object_at

_ENVELOPE = frozenset({"type", "delta", "usage"})


def fold_message(events: Iterable[Event]) -> bytes:
    """The answer so far. Errors and pings are not part of it."""
    fold = _Fold()
    with folding():
        for event in events:
            fold.add(object_at(decode(event.data)))
        return encode(fold.finished())


class _Fold:
    def __init__(self) -> None:
        self._message: Object = {
            "id": "",
            "type": "message",
            "role": "assistant",
            "model": "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._blocks: dict[int, Object] = {}

    def add(self, event: Object) -> None:
        """One event. What comes without its start is passed over, as the SDK cannot take it."""
        index = index_of(event)
        kind = event.get("type")
        if kind == "message_start":
            self._message.update(object_at(event.get("message")))
        elif kind == "content_block_start" and index is not None:
            block: Object = {}
            grow(block, object_at(event.get("content_block")))
            self._blocks[index] = block
        elif kind == "content_block_delta" and index in self._blocks:
            _add_delta(self._blocks[index], object_at(event.get("delta")))
        elif kind == "message_delta":
            self._add_message_delta(event)

    def _add_message_delta(self, event: Object) -> None:
        rest = {key: value for key, value in event.items() if key not in _ENVELOPE}
        _replace(self._message, {**rest, **object_at(event.get("delta"))})
        usage = dict(object_at(self._message.get("usage")))
        _replace(usage, object_at(event.get("usage")))
        self._message["usage"] = usage

    def finished(self) -> Object:
        """The message, its blocks in the order of their index."""
        for block in self._blocks.values():
            _finish_input(block)
        if self._blocks:
            self._message["content"] = [self._blocks[index] for index in sorted(self._blocks)]
        return self._message


def _replace(made: Object, said: Object) -> None:
    """The last word counts, but null is none."""
    for key, value in said.items():
        if value is not None or key not in made:
            made[key] = value


def _add_delta(block: Object, delta: Object) -> None:
    """A delta names the block's field that grows, but for a citation, which is one of many."""
    kind = delta.pop("type", None)
    if kind == "citations_delta":
        delta = {"citations": [delta.get("citation")]}
    grow(block, delta)


def _finish_input(block: Object) -> None:
    """Read the pieces of a tool's input, if they are all there."""
    if "partial_json" not in block:
        return
    text = str(block["partial_json"])
    try:
        block["input"] = decode(text) if text.strip() else block.get("input", {})
    except ValueError:
        block["input"] = {}
    else:
        del block["partial_json"]
