"""The one `chat.completion` that the chunks of a stream amount to.

Owns what of an answer is said once, what grows and what is replaced, over `assembly`. Of no
events it makes an answer without choices, whose id and model are empty: a stream that has said
nothing yet.
"""

from collections.abc import Iterable

from proxy.stream import DONE, Event
from proxy.wire.assembly import (
    Object,
    decode,
    encode,
    folding,
    grow,
    index_of,
    object_at,
    objects_at,
)

_IDENTITY = frozenset({"id", "model", "created"})
"""Said in each chunk; Azure's chunks about filters leave them empty."""
_NOT_KEPT = frozenset({"object", "choices", "obfuscation"})
"""Of a chunk, not of an answer."""


def fold_chunks(events: Iterable[Event]) -> bytes:
    """The answer so far. Errors are not part of it."""
    answer: Object = {"id": "", "object": "chat.completion", "created": 0, "model": ""}
    choices: dict[int, Object] = {}
    with folding():
        for event in events:
            if event.data == DONE:
                continue
            chunk = object_at(decode(event.data))
            if chunk.get("error"):
                continue
            for key, value in chunk.items():
                if key not in _NOT_KEPT and (value or key not in _IDENTITY):
                    _replace(answer, key, value)
            for choice in objects_at(chunk.get("choices")):
                _add(choices, choice)
        answer["choices"] = [_finished(choices[index]) for index in sorted(choices)]
        return encode(answer)


def _replace(made: Object, key: str, value: object) -> None:
    """The last word counts, but null and ``{}`` are none: Azure ends with filters that are."""
    if key not in made or (value is not None and value != {}):
        made[key] = value


def _add(choices: dict[int, Object], choice: Object) -> None:
    index = index_of(choice) or 0
    made = choices.get(index)
    if made is None:
        message = {"role": "assistant", "content": None, "refusal": None}
        made = {"index": index, "message": message, "logprobs": None, "finish_reason": None}
        choices[index] = made
    delta = object_at(choice.pop("delta", None))
    grow(object_at(made["message"]), delta)
    grow(made, {"logprobs": choice.pop("logprobs", None)})
    for key, value in choice.items():
        if key != "index":
            _replace(made, key, value)


def _finished(choice: Object) -> Object:
    """Tool calls stand in the order of their index, which an answer does not name."""
    message = object_at(choice["message"])
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        calls.sort(key=lambda call: index_of(call) or 0)
        for call in objects_at(calls):
            call.pop("index", None)
    return choice
