"""What the request bodies of all dialects have in common: a model, messages, whether to stream.

Every refusal names its field and says what it must be. All else is the provider's to judge.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from proxy.errors import MalformedRequest
from proxy.wire.assembly import decode, object_at, objects_at
from proxy.wire.json_text import ABSENT, NULL, TRUE, Fields, write, write_object

T = TypeVar("T")

GO_ON = (
    "Your last message was cut off by a fault. Go on with it from where it ends, so that what you "
    "write now can be joined to it: begin with the character that comes next, even in the middle "
    "of a word. Repeat nothing of it, write no introduction, and do not speak of this message."
)
"""What a model is told that goes on with what another has begun."""

_DECIDING = frozenset(
    {
        "model",
        "messages",
        "input",
        "stream",
        "stream_options",
        "background",
        "previous_response_id",
        "n",
        "n_predict",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
    }
)
"""What is decided by, or set, before a request is sent on."""


def read_model(fields: Fields) -> str:
    """The name that the client asks for; by no other field.

    Servers in Go read names in whatever letters: ``Model`` behind our ``model`` would win there.
    """
    for name in fields:
        meant = name.casefold()
        if meant != name and meant in _DECIDING:
            raise MalformedRequest(f"'{name}' must be written '{meant}'.", param=name)
    model = read_field(fields, "model", str, "a string that names a model")
    if not model:
        raise MalformedRequest("'model' must be a string that names a model.", param="model")
    return model


def check_messages(fields: Fields) -> None:
    """`messages` must be an array; what is in it, the provider judges."""
    read_field(fields, "messages", list[msgspec.Raw], "an array")


def read_flag(fields: Fields, name: str, param: str = "") -> bool:
    """A boolean that may be null or absent, which is false."""
    if fields.get(name, NULL) == NULL:
        return False
    return read_field(fields, name, bool, "true or false", param)


def read_field(fields: Fields, name: str, kind: type[T], must_be: str, param: str = "") -> T:
    """A required field of this type. Raises `MalformedRequest` with `param`, else `name`."""
    param = param or name
    value = fields.get(name, ABSENT)
    if value == ABSENT:
        raise MalformedRequest(f"'{param}' is required: {must_be}.", param=param)
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"'{param}' must be {must_be}.", param=param) from error


def whole_body_for(fields: Fields, model: str) -> bytes:
    """The client's body, which asks for no stream, with another model."""
    return write_object({**fields, "model": msgspec.Raw(msgspec.json.encode(model))})


def body_for(fields: Fields, model: str, **others: msgspec.Raw) -> bytes:
    """The client's body with another model and, always, ``stream: true``.

    Every field that is not replaced keeps its bytes and its place; a new one comes last.
    """
    model_text = msgspec.Raw(msgspec.json.encode(model))
    return write_object({**fields, "model": model_text, "stream": TRUE, **others})


def value_of(fields: Mapping[str, msgspec.Raw], name: str) -> object:
    """What a field says, as plain data; None if it is absent, or the provider's to judge."""
    try:
        return decode(bytes(fields.get(name, NULL)))
    except (RecursionError, ValueError):
        return None


def appended(array: msgspec.Raw, *more: object) -> msgspec.Raw:
    """An array with more elements, which keeps its bytes."""
    head, _, _ = bytes(array).rpartition(b"]")
    comma = b"" if head.rstrip().endswith(b"[") else b","
    return msgspec.Raw(b"%b%b%b" % (head, comma, write(more)[1:]))


def ends_with_an_answer(array: msgspec.Raw) -> bool:
    """Whether the last message is the client's own beginning of an answer."""
    return object_at((objects_at(decode(bytes(array))) or [{}])[-1]).get("role") == "assistant"
