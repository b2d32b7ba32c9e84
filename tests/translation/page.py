"""The tables of `proxy/translation.md`, made of the code that they speak of.

`python -m tests.translation.page` writes them anew; a test holds the page to them. Whatever a
table says was found by translating: nothing in here knows a field of any dialect, but for what the
lists of fields (`wire.*.fields`) say in words.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import proxy
from proxy.errors import MalformedRequest, ProviderUntranslatable
from proxy.stream import Frame, StreamId, Usage
from proxy.wire import conversation as asked
from proxy.wire.answer import (
    Began,
    Closed,
    Counted,
    Making,
    Opened,
    PartKind,
    Said,
    Stop,
    Stopped,
)
from proxy.wire.conversation import Conversation
from proxy.wire.dialects import all_dialects
from proxy.wire.efforts import BUDGETS, effort_of
from proxy.wire.given import LeftOut, Refused
from tests.wire.sdk_types import CHAT, MESSAGES, RESPONSES
from tests.wire.translating import READ, RULES, WRITTEN, writes

PAGE = Path(proxy.__file__).parent / "translation.md"
NAMES = (CHAT, RESPONSES, MESSAGES)
_TABLE = re.compile(r"(?<=<!-- table: )(.+?)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)
_WORDS = '{"x":1}'
_SAMPLE = 7
"""A count that is told, so that it can be found again."""

Rows = Iterator[Sequence[str]]


def tables() -> dict[str, str]:
    """Every table, by its name."""
    made: dict[str, tuple[Sequence[str], Callable[[], Rows]]] = {
        "settings": (("what is asked", *NAMES), _settings),
        "efforts": (("effort", "is the budget", "a budget of as much is the effort"), _efforts),
        "parts": (("part of an answer", *NAMES), _parts),
        "stops": (("a provider of", "says", *NAMES), _stops),
        "usage": (("counted", *NAMES), _usage),
    }
    found = {name: _table(head, rows()) for name, (head, rows) in made.items()}
    for name in NAMES:
        found[f"asked in {name}"] = _table(("field", "becomes of it"), _of_a_client(name))
        adapted = [(f"`{path}`", how) for path, how in WRITTEN[name].items()]
        found[f"written in {name}"] = _table(("field", "adapted"), adapted)
    return found


def filled(page: str) -> str:
    """`page` with every table as it should be. Raises `KeyError` for one that nobody makes."""
    made = tables()
    return _TABLE.sub(lambda found: f"{found[1]}{found[2]}{made[found[1]]}", page)


def names_in(page: str) -> list[str]:
    """The tables that a page has."""
    return [found[1] for found in _TABLE.finditer(page)]


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


# --- requests ---------------------------------------------------------------------------------


_PARTS: Mapping[str, asked.Text | asked.Image | asked.File] = {
    "text": asked.Text("x"),
    "image": asked.Image(url="https://example.com/x.png"),
    "document, PDF": asked.File(name="x.pdf", data="JVBERi0=", media_type="application/pdf"),
    "document by its URL": asked.File(url="https://example.com/x.pdf"),
    "document, plain text": asked.File(name="x", text="x", media_type="text/plain"),
}
_TOOL = asked.Tool("f")
_USER = asked.Turn(asked.Role.USER, [asked.Text("Hello")])
_BASE = Conversation(model="m", turns=[_USER], tools=[_TOOL], output_tokens_max=4096)
_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "system prompt": {"system": [asked.Text("x")]},
    "bound of the answer": {"output_tokens_max": 50},
    "temperature to 1": {"temperature": 0.5},
    "temperature above 1": {"temperature": 1.5},
    "top_p": {"top_p": 0.5},
    "top_k": {"top_k": 5},
    "stop sequences": {"stop": ["x"]},
    "seed": {"seed": 1},
    "penalty for presence": {"presence_penalty": 1.0},
    "penalty for frequency": {"frequency_penalty": 1.0},
    "JSON of any shape": {"format": asked.Format()},
    "JSON by a schema": {"format": asked.Format(schema=msgspec.Raw(b"{}"), name="x")},
    "effort of thinking": {"thinking": asked.Thinking(is_on=True, effort="high")},
    "no thinking": {"thinking": asked.Thinking(is_on=False)},
    "verbosity": {"verbosity": "low"},
    "user": {"user": "x"},
    "choice of tools": {"tool_choice": asked.ToolChoice(asked.Choice.REQUIRED)},
    "one call at a time": {"is_parallel": False},
}


def _settings() -> Rows:
    for name, change in _SETTINGS.items():
        changed = msgspec.structs.replace(_BASE, **change)
        yield name, *(_written(dialect, changed) for dialect in NAMES)
    for name, part in _PARTS.items():
        turn = asked.Turn(asked.Role.USER, [part])
        changed = msgspec.structs.replace(_BASE, turns=[turn])
        yield f"{name} in a user's turn", *(_taken(dialect, changed) for dialect in NAMES)
    for name, part in _PARTS.items():
        call = asked.Turn(asked.Role.ASSISTANT, [asked.ToolCall("c", "f", "{}")])
        result = asked.Turn(asked.Role.USER, [asked.ToolResult("c", [part])])
        changed = msgspec.structs.replace(_BASE, turns=[_USER, call, result])
        yield f"{name} in a tool's result", *(_taken(dialect, changed) for dialect in NAMES)


def _named(changed: Conversation) -> Conversation:
    fields = {name: name for name in Conversation.__struct_fields__}
    return msgspec.structs.replace(changed, fields=fields)


def _written(dialect: str, changed: Conversation) -> str:
    """The fields that a provider gets of it."""
    before = writes(dialect, _named(_BASE))
    try:
        after = writes(dialect, _named(changed))
    except MalformedRequest:
        return "400"
    found = [f"`{path}`" for path in _changes(before, after)]
    return ", ".join(found) or "as it is without a word"


def _changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The outermost fields that are new, or the innermost that say something else."""
    for name in sorted({**before, **after}):
        old, new, at = before.get(name), after.get(name), f"{path}.{name}".lstrip(".")
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, at)
        elif isinstance(new, dict) and old is None and path == "":
            yield from _changes({}, new, at)
        else:
            yield at


