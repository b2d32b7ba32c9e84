"""Answers that are asked for in one piece."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProviderGarbled, ProviderReported, ProviderTruncated
from proxy.stream import Event, Frame, Usage
from proxy.wire.deltas import Kind
from proxy.wire.dialects import all_dialects
from proxy.wire.responses.fold import response_of
from proxy.wire.whole import Whole
from tests.wire import recorded

DIALECTS = all_dialects()
ASKS = {
    "openai.chat": b'{"model":"m","messages":[],"temperature":1.50}',
    "openai.responses": b'{"model":"m","input":"x","background":true,"stream":false}',
    "anthropic.messages": b'{"model":"m","messages":[],"max_tokens":9,"stream":false}',
}
ANSWERS = sorted(
    path
    for path in recorded.FOLDER.glob("*.json")
    if path.name.split(".")[1] in {"chat", "responses", "messages"}
)
NAMES = {dialect.rpartition(".")[2]: dialect for dialect in DIALECTS}


def dialect_of(path: Path) -> str:
    return NAMES[path.name.split(".")[1]]


def one_line(path: Path) -> bytes:
    whole = Whole(1_000_000)
    assert whole.feed(path.read_bytes()) == ()
    (frame,) = whole.finish()
    return frame.data


@given(st.lists(st.sampled_from([b"\r", b"\n", b" ", b'{"a":', b'"x\\n"', b"}"]), max_size=9))
def test_any_split_of_the_same_bytes_is_the_same_line(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    torn, at_once = Whole(1000), Whole(1000)
    for piece in pieces:
        assert torn.feed(piece) == ()
    at_once.feed(raw)
    frames = torn.finish()
    assert frames == at_once.finish()
    assert [frame.data for frame in frames] == (
        [raw.strip().replace(b"\r", b" ").replace(b"\n", b" ")] if raw.strip() else []
    )


def test_an_answer_that_is_too_large_is_garbled() -> None:
    whole = Whole(10)
    whole.feed(b"x" * 10)
    with pytest.raises(ProviderGarbled, match="an answer of more than 10 bytes"):
        whole.feed(b"x")


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.name)
def test_a_recorded_answer_is_one_event_and_folds_to_its_own_bytes(path: Path) -> None:
    dialect = DIALECTS[dialect_of(path)]
    data = one_line(path)
    assert json.loads(data) == json.loads(path.read_bytes())
    translator = dialect.whole_translator(dialect.read_ask(ASKS[dialect.name]))
    assert translator.hear(Frame("", data)) == (Frame("", data),)
    assert translator.is_complete
    assert translator.has_content
    assert dialect.fold([Event(1, "", data)]) == data


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.name)
def test_what_is_counted_and_said_of_it_is_what_its_stream_says(path: Path) -> None:
    dialect = DIALECTS[dialect_of(path)]
    streamed = recorded.events(path.name.replace(".json", ".sse"))
    ask = dialect.read_ask(ASKS[dialect.name])
    whole = dialect.whole_translator(ask)
    data = dialect.fold(streamed)
    whole.hear(Frame("", data))
    heard = dialect.translator(ask)
    for event in streamed:
        if not heard.is_complete:
            heard.hear(Frame(event.name, event.data))
    assert whole.usage == heard.usage
    assert dialect.particulars([Event(1, "", data)]) == dialect.particulars(streamed)
    texts = dict.fromkeys((Kind.TEXT, Kind.REASONING), "")
    for event in streamed:
        for delta in dialect.deltas(event.data):
            if delta.kind in texts:
                texts[delta.kind] += delta.text
    told = dict.fromkeys(texts, "")
    for delta in dialect.deltas(data):
        if delta.kind in told:
            told[delta.kind] += delta.text
    assert {kind: sorted(text) for kind, text in told.items()} == {
        kind: sorted(text) for kind, text in texts.items()
    }


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai.chat", b'{"model":"far","messages":[],"temperature":1.50}'),
        ("openai.responses", b'{"model":"far","input":"x","stream":false}'),
        (
            "anthropic.messages",
            b'{"model":"far","messages":[],"max_tokens":9,"stream":false}',
        ),
    ],
)
def test_the_clients_body_goes_on_as_it_is_but_for_the_model(dialect: str, body: bytes) -> None:
    ask = DIALECTS[dialect].read_ask(ASKS[dialect])
    assert DIALECTS[dialect].whole_body(ask, "far") == body


@pytest.mark.parametrize(
    ("dialect", "data", "code"),
    [
        ("openai.chat", b'{"error":{"message":"no","code":"busy"}}', "busy"),
        ("openai.responses", b'{"error":{"message":"no","code":"busy"}}', "busy"),
        (
            "openai.responses",
            b'{"object":"response","status":"failed","error":{"code":"busy","message":"no"},"usage":{"input_tokens":3,"output_tokens":4}}',
            "busy",
        ),
        (
            "anthropic.messages",
            b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}',
            "overloaded_error",
        ),
    ],
)
def test_an_error_with_a_status_of_success_is_an_error(
    dialect: str, data: bytes, code: str
) -> None:
    translator = DIALECTS[dialect].whole_translator(DIALECTS[dialect].read_ask(ASKS[dialect]))
    with pytest.raises(ProviderReported) as reported:
        translator.hear(Frame("", data))
    assert reported.value.upstream_code == code
    assert not translator.is_complete
    if b"usage" in data:
        assert translator.usage == Usage(3, 4)


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize(
    "data",
    [b"{}", b"[]", b"nonsense", b'{"object":"response","status":"in_progress"}', b"\xff"],
)
def test_what_is_no_answer_is_garbled(dialect: str, data: bytes) -> None:
    translator = DIALECTS[dialect].whole_translator(DIALECTS[dialect].read_ask(ASKS[dialect]))
    with pytest.raises(ProviderGarbled):
        translator.hear(Frame("", data))
    with pytest.raises(ProviderTruncated):
        translator.end_of_body()
    assert not translator.has_content


def test_a_response_in_one_piece_tells_its_name() -> None:
    dialect = DIALECTS["openai.responses"]
    data = b'{"id":"resp_1","object":"response","status":"completed","output":[]}'
    assert dialect.answer_id(Frame("", data)) == "resp_1"
    response = response_of(recorded.BIRTH, [Event(1, "", data)])
    assert (response["id"], response["status"]) == ("resp_1", "completed")
