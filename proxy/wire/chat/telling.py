"""An answer, told as the chunks of a chat completion.

Owns its chunks, from the role to the terminator. What an SDK's accumulator would join wrongly if
it came in pieces (annotations, `reasoning_details`) is told once, with the finish reason.

What surprises: Chat has no field for reasoning. Its words are told as `reasoning_content`, as
DeepSeek does; what is sealed also as a whole in `reasoning_details`, as OpenRouter does, so that a
client that gives its messages back gives back that.
"""

from collections.abc import Mapping, Sequence

from proxy.stream import DONE, Event, Frame, Usage
from proxy.wire.answer import (
    Began,
    Cited,
    Closed,
    Counted,
    Making,
    Opened,
    PartKind,
    Said,
    Sealed,
    Step,
    Stop,
    Stopped,
)
from proxy.wire.assembly import decode, object_at, objects_at
from proxy.wire.chat.fold import fold_chunks
from proxy.wire.json_text import write
from proxy.wire.seals import carried

_FIELDS = {
    PartKind.TEXT: "content",
    PartKind.REFUSAL: "refusal",
    PartKind.REASONING: "reasoning_content",
}
_IDENTITY = ("id", "created", "model")
_REASONS = {
    Stop.END: "stop",
    Stop.LENGTH: "length",
    Stop.SEQUENCE: "stop",
    Stop.TOOL: "tool_calls",
    Stop.REFUSAL: "content_filter",
    Stop.PAUSE: "stop",
}


_OWN = "openai.chat"


class _Told:
    """What the client was told, as far as the rest depends on it."""

    def __init__(self, so_far: Sequence[Event]) -> None:
        answer = object_at(decode(fold_chunks(so_far))) if so_far else {}
        self.identity = {name: answer[name] for name in _IDENTITY if answer.get(name)}
        choice = next(iter(objects_at(answer.get("choices"))), {})
        message = object_at(choice.get("message"))
        content = message.get("content")
        self.content_chars = len(content) if isinstance(content, str) else 0
        self.details = len(objects_at(message.get("reasoning_details")))


class _Part:
    """A part that is being said, and the bytes around what is said of it."""

    def __init__(self, kind: PartKind, before: bytes, after: bytes, start: int) -> None:
        self.kind = kind
        self.before = before
        self.after = after
        self.start = start
        """Where its text stands in the content."""
        self.chars = 0
        self.thoughts: list[str] = []
        self.cited: list[Cited] = []


class ChatTelling:
    """Tells one answer. See `Telling`."""

    def __init__(self, making: Making, so_far: Sequence[Event] = ()) -> None:
        self._maker = making.maker
        told = _Told(so_far)
        self._wants_usage = making.wants_usage
        self._stream = making.stream.removeprefix("st_")
        own = {
            "id": f"chatcmpl-{self._stream}",
            "object": "chat.completion.chunk",
            "created": int(making.created_at),
            "model": making.model,
            **told.identity,
        }
        self._envelope = write(own)[:-1]
        self._head = self._envelope + b',"choices":[{"index":0,"delta":'
        self._tail = b"}]" + (b',"usage":null}' if making.wants_usage else b"}")
        self._parts: dict[int, _Part] = {}
        self._calls = 0
        self._content_chars = told.content_chars
        self._annotations: list[object] = []
        self._details: list[object] = []
        self._details_told = told.details
        self._usage: Usage | None = None

    def tell(self, step: Step) -> Sequence[Frame]:
        """See `Telling`."""
        match step:
            case Said(part, text):
                one = self._parts[part]
                one.chars += len(text)
                if one.kind is PartKind.REASONING:
                    one.thoughts.append(text)
                return (Frame("", one.before + write(text) + one.after),)
            case Began():
                return (self._chunk({"role": "assistant", "content": None}),)
            case Opened():
                return self._open(step)
            case Cited(part):
                self._parts[part].cited.append(step)
            case Sealed():
                self._seal(step)
            case Closed(part):
                return self._close(part)
            case Counted(usage):
                self._usage = usage
            case Stopped(reason):
                return (self._last_chunk(_REASONS[reason]),)
        return ()

    def finish(self) -> Sequence[Frame]:
        """See `Telling`."""
        done = Frame("", DONE)
        if not self._wants_usage or self._usage is None:
            return (done,)
        usage = write(_usage(self._usage))
        return (Frame("", b'%b,"choices":[],"usage":%b}' % (self._envelope, usage)), done)

    def _chunk(self, delta: object, finish_reason: str | None = None) -> Frame:
        end = b',"logprobs":null,"finish_reason":' + write(finish_reason) + self._tail
        return Frame("", self._head + write(delta) + end)

    def _open(self, step: Opened) -> Sequence[Frame]:
        after = b'},"logprobs":null,"finish_reason":null' + self._tail
        if step.kind is not PartKind.TOOL:
            before = b'%b{"%b":' % (self._head, _FIELDS[step.kind].encode())
            self._parts[step.part] = _Part(step.kind, before, after, self._content_chars)
            return ()
        index = self._calls
        self._calls += 1
        before = self._head + b'{"tool_calls":[{"index":%d,"function":{"arguments":' % index
        self._parts[step.part] = _Part(step.kind, before, b"}}]" + after, 0)
        call = {
            "index": index,
            "id": step.call_id or f"call_{self._stream}_{step.part}",
            "type": "function",
            "function": {"name": step.name, "arguments": ""},
        }
        return (self._chunk({"tool_calls": [call]}),)

    def _seal(self, step: Sealed) -> None:
        if self._maker == _OWN:  # the seal is the provider's own details, all of them
            for detail in objects_at(decode(step.seal)):
                self._add_detail(detail)
            return
        seal = carried(self._maker, step.seal, is_redacted=step.is_redacted)
        if step.is_redacted:
            kind = {"type": "reasoning.encrypted", "data": seal}
        else:
            thoughts = "".join(self._parts[step.part].thoughts)
            kind = {"type": "reasoning.text", "text": thoughts, "signature": seal}
        self._add_detail(kind)

    def _add_detail(self, detail: Mapping[str, object]) -> None:
        index = self._details_told + len(self._details)
        self._details.append({**detail, "index": index})

    def _close(self, part: int) -> Sequence[Frame]:
        one = self._parts.pop(part)
        if one.kind is PartKind.TOOL and not one.chars:  # which would be no JSON
            return (Frame("", one.before + b'"{}"' + one.after),)
        if one.kind is PartKind.TEXT:
            self._content_chars += one.chars
            self._annotations += [_annotation(cited, one) for cited in one.cited]
        return ()

    def _last_chunk(self, reason: str) -> Frame:
        delta: dict[str, object] = {}
        if self._annotations:
            delta["annotations"] = self._annotations
        if self._details:
            delta["reasoning_details"] = self._details
        return self._chunk(delta, reason)


def _annotation(cited: Cited, part: _Part) -> object:
    """Where nothing says which words rest on it, all of the part's do."""
    start = 0 if cited.start is None else cited.start
    end = part.chars if cited.end is None else cited.end
    url_citation = {
        "start_index": part.start + start,
        "end_index": part.start + end,
        "title": cited.title,
        "url": cited.url,
    }
    return {"type": "url_citation", "url_citation": url_citation}


def _usage(usage: Usage) -> object:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
