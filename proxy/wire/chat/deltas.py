"""What a chunk of a chat completion adds to its answer."""

from collections.abc import Iterator, Sequence

from proxy.stream import DONE
from proxy.wire.assembly import Object, decode, index_of, object_at, objects_at
from proxy.wire.deltas import Delta, Kind

_TEXTS = ("content", "refusal")
_REASONING = ("reasoning_content", "reasoning")
"""By two names: some servers send both with the same words, and then the first counts."""


def read_chunk(data: bytes) -> Sequence[Delta]:
    """The pieces in it, in the order to be shown. What cannot be read says nothing."""
    if data == DONE:
        return ()
    try:
        chunk = object_at(decode(data))
    except (ValueError, RecursionError):
        return ()
    return [
        delta
        for choice in objects_at(chunk.get("choices"))
        for delta in _read(_said(choice), index_of(choice) or 0)
    ]


def _said(choice: Object) -> Object:
    """Of an answer in one piece it is called otherwise."""
    return object_at(choice.get("delta") or choice.get("message"))


def _read(said: Object, choice: int) -> Iterator[Delta]:
    thought = next((text for key in _REASONING if (text := _text(said, key))), "")
    if thought:
        yield Delta(Kind.REASONING, thought, choice=choice)
    for key in _TEXTS:
        if text := _text(said, key):
            yield Delta(Kind.TEXT, text, choice=choice)
    if spoken := _text(object_at(said.get("audio")), "transcript"):
        yield Delta(Kind.TEXT, spoken, choice=choice)
    for place, call in enumerate(objects_at(said.get("tool_calls"))):
        index = index_of(call)
        yield from _call(call.get("function"), place if index is None else index, choice)
    yield from _call(said.get("function_call"), 0, choice)


def _call(function: object, index: int, choice: int) -> Iterator[Delta]:
    called = object_at(function)
    name, arguments = _text(called, "name"), _text(called, "arguments")
    if name or arguments:
        yield Delta(Kind.TOOL, arguments, index, name, choice)


def _text(said: Object, key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""
