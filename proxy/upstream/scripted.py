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
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources.abc import Traversable
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple, assert_never

import msgspec

from proxy import config
from proxy.errors import ConfigInvalid, ProviderRefused, ProviderTruncated
from proxy.observe import Peer
from proxy.policy.breaker import Rule
from proxy.relay.ports import Deadlines, Kept, Patience, Place, ProviderModel, UpstreamRequest
from proxy.stream import Frame
from proxy.upstream.faults import FAULTS, Faults
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


class _Piece(NamedTuple):
    """Bytes that are sent at once, and the place of the event with which they are due."""

    place: int
    data: bytes


class _Play(NamedTuple):
    """What is played of a recording, and how it ends."""

    pieces: Sequence[_Piece]
    end: Literal["whole", "reset", "stall"] = "whole"


class _Recording(NamedTuple):
    """The events of a recording, and what the dialect's faults look like."""

    events: Sequence[bytes]
    faults: Faults


class _Name(msgspec.Struct, frozen=True, array_like=True):
    """What an answer is known by: so much that no process has to remember it."""

    begun_at: float
    """On the machine's steady clock, which event loops go by: it goes on while nobody listens."""
    lines: int = 1
    """On how many it was heard."""


class ScriptedProvider:
    """See the module. Raises `ConfigInvalid` if there is nothing to play."""

    def __init__(self, name: str, settings: config.ScriptedProvider) -> None:
        self.name = name
        self.dialects = tuple(_SUFFIXES)
        self.peer = Peer(settings.kind)
        self.rest = Rule(settings.rest_after, settings.rest_s, settings.rest_max_s)
        self.deadlines = Deadlines(
            first_event_s=settings.first_event_s,
            idle_s=settings.idle_s,
            total_s=settings.total_s,
        )
        self.patience = Patience(settings.retries, settings.retry_wait_s)
        self.may_leave_out_terminator = settings.terminator == "optional"
        self._settings = settings
        self._pause_s = 1 / settings.events_per_s if settings.events_per_s else 0.0
        self._recordings = dict(_read_recordings(name, settings))
        self._plays = {
            key: _with_fault(recording, settings) for key, recording in self._recordings.items()
        }
        self.passages = {kind for kind, _ in self._plays} & set(_PASSAGE_SUFFIXES)

    def dialects_for(self, model: str) -> Sequence[str]:
        """See `Provider.dialects_for`: those of the model's recordings."""
        spoken = tuple(dialect for dialect in self.dialects if (dialect, model) in self._plays)
        return spoken or self.dialects

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[AsyncIterable[bytes]]:
        """See `Provider.stream`."""
        kind = _WHOLE + request.dialect if request.is_whole else request.dialect
        async with self._answer(kind, request) as playing:
            if self._settings.resumes and not request.is_whole:
                begun_at = asyncio.get_running_loop().time() + self._settings.start_s
                yield Kept(playing, self, _write_name(_Name(begun_at)))
            else:
                yield playing

    def name_in(self, frame: Frame) -> str | None:
        """See `Keeper.name_in`: no frame has one."""
        del frame
        return None

    def number_in(self, frame: Frame) -> int | None:
        """See `Keeper.number_in`: nor has it a number."""
        del frame
        return None

    @asynccontextmanager
    async def resume(
        self, request: UpstreamRequest, name: str, place: Place
    ) -> AsyncIterator[AsyncIterable[bytes]]:
        """See `Keeper.resume`: each event from there, those whose moment has passed at once."""
        known = msgspec.json.decode(name, type=_Name)
        events, faults = self._recordings[request.dialect, request.model]
        if place.frames >= len(events):
            raise ProviderTruncated
        rest = _Recording(events[place.frames :], faults)
        if known.lines < self._settings.fault_times:
            play = _with_fault(rest, self._settings)
        else:
            play = _Play(_cut(rest.events, 0, self._settings.chunk))
        playing = self._play(play, known.begun_at + place.frames * self._pause_s)
        try:
            again = msgspec.structs.replace(known, lines=known.lines + 1)
            yield Kept(playing, self, _write_name(again))
        finally:
            await playing.aclose()

    async def cancel(self, request: UpstreamRequest, name: str) -> None:
        """See `Keeper.cancel`: nothing is made."""
        del request, name

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
        begun_at = asyncio.get_running_loop().time() + self._settings.start_s
        playing = self._play(play, begun_at)
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

    async def _play(self, play: _Play, begun_at: float) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        for piece in play.pieces:
            # even what is late lets other tasks run first, as a network would
            await asyncio.sleep(max(0.0, begun_at + piece.place * self._pause_s - loop.time()))
            yield piece.data
        if play.end == "reset":
            raise ProviderTruncated
        if play.end == "stall":
            await loop.create_future()


def _write_name(name: _Name) -> str:
    return msgspec.json.encode(name).decode()


def _read_recordings(
    name: str, settings: config.ScriptedProvider
) -> Iterator[tuple[tuple[str, str], _Recording]]:
    """Dialect (or passage) and model of each recording there is, and what is in it."""
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
                    recording = _Recording(events, FAULTS[dialect])
                    yield (dialect, file.name.removesuffix(suffix)), recording
            for kind, suffix in (_PASSAGE_SUFFIXES | _WHOLE_SUFFIXES).items():
                if file.name.endswith(suffix):
                    is_empty = False
                    recording = _Recording([file.read_bytes()], FAULTS["openai.chat"])
                    yield (kind, file.name.removesuffix(suffix)), recording
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


def _with_fault(recording: _Recording, settings: config.ScriptedProvider) -> _Play:
    """What is played of a recording. A fault past its end does not happen."""
    events, faults = recording
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
