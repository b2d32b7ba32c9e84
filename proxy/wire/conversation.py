"""A request, whatever the dialect: what is asked, and how it is to be answered.

Owns the vocabulary into which a dialect reads its clients' bodies, and from which another writes
what its provider takes. Each part and setting knows the field of the client's that said it, so that
who cannot express it can name it: nothing is left out in silence (see `translation`).
"""

import enum
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec


class Role(enum.Enum):
    """Whose turn it is."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    """An instruction in the middle of a conversation; those before it are `Conversation.system`."""


class Text(msgspec.Struct, frozen=True):
    """Words."""

    text: str
    path: str = ""
    """Where the client said it: ``messages[3].content[0]``. So for every part."""


class Refusal(msgspec.Struct, frozen=True):
    """The words of an assistant that refused."""

    text: str
    path: str = ""


class Image(msgspec.Struct, frozen=True):
    """A picture: by its URL, or as base64 with its media type."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    """``low``, ``high``, ``auto``, or what else OpenAI has; None where nothing is said."""
    path: str = ""


class File(msgspec.Struct, frozen=True):
    """A document: by its URL, as base64 with its media type, or as plain text."""

    name: str | None = None
    url: str | None = None
    data: str | None = None
    text: str | None = None
    media_type: str | None = None
    path: str = ""


class Reasoning(msgspec.Struct, frozen=True):
    """What a model thought, to be given back to it. `seal` as in `answer.Sealed`."""

    text: str = ""
    seal: str | None = None
    maker: str | None = None
    """The dialect of the provider that made the seal."""
    is_redacted: bool = False
    path: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    """An assistant's call of a tool. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str
    path: str = ""


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool gave. It belongs into a user's turn."""

    call_id: str
    parts: Sequence["Text | Image | File"]
    is_error: bool = False
    path: str = ""


Part: TypeAlias = Text | Refusal | Image | File | Reasoning | ToolCall | ToolResult


class Turn(msgspec.Struct, frozen=True):
    """What one side said at once. Two turns of one role may follow each other."""

    role: Role
    parts: Sequence[Part]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. `parameters` is its JSON schema, as it was written."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    is_strict: bool | None = None
    path: str = ""


class Choice(enum.Enum):
    """Whether a tool is to be called."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ToolChoice(msgspec.Struct, frozen=True):
    """How tools are chosen. `name` where it is `NAMED`."""

    choice: Choice
    name: str | None = None


class Format(msgspec.Struct, frozen=True):
    """That the answer is JSON: any object, or of this schema."""

    schema: msgspec.Raw | None = None
    name: str | None = None
    description: str | None = None
    is_strict: bool | None = None


class Thinking(msgspec.Struct, frozen=True):
    """How much the model is to reason. Of `effort` and `budget_tokens` at most one is said."""

    is_on: bool
    effort: str | None = None
    """``minimal``, ``low``, ``medium``, ``high``, ``xhigh``, ``max``."""
    budget_tokens: int | None = None
    is_shown: bool | None = None
    """Whether its words are wanted; None where nothing is said."""


class Conversation(msgspec.Struct, frozen=True):
    """One request. None is what the client does not say."""

    model: str
    """As the client asks for it, when it is read; the provider's own, when it is written."""
    turns: Sequence[Turn]
    system: Sequence[Text] = ()
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice | None = None
    is_parallel: bool | None = None
    """Whether several tools may be called at once."""
    output_tokens_max: int | None = None
    temperature: float | None = None
    """From 0 to 2."""
    top_p: float | None = None
    top_k: int | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    format: Format | None = None
    thinking: Thinking | None = None
    verbosity: str | None = None
    user: str | None = None
    """Who the client's own user is, by a name that says nothing else."""
    fields: Mapping[str, str] = {}
    """For each of the settings above that is said, the client's field that says it."""
