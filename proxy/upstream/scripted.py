"""A provider that plays recordings, with the delays and faults that its settings name.

For the demo, for tests and for load: no network, no clock but the event loop's, one timer for each
event. A recording is a file of raw provider bytes, ``NAME.chat.sse``, ``NAME.responses.sse`` or
``NAME.messages.sse``; or of what is not streamed, ``NAME.chat.json``, ``NAME.embeddings.json`` and
so on, which is one event. The target's model is the NAME. What surprises: an event is due at a
moment, not after a pause, so a reader that was held up gets what it missed at once, as it would
from a network.
"""

import asyncio
import importlib.resources
import re
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources.abc import Traversable
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple, assert_never

from proxy import config
from proxy.errors import ConfigInvalid, ProviderRefused, ProviderTruncated
from proxy.observe import Peer
from proxy.relay.ports import Deadlines, Patience, ProviderModel, UpstreamRequest
from proxy.wire.passages import PASSAGES

_SUFFIXES = {
    "openai.chat": ".chat.sse",
    "openai.responses": ".responses.sse",
    "anthropic.messages": ".messages.sse",
}
_WHOLE = "whole "
"""Before a dialect: its answers in one piece."""
_WHOLE_SUFFIXES = {
    _WHOLE + dialect: suffix.replace(".sse", ".json") for dialect, suffix in _SUFFIXES.items()
}
_PASSAGE_SUFFIXES = {passage.name: f".{passage.name}.json" for passage in PASSAGES}
_BLOCK = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)|.+", re.DOTALL)
_DATA = re.compile(rb"(?:\A|[\r\n])data:")
_ASKED_TO_WAIT = frozenset({429, 503, 529})
_RETRY_AFTER_S = 1.0
_FILLER = b"x" * 65_536
_FILLERS = 480
"""Of a huge event: some 30 MB."""


class _Faults(NamedTuple):
    """What the faults of a dialect look like."""

    garbage: bytes
    error: bytes
    huge_begin: bytes
    huge_end: bytes


_FAULTS = {
    "openai.chat": _Faults(
        garbage=b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"del\n\n',
        error=b'data: {"error":{"message":"The server had an error.","type":"server_error",'
        b'"param":null,"code":"server_error"}}\n\n',
        huge_begin=b'data: {"id":"chatcmpl-huge","object":"chat.completion.chunk",'
        b'"created":1767225600,"model":"huge","choices":[{"index":0,"delta":{"content":"',
        huge_end=b'"},"finish_reason":null}]}\n\n',
    ),
    "openai.responses": _Faults(
        garbage=b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        b'"sequence_n\n\n',
        error=b'event: error\ndata: {"type":"error","code":"server_error","message":"The server '
        b'had an error.","param":null,"sequence_number":0}\n\n',
        huge_begin=b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"'
        b',"sequence_number":0,"item_id":"msg_huge","output_index":0,"content_index":0,'
        b'"logprobs":[],"delta":"',
        huge_end=b'"}\n\n',
    ),
    "anthropic.messages": _Faults(
        garbage=b'event: content_block_delta\ndata: {"type":"content_block_delta","inde\n\n',
        error=b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"Overloaded"}}\n\n',
        huge_begin=b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"',
        huge_end=b'"}}\n\n',
    ),
}


class _Piece(NamedTuple):
    """Bytes that are sent at once, and the place of the event with which they are due."""

    place: int
    data: bytes


class _Play(NamedTuple):
    """What is played of a recording, and how it ends."""

    pieces: Sequence[_Piece]
    end: Literal["whole", "reset", "stall"] = "whole"


