"""The provider that plays recordings: what comes, when it comes, and what goes wrong."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import config
from proxy.errors import (
    ConfigInvalid,
    ProviderGarbled,
    ProviderRefused,
    ProviderReported,
    ProviderTruncated,
)
from proxy.relay.ports import UpstreamRequest
from proxy.stream import Event
from proxy.upstream.scripted import ScriptedProvider, split_events
from proxy.wire.dialect import Dialect
from proxy.wire.dialects import all_dialects
from proxy.wire.sse import Parser
from tests.simulation import virtual_loop
from tests.upstream.asking import read, request

DIALECTS = all_dialects()
SUFFIXES = {
    "openai.chat": "chat",
    "openai.responses": "responses",
    "anthropic.messages": "messages",
}

in_either = pytest.mark.parametrize("dialect", sorted(DIALECTS))

Heard = list[tuple[float, bytes]]


def _play(
    dialect: str, into: Heard, model: str = "demo", folder: Path | None = None, **given: object
) -> float:
    """Play into `into`, each chunk with its moment; returns the moment of the end."""
    table = config.ScriptedProvider(
        recordings=None if folder is None else str(folder),
        **given,  # type: ignore[arg-type]
    )
    provider = ScriptedProvider("stage", table)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with provider.stream(request(provider, model=model, dialect=dialect)) as chunks:
            async for chunk in chunks:
                into.append((loop.time() - begun, chunk))
        return loop.time() - begun

    return virtual_loop.run(main())


def _joined(heard: Heard) -> bytes:
    return b"".join(chunk for _, chunk in heard)


def _listen(dialect: Dialect, raw: bytes) -> bool:
    """Whether a client of the dialect takes `raw` for a whole answer; raises what it means."""
    ask = dialect.read_ask(b'{"model":"m","max_tokens":9,"stream":true,"messages":[]}')
    translator = dialect.translator(ask)
    for frame in Parser(1_000_000).feed(raw):
        translator.hear(frame)
    return translator.is_complete


# --- the pace -------------------------------------------------------------------------------------


@in_either
def test_each_event_comes_whole_and_at_its_moment(dialect: str) -> None:
    heard: Heard = []
    _play(dialect, heard, events_per_s=25.0, start_s=2.0)
    assert 120 <= len(heard) <= 200
    for place, (moment, chunk) in enumerate(heard):
        assert moment == pytest.approx(2.0 + place / 25, abs=1e-6)
        assert chunk.endswith(b"\n\n")
        assert chunk.count(b"\ndata: ") + chunk.startswith(b"data: ") == 1


@in_either
def test_as_fast_as_possible_takes_no_time_and_lets_others_run(dialect: str) -> None:
    provider = ScriptedProvider("stage", config.ScriptedProvider(events_per_s=0.0))

    async def main() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        asked = request(provider, model="demo", dialect=dialect)
        assert await read(provider, asked) == _demo(dialect)
        counting.cancel()
        assert asyncio.get_running_loop().time() < 1e-6
        return turns

    assert virtual_loop.run(main()) > 100


def test_a_reader_that_was_held_up_gets_what_it_missed_at_once() -> None:
    provider = ScriptedProvider("stage", config.ScriptedProvider(events_per_s=10.0))

    async def main() -> list[float]:
        moments = []
        loop = asyncio.get_running_loop()
        async with provider.stream(
            request(provider, model="demo", dialect="openai.chat")
        ) as chunks:
            async for _ in chunks:
                moments.append(loop.time())
                if len(moments) == 5:
                    await asyncio.sleep(3.0)
        return moments

    moments = virtual_loop.run(main())
    assert moments[5:34] == pytest.approx([3.4] * 29, abs=1e-3)
    assert moments[40] == pytest.approx(4.0, abs=1e-3)


@in_either
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 10_000, 1_000_000])
def test_chunks_of_any_size_are_the_same_bytes(dialect: str, chunk: int) -> None:
    heard: Heard = []
    end = _play(dialect, heard, chunk=chunk, events_per_s=100.0)
    assert _joined(heard) == _demo(dialect)
    assert {len(part) for _, part in heard[:-1]} <= {chunk}
    assert heard == sorted(heard, key=lambda timed: timed[0])
    assert end == pytest.approx((len(split_events(_demo(dialect))) - 1) / 100, abs=1e-3)


def test_a_chunk_waits_for_the_event_of_its_last_byte() -> None:
    heard: Heard = []
    _play("openai.chat", heard, chunk=5, events_per_s=1.0)
    due = [place for place, event in enumerate(split_events(_demo("openai.chat"))) for _ in event]
    sent = 0
    for moment, part in heard:
        sent += len(part)
        assert abs(moment - due[sent - 1]) < 1e-3


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", b": note\n", b"event: x\r\n", b"id: 1\n\n", b"\r\n"]),
            st.binary(max_size=9).map(lambda raw: b"data: " + raw.hex().encode()),
            st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]),
        )
    ),
    st.sampled_from([b"", b": bye\n\n", b"data: half"]),
)
def test_splitting_a_recording_loses_nothing(parts: list[tuple[bytes, ...]], tail: bytes) -> None:
    raw = b"".join(b"".join(part) for part in parts) + tail
    events = split_events(raw)
    assert b"".join(events) == raw
    assert sum(b"data:" in event for event in events) == len(parts) + (tail == b"data: half")
    assert all(event.count(b"data:") <= 1 for event in events)


def test_many_paced_streams_cost_little() -> None:
    """300 streams of 50 events a second are well under one core."""
    provider = ScriptedProvider("stage", config.ScriptedProvider(events_per_s=50.0))

    async def main() -> int:
        async def listen() -> int:
            heard = 0
            asked = request(provider, model="demo", dialect="openai.chat")
            async with provider.stream(asked) as chunks:
                async for _ in chunks:
                    heard += 1
                    if heard == 50:
                        break
            return heard

        return sum(await asyncio.gather(*[listen() for _ in range(300)]))

    begun = time.process_time()
    assert asyncio.run(main()) == 15_000
    assert time.process_time() - begun < 0.9


# --- what goes wrong ------------------------------------------------------------------------------


@in_either
def test_cut_ends_without_the_rest(dialect: str) -> None:
    heard: Heard = []
    _play(dialect, heard, fault="cut", fault_after=7)
    assert _joined(heard) == b"".join(split_events(_demo(dialect))[:7])
    assert not _listen(DIALECTS[dialect], _joined(heard))


@in_either
@pytest.mark.parametrize("chunk", ["event", 3])
def test_reset_breaks_after_the_events_before_it(dialect: str, chunk: str | int) -> None:
    heard: Heard = []
    with pytest.raises(ProviderTruncated):
        _play(dialect, heard, fault="reset", fault_after=7, chunk=chunk)
    assert _joined(heard) == b"".join(split_events(_demo(dialect))[:7])


@in_either
def test_stall_says_nothing_more_and_can_be_left(dialect: str) -> None:
    heard: Heard = []
    with pytest.raises(virtual_loop.StoodStill):
        _play(dialect, heard, fault="stall", fault_after=7)
    assert len(heard) == 7

    async def main() -> None:
        provider = ScriptedProvider("stage", config.ScriptedProvider(fault="stall"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await read(provider, request(provider, model="demo", dialect=dialect))

    virtual_loop.run(main())


@in_either
def test_garbage_is_not_the_dialects_json(dialect: str) -> None:
    heard: Heard = []
    _play(dialect, heard, fault="garbage", fault_after=7)
    with pytest.raises(ProviderGarbled):
        _listen(DIALECTS[dialect], _joined(heard))
    good = b"".join(chunk for place, (_, chunk) in enumerate(heard) if place != 7)
    assert good == _demo(dialect), "who passes over it must not see an answer cut short"


@in_either
def test_error_is_the_dialects_own_event_and_the_last(dialect: str) -> None:
    heard: Heard = []
    _play(dialect, heard, fault="error", fault_after=7)
    assert len(heard) == 8
    with pytest.raises(ProviderReported):
        _listen(DIALECTS[dialect], _joined(heard))


@in_either
@pytest.mark.parametrize("chunk", ["event", 1000])
def test_huge_is_one_good_event_of_30_mb(dialect: str, chunk: str | int) -> None:
    heard: Heard = []
    _play(dialect, heard, fault="huge", fault_after=2, chunk=chunk, events_per_s=100.0)
    frames = Parser(64_000_000).feed(_joined(heard))
    assert 30_000_000 < len(frames[2].data) < 33_000_000
    json.loads(frames[2].data)


@in_either
@pytest.mark.parametrize(
    ("status", "retry_after_s"), [(400, None), (429, 1.0), (500, None), (503, 1.0), (529, 1.0)]
)
def test_status_refuses_before_any_byte(
    dialect: str, status: int, retry_after_s: float | None
) -> None:
    heard: Heard = []
    with pytest.raises(ProviderRefused) as caught:
        _play(dialect, heard, fault="status", fault_status=status)
    assert (caught.value.upstream_status, caught.value.retry_after_s) == (status, retry_after_s)
    assert heard == []


@in_either
@pytest.mark.parametrize("fault", ["cut", "reset", "stall", "garbage", "error", "huge"])
def test_a_fault_past_the_end_does_not_happen(dialect: str, fault: str) -> None:
    heard: Heard = []
    _play(dialect, heard, fault=fault, fault_after=1_000_000)
    assert _joined(heard) == _demo(dialect)


# --- which recording ------------------------------------------------------------------------------


def test_the_model_names_the_recording_and_its_dialect(tmp_path: Path) -> None:
    (tmp_path / "one.chat.sse").write_bytes(b"data: 1\n\n")
    (tmp_path / "one.messages.sse").write_bytes(b"data: 2\n\n")
    (tmp_path / "two.v1.chat.sse").write_bytes(b"data: 3\n\n")
    (tmp_path / "notes.txt").write_bytes(b"data: 4\n\n")
    heard: Heard = []
    _play("openai.chat", heard, "one", tmp_path)
    _play("anthropic.messages", heard, "one", tmp_path)
    _play("openai.chat", heard, "two.v1", tmp_path)
    assert _joined(heard) == b"data: 1\n\ndata: 2\n\ndata: 3\n\n"


@pytest.mark.parametrize("model", ["other", "two", "", "../upstream/demo/demo", "notes", "ü" * 500])
def test_an_unknown_recording_is_not_found(model: str, tmp_path: Path) -> None:
    (tmp_path / "one.chat.sse").write_bytes(b"data: 1\n\n")
    (tmp_path / "two.messages.sse").write_bytes(b"data: 2\n\n")
    with pytest.raises(ProviderRefused) as caught:
        _play("openai.chat", [], model, tmp_path)
    problem = caught.value.problem()
    assert (problem.status, problem.code) == (404, "model_not_found")
    assert len(problem.message) < 300


def test_a_model_is_asked_in_the_dialects_of_its_recordings(tmp_path: Path) -> None:
    for name in ("a.messages.sse", "b.responses.sse", "b.chat.sse"):
        (tmp_path / name).write_bytes(b"data: 1\n\n")
    provider = ScriptedProvider("stage", config.ScriptedProvider(recordings=str(tmp_path)))
    assert provider.dialects_for("a") == ("anthropic.messages",)
    assert provider.dialects_for("b") == ("openai.chat", "openai.responses")
    assert provider.dialects_for("c") == tuple(SUFFIXES), "it says itself that there is none"


def test_models_are_the_recordings_names(tmp_path: Path) -> None:
    for name in ("b.chat.sse", "a.messages.sse", "a.chat.sse"):
        (tmp_path / name).write_bytes(b"data: 1\n\n")
    provider = ScriptedProvider("stage", config.ScriptedProvider(recordings=str(tmp_path)))
    models = virtual_loop.run(_listed(provider))
    assert models == [("a", "stage"), ("b", "stage")]


@pytest.mark.parametrize("name", ["nothing here", "a file", "an empty folder"])
def test_nothing_to_play_is_the_configs_fault(name: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "an empty folder").mkdir()
    table = config.ScriptedProvider(recordings=str(tmp_path / name))
    with pytest.raises(ConfigInvalid, match=r"\[providers\.stage\] recordings: .*" + name):
        ScriptedProvider("stage", table)


async def _listed(provider: ScriptedProvider) -> list[tuple[str, str]]:
    return [(model.id, model.owned_by) for model in await provider.models()]


# --- the demo -------------------------------------------------------------------------------------


def _demo(dialect: str) -> bytes:
    folder = Path(__file__).parents[2] / "proxy" / "upstream" / "demo"
    return (folder / f"demo.{SUFFIXES[dialect]}.sse").read_bytes()


def _folded(dialect: str) -> Any:
    """The demo as an unstreamed answer."""
    frames = Parser(100_000).feed(_demo(dialect))
    events = [Event(place, frame.name, frame.data) for place, frame in enumerate(frames, 1)]
    return json.loads(DIALECTS[dialect].fold(events))


def test_the_demo_says_the_same_in_every_dialect() -> None:
    chat = _folded("openai.chat")["choices"][0]["message"]["content"]
    (block,) = _folded("anthropic.messages")["content"]
    assert block["text"] == chat
    (item,) = _folded("openai.responses")["output"]
    assert item["content"][0]["text"] == chat
    assert 500 < len(chat) < 1500
    assert "**" in chat
    assert "\n1. " in chat
    assert "👋" in chat


@in_either
def test_the_demo_ends_as_it_should_and_tells_its_usage(dialect: str) -> None:
    ask = DIALECTS[dialect].read_ask(
        b'{"model":"m","max_tokens":9,"stream":true,"messages":[],'
        b'"stream_options":{"include_usage":true}}'
    )
    translator = DIALECTS[dialect].translator(ask)
    frames = Parser(100_000).feed(_demo(dialect))
    assert [own for frame in frames for own in translator.hear(frame)] == frames
    assert translator.is_complete
    assert translator.usage is not None
    assert translator.usage.input_tokens > 0
    pieces = (b'"content":"', b"text_delta", b"output_text.delta")
    said = sum(any(piece in frame.data for piece in pieces) for frame in frames)
    assert translator.usage.output_tokens == said - (dialect == "openai.chat")


@in_either
def test_the_demo_says_that_it_was_written_for_us(dialect: str) -> None:
    assert _demo(dialect).startswith(b": Written for Midstream's demo; no model has said this.\n")


def test_an_answer_in_one_piece_is_played_if_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "m.chat.json").write_bytes(b'{"choices":[]}')
    provider = ScriptedProvider("stage", config.ScriptedProvider(recordings=str(tmp_path)))
    asked = UpstreamRequest("openai.chat", "m", b"{}", is_whole=True)
    assert virtual_loop.run(read(provider, asked)) == b'{"choices":[]}'
    with pytest.raises(ProviderRefused, match="There is no recording 'm'"):
        virtual_loop.run(read(provider, request(provider, dialect="openai.chat")))