def _taken(dialect: str, changed: Conversation) -> str:
    try:
        writes(dialect, _named(changed))
    except MalformedRequest:
        return "400"
    return "yes"


def _efforts() -> Rows:
    for effort, budget in BUDGETS.items():
        yield effort, f"{budget:,}", f"`{effort_of(budget)}`"


def _of_a_client(name: str) -> Rows:
    told = {path: f"adapted: {how}" for path, how in READ[name].items()}
    for path, rule in RULES[name].items():
        match rule:
            case LeftOut(why):
                said = f"left out: {why}"
            case Refused(why, unless):
                values = ", ".join(f"`{json.dumps(value)}`" for value in unless)
                said = f"400: {why}" + (f"; but {values} is left out" if values else "")
        told[path] = f"{told[path]}; {said}" if path in told else said
    for path in sorted(told):
        yield f"`{path}`", told[path]


# --- answers ----------------------------------------------------------------------------------


def _told(dialect: str, *steps: Any) -> list[Any]:
    """What a client is told of an answer with these steps, as JSON."""
    making = Making(StreamId("st_x"), "m", 0.0, "maker", wants_usage=True)
    telling = all_dialects()[dialect].telling(making)
    frames = [frame for step in (Began(), *steps) for frame in telling.tell(step)]
    frames += telling.finish()
    return [json.loads(frame.data) for frame in frames if frame.data != b"[DONE]"]


def _parts() -> Rows:
    for kind in PartKind:
        with_it = (Opened(0, kind, "c", "f"), Said(0, _WORDS), Closed(0), Stopped(Stop.END))
        yield kind.value, *(f"`{_place(_told(name, *with_it), _WORDS)}`" for name in NAMES)


def _place(said: Any, wanted: object, path: str = "") -> str:
    """Where the first value stands that is `wanted`: names of fields, and types of objects."""
    pairs: Any = said.items() if isinstance(said, dict) else enumerate(said)
    kind = said.get("type", "") if isinstance(said, dict) else ""
    here = f"{path} {kind}".strip()
    for name, value in pairs:
        at = f"{here}.{name}".lstrip(".") if isinstance(name, str) else here
        if value == wanted and value is not True:
            return at
        found = _place(value, wanted, at) if isinstance(value, dict | list) else ""
        if found:
            return found
    return ""


def _stops() -> Rows:
    for dialect, words in WORDS.items():
        for word in words:
            stop = _heard(dialect, word)
            told = [
                "—" if name == dialect else f"`{_stop(name, stop)}`" if stop else "untranslatable"
                for name in NAMES
            ]
            yield dialect, f"`{word}`", *told


WORDS: Mapping[str, Sequence[str]] = {
    CHAT: ("stop", "length", "tool_calls", "content_filter", "function_call"),
    RESPONSES: ("completed", "max_output_tokens", "max_messages", "content_filter", "steered"),
    MESSAGES: (
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
        "compaction",
    ),
}
"""All that the SDKs' types have; a test holds that."""


def _heard(dialect: str, word: str) -> Stop | None:
    hearing = all_dialects()[dialect].hearing()
    response: dict[str, object] = {"incomplete_details": {"reason": word}, "output": []}
    ends: Mapping[str, object] = {
        CHAT: {"choices": [{"index": 0, "delta": {}, "finish_reason": word}]},
        RESPONSES: {"type": "response.incomplete", "response": response},
        MESSAGES: {"type": "message_delta", "delta": {"stop_reason": word}, "usage": {}},
    }
    end = ends[dialect]
    if word == "completed":
        end = {"type": "response.completed", "response": {"output": []}}
    try:
        steps = [*hearing.hear(Frame("", json.dumps(end).encode())), *hearing.finish()]
    except ProviderUntranslatable:
        return None
    return next(step.reason for step in steps if isinstance(step, Stopped))


def _stop(dialect: str, stop: Stop) -> str:
    events = _told(dialect, Stopped(stop))
    match dialect:
        case "openai.chat":
            found = [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1]
        case "openai.responses":
            response = events[-1]["response"]
            details = response.get("incomplete_details")
            found = response["status"] + (f", {details['reason']}" if details else "")
        case _:
            found = events[-2]["delta"]["stop_reason"]
    return str(found)


def _usage() -> Rows:
    for name in Usage.__struct_fields__:
        if name != "is_estimate":
            counted = Counted(msgspec.structs.replace(Usage(), **{name: _SAMPLE}))
            cells = [_place(_told(one, counted, Stopped(Stop.END)), _SAMPLE) for one in NAMES]
            yield name, *(f"`{cell.rpartition('usage.')[2]}`" for cell in cells)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
