"""A response, as far as a client was told it: where the rest of it begins.

Owns what is open there. What surprises: a provider may number its items with gaps, and then nobody
can go on counting.
"""

from collections.abc import Sequence
from typing import NamedTuple

from proxy.errors import CannotContinue
from proxy.stream import DONE, Event
from proxy.wire.assembly import Object, decode, encode, object_at, objects_at
from proxy.wire.responses.fold import folded


class Told(NamedTuple):
    """What there is."""

    response: dict[str, object]
    """Without its output."""
    output: list[dict[str, object]]
    """The items, the open one as it is by now, without the content that is open."""
    is_open: bool = False
    """Whether the last item, a message, is not ended."""
    open_text: str | None = None
    """What is said of its content that is open."""


def told_output(so_far: Sequence[Event]) -> Told:
    """Raises `CannotContinue` for what is open and no text.

    Reasoning that is cut off has no seal, and a client could not give it back.
    """
    items: list[bool] = []
    """Of each whether it is open."""
    has_open_content = False
    for event in so_far:
        said = object_at(decode(event.data)) if event.data != DONE else {}
        match said.get("type"):
            case "response.output_item.added":
                if said.get("output_index") != len(items):
                    raise CannotContinue("gaps")
                items.append(True)
            case "response.output_item.done":
                _end(items, said)
            case "response.content_part.added":
                has_open_content = True
            case "response.content_part.done":
                has_open_content = False
    # Encoded once, for what has grown is no plain data.
    response = object_at(decode(encode(folded(so_far))))
    output = objects_at(response.pop("output", None))
    if not any(items):
        return Told(response, output)
    last = output[-1]
    if any(items[:-1]) or not items[-1] or last.get("type") != "message":
        raise CannotContinue("reasoning" if last.get("type") == "reasoning" else "tool_call")
    contents = last.get("content")
    contents = last["content"] = contents if isinstance(contents, list) else []
    return Told(response, output, True, _text(contents) if has_open_content else None)


def _end(items: list[bool], said: Object) -> None:
    index = said.get("output_index")
    if isinstance(index, int) and index < len(items):
        items[index] = False
    else:
        raise CannotContinue("gaps")


def _text(contents: list[object]) -> str:
    """That of the last content, which is taken out."""
    content = object_at(contents.pop() if contents else None)
    text = content.get("text")
    if content.get("type") != "output_text" or not isinstance(text, str):
        raise CannotContinue("refusal")
    return text