class ScriptedProvider:
    """See the module. Raises `ConfigInvalid` if there is nothing to play."""

    def __init__(self, name: str, settings: config.ScriptedProvider) -> None:
        self.name = name
        self.dialects = tuple(_SUFFIXES)
        self.peer = Peer(settings.kind)
        self.rest = settings.rest
        self.deadlines = Deadlines(
            first_event_s=settings.first_event_s,
            idle_s=settings.idle_s,
            total_s=settings.total_s,
        )
        self.patience = Patience(settings.retries, settings.retry_wait_s)
        self.may_leave_out_terminator = settings.terminator == "optional"
        self._settings = settings
        self._pause_s = 1 / settings.events_per_s if settings.events_per_s else 0.0
        self._plays = dict(_read_recordings(name, settings))
        self.passages = {kind for kind, _ in self._plays} & set(_PASSAGE_SUFFIXES)

    def dialects_for(self, model: str) -> Sequence[str]:
        """See `Provider.dialects_for`: those of the model's recordings."""
        spoken = tuple(dialect for dialect in self.dialects if (dialect, model) in self._plays)
        return spoken or self.dialects

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Provider.stream`."""
        kind = _WHOLE + request.dialect if request.is_whole else request.dialect
        async with self._answer(kind, request) as playing:
            yield playing

    @asynccontextmanager
    async def fetch(
        self, passage: str, request: UpstreamRequest
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Provider.fetch`."""
        async with self._answer(passage, request) as playing:
            yield playing

    @asynccontextmanager
    async def _answer(
        self, kind: str, request: UpstreamRequest
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        play = self._plays.get((kind, request.model))
        if play is None:
            said = f"There is no recording {request.model[:100]!r}."
            raise ProviderRefused(self.name, 404, code="model_not_found", message=said)
        if self._settings.fault == "status":
            status = self._settings.fault_status
            retry_after_s = _RETRY_AFTER_S if status in _ASKED_TO_WAIT else None
            raise ProviderRefused(
                self.name, status, message="As scripted.", retry_after_s=retry_after_s
            )
        playing = self._play(play)
        try:
            yield playing
        finally:
            await playing.aclose()

    async def models(self) -> Sequence[ProviderModel]:
        """See `Provider.models`: the recordings."""
        names = sorted({model for _, model in self._plays})
        return [ProviderModel(model, owned_by=self.name) for model in names]

    async def close(self) -> None:
        """See `Provider.close`: there is nothing to close."""

    async def _play(self, play: _Play) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        begun = loop.time() + self._settings.start_s
        for piece in play.pieces:
            # even what is late lets other tasks run first, as a network would
            await asyncio.sleep(max(0.0, begun + piece.place * self._pause_s - loop.time()))
            yield piece.data
        if play.end == "reset":
            raise ProviderTruncated
        if play.end == "stall":
            await loop.create_future()


def _read_recordings(
    name: str, settings: config.ScriptedProvider
) -> Iterator[tuple[tuple[str, str], _Play]]:
    """Dialect (or passage) and model of each recording there is, and what is played for it."""
    folder: Traversable
    if settings.recordings is None:
        folder = importlib.resources.files("proxy.upstream") / "demo"
    else:
        folder = Path(settings.recordings)
    where = f"[providers.{name}] recordings"
    is_empty = True
    try:
        for file in folder.iterdir():
            for dialect, suffix in _SUFFIXES.items():
                if file.name.endswith(suffix):
                    is_empty = False
                    events = split_events(file.read_bytes())
                    play = _with_fault(events, _FAULTS[dialect], settings)
                    yield (dialect, file.name.removesuffix(suffix)), play
            for kind, suffix in (_PASSAGE_SUFFIXES | _WHOLE_SUFFIXES).items():
                if file.name.endswith(suffix):
                    is_empty = False
                    play = _with_fault([file.read_bytes()], _FAULTS["openai.chat"], settings)
                    yield (kind, file.name.removesuffix(suffix)), play
    except OSError as error:
        raise ConfigInvalid((f"{where}: {folder} cannot be read: {error.strerror}",)) from error
    if is_empty:
        raise ConfigInvalid((f"{where}: {folder} holds no {', '.join(_SUFFIXES.values())} file",))


def split_events(recording: bytes) -> list[bytes]:
    """The bytes of each event, with what stands before it: comments, empty lines."""
    events, before = [], b""
    for block in _BLOCK.findall(recording):
        before += block
        if _DATA.search(block):
            events.append(before)
            before = b""
    return [*events, before] if before else events


def _with_fault(
    events: Sequence[bytes], faults: _Faults, settings: config.ScriptedProvider
) -> _Play:
    """What is played of a recording. A fault past its end does not happen."""
    at, chunk = settings.fault_after, settings.chunk
    if at > len(events):
        return _Play(_cut(events, 0, chunk))
    before, after = events[:at], events[at:]
    match settings.fault:
        case None | "status":
            return _Play(_cut(events, 0, chunk))
        case "cut":
            return _Play(_cut(before, 0, chunk))
        case "reset":
            return _Play(_cut(before, 0, chunk), "reset")
        case "stall":
            return _Play(_cut(before, 0, chunk), "stall")
        case "garbage":
            return _Play(_cut([*before, faults.garbage, *after], 0, chunk))
        case "error":
            return _Play(_cut([*before, faults.error], 0, chunk))
        case "huge":
            data = (faults.huge_begin, *[_FILLER] * _FILLERS, faults.huge_end)
            huge = [_Piece(at, part) for part in data]
            return _Play([*_cut(before, 0, chunk), *huge, *_cut(after, at + 1, chunk)])
        case _:
            assert_never(settings.fault)


def _cut(events: Sequence[bytes], first: int, chunk: str | int) -> list[_Piece]:
    """`events`, whole or in chunks of so many bytes; a chunk is due with its last byte."""
    if isinstance(chunk, str):
        return [_Piece(place, event) for place, event in enumerate(events, first)]
    raw = b"".join(events)
    ends = list(accumulate(len(event) for event in events))
    return [
        _Piece(first + bisect_left(ends, min(at + chunk, len(raw))), raw[at : at + chunk])
        for at in range(0, len(raw), chunk)
    ]
