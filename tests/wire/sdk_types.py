"""The SDKs' own types of a request, walked: what is one, and one of each kind.

A type checker that is run. Pydantic's would not do: it looks into an `Iterable` only when somebody
iterates, and takes keys that a `TypedDict` does not have.
"""

import collections.abc
from collections.abc import Iterator, Mapping
from functools import cache
from os import PathLike
from types import NoneType, UnionType
from typing import IO, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import anthropic.types.message_create_params
import openai.types.chat.completion_create_params
import openai.types.responses.response_create_params
import pydantic
import typing_extensions

CHAT, MESSAGES, RESPONSES = "openai.chat", "anthropic.messages", "openai.responses"
REQUESTS: Mapping[str, Any] = {
    CHAT: openai.types.chat.completion_create_params.CompletionCreateParamsStreaming,
    MESSAGES: anthropic.types.message_create_params.MessageCreateParamsStreaming,
    RESPONSES: openai.types.responses.response_create_params.ResponseCreateParamsStreaming,
}
_WANTED = ("call_id", "file_data", "image_url", "schema")
"""Fields that nobody can do without, although their types say so."""
_SCALARS = {str: "x", int: 2000, float: 0.5, bool: True, NoneType: None}
_SAMPLES: Mapping[str, Any] = {
    "arguments": '{"a": 1}',
    "file_data": "data:application/pdf;base64,AAAA",
    "image_url": "https://example.com/a.png",
    "input": {"a": 1},
    "n": 1,
    "parameters": {"type": "object"},
    "role": "user",
    "url": "https://example.com/a",
}
"""By the name of a field: what makes sense in it."""
_DEPTH_MAX = 12
_FAR = 10
"""How often a problem counts that shows another member of a union to be meant."""


class Variation(NamedTuple):
    """A value that has one thing more than the least that its type wants, or another thing."""

    value: Any
    path: tuple[str | int, ...]
    """Where in the value it is."""
    is_optional: bool
    """Whether the value would be valid without it."""


def pattern_of(path: tuple[str | int, ...]) -> str:
    """``messages[].content[].text`` of ``("messages", 0, "content", 1, "text")``."""
    text = "".join("[]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def path_of(path: tuple[str | int, ...]) -> str:
    """``messages[0].content[1].text`` of the same."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@cache
def fields_of(kind: Any) -> Mapping[str, Any]:
    """The fields of a `TypedDict`, without `Required` and the like."""
    return typing_extensions.get_type_hints(kind)


@cache
def required_of(kind: Any) -> set[str]:
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    return {
        name
        for name, hint in hints.items()
        if str(get_origin(hint)).endswith(".Required")
        or (name in kind.__required_keys__ and kind.__total__)
    }


def members_of(kind: Any) -> list[Any]:
    """What JSON of a type can be: of a union each member, but nothing of the SDK's own."""
    origin: Any = get_origin(kind)
    if origin is Annotated:
        return members_of(get_args(kind)[0])
    if origin in {Union, UnionType}:
        return [one for member in get_args(kind) for one in members_of(member)]
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel | PathLike):
        return []
    if origin in {IO, PathLike}:  # what the SDK reads before it sends
        return []
    return [kind]


def is_array(kind: Any) -> bool:
    arrays = {list, collections.abc.Iterable, collections.abc.Sequence}
    return get_origin(kind) in arrays or getattr(kind, "__name__", "") == "SequenceNotStr"


def element_of(kind: Any) -> Any:
    return get_args(kind)[0]


def problems(value: Any, kind: Any, path: str = "") -> list[str]:
    """What keeps a value from being of a type; of a union, what does so for its nearest member."""
    found = [_problems_of_one(value, member, path) for member in members_of(kind)]
    return min(found, key=len, default=[])


def _problems_of_one(value: Any, kind: Any, path: str) -> list[str]:
    if typing_extensions.is_typeddict(kind):
        return _problems_of_object(value, kind, path)
    if is_array(kind):
        if not isinstance(value, list):
            return [f"{path} is no array"] * _FAR
        element = element_of(kind)
        return [one for item in value for one in problems(item, element, f"{path}[]")]
    if get_origin(kind) is dict:
        return [] if isinstance(value, dict) else [f"{path} is no object"] * _FAR
    if get_origin(kind) is Literal:
        return [] if value in get_args(kind) else [f"{path} is {value!r}"]
    if kind is object or kind is Any:
        return []
    wanted = (int, float) if kind is float else kind
    is_one = isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
    return [] if is_one else [f"{path} is {value!r}, no {kind}"] * _FAR


def _problems_of_object(value: Any, kind: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is no object"] * _FAR
    fields = fields_of(kind)
    found = [f"{path}.{name} is missing" for name in required_of(kind) - value.keys()]
    for name, one in value.items():
        if name not in fields:
            found += [f"{path}.{name} is not of {kind.__name__}"] * _FAR
        else:
            wrong = problems(one, fields[name], f"{path}.{name}")
            found += wrong * _FAR if name in {"type", "role"} else wrong
    return found


def least(kind: Any, name: str = "") -> Any:
    """The least value of a type: of an object, what is required."""
    (kind, *_) = members_of(kind)
    if typing_extensions.is_typeddict(kind):
        fields = fields_of(kind)
        needed = [one for one in fields if one in required_of(kind) or one in _WANTED]
        return {one: least(fields[one], one) for one in needed}
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if name in _SAMPLES and not problems(_SAMPLES[name], kind):
        return _SAMPLES[name]
    if is_array(kind):
        return [least(element_of(kind))]
    if get_origin(kind) is dict or kind is object:
        return {"k": "v"}
    return _SCALARS[kind]


def variations(kind: Any, name: str = "", depth: int = 0) -> Iterator[Variation]:
    """Each field of a type in turn, however deep, with each of its kinds of values."""
    for member in members_of(kind):
        if typing_extensions.is_typeddict(member) and depth < _DEPTH_MAX:
            yield from _variations_of_object(member, depth)
        elif get_origin(member) is Literal:
            for one in get_args(member):
                yield Variation(one, (), is_optional=False)
        elif is_array(member):
            for one in variations(element_of(member), "", depth + 1):
                yield Variation([one.value], (0, *one.path), one.is_optional)
        elif member is not NoneType:
            yield Variation(least(member, name), (), is_optional=False)


def _variations_of_object(kind: Any, depth: int) -> Iterator[Variation]:
    whole = least(kind)
    required = required_of(kind)
    yield Variation(whole, (), is_optional=False)
    for name, hint in fields_of(kind).items():
        for one in variations(hint, name, depth + 1):
            is_optional = one.is_optional if one.path else name not in required
            yield Variation({**whole, name: one.value}, (name, *one.path), is_optional)
