import json

import pytest

from proxy.errors import ProviderTruncated
from proxy.stream import DONE, Frame, StreamId
from proxy.wire.answer import Making
from proxy.wire.dialect import Translator
from proxy.wire.dialects import all_dialects
from proxy.wire.translation import translation

DIALECTS = all_dialects()
CHAT, MESSAGES = DIALECTS["openai.chat"], DIALECTS["anthropic.messages"]
ASKS = {
    "openai.chat": CHAT.read_ask(b'{"model":"m","messages":[],"stream":true}'),
    "anthropic.messages": MESSAGES.read_ask(
        b'{"model":"m","messages":[],"max_tokens":9,"stream":true}'
    ),
    "openai.responses": DIALECTS["openai.responses"].read_ask(
        b'{"model":"m","input":"x","stream":true}'
    ),
}
STARTED = (
    b'{"type":"message_start","message":{"id":"i","model":"m","usage":{"input_tokens":3}}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}',
    b'{"type":"content_block_stop","index":0}',
)
STOPPED = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}'
SAID = b'{"id":"i","model":"m","choices":[{"index":%d,"delta":{"content":"a"}}]}'
FINISHED = b'{"id":"i","model":"m","choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}'


def heard(dialect: str, *said: bytes) -> Translator:
    translator = DIALECTS[dialect].translator(ASKS[dialect])
    for data in said:
        translator.hear(Frame("", data))
    return translator


@pytest.mark.parametrize(
    "said",
    [
        (SAID % 0, FINISHED % 0),
        (SAID % 0, SAID % 1, FINISHED % 1, FINISHED % 0),
        (b'{"choices":[{"delta":{"content":"a"}}]}', b'{"choices":[{"finish_reason":"stop"}]}'),
        (b'{"choices":[{"index":null,"delta":{}}]}', b'{"choices":[{"finish_reason":"stop"}]}'),
    ],
    ids=["one", "two", "no index", "an index of null"],
)
def test_a_chat_that_gave_each_choice_its_reason_gets_its_done(said: tuple[bytes, ...]) -> None:
    translator = heard("openai.chat", *said)
    assert translator.end_of_body() == (Frame("", DONE),)
    assert translator.is_complete


def test_a_chat_whose_second_choice_never_began_gets_no_done() -> None:
    ask = CHAT.read_ask(b'{"model":"m","messages":[],"stream":true,"n":2}')
    translator = CHAT.translator(ask)
    for data in (SAID % 0, FINISHED % 0):
        translator.hear(Frame("", data))
    with pytest.raises(ProviderTruncated):
        translator.end_of_body()


def test_a_message_with_a_stop_reason_gets_its_stop() -> None:
    translator = heard("anthropic.messages", *STARTED, STOPPED)
    (frame,) = translator.end_of_body()
    assert (frame.name, json.loads(frame.data)) == ("message_stop", {"type": "message_stop"})
    assert translator.is_complete


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ("openai.chat", ()),
        ("openai.chat", (SAID % 0,)),
        ("openai.chat", (SAID % 0, SAID % 1, FINISHED % 0)),
        ("openai.chat", (SAID % 0, SAID % 1, FINISHED % 1)),
        ("anthropic.messages", STARTED),
        ("anthropic.messages", (STOPPED,)),
        ("openai.responses", (b'{"type":"response.output_text.done","sequence_number":0}',)),
    ],
)
def test_without_a_reason_to_stop_it_is_cut_short(dialect: str, said: tuple[bytes, ...]) -> None:
    translator = heard(dialect, *said)
    with pytest.raises(ProviderTruncated):
        translator.end_of_body()
    assert not translator.is_complete


@pytest.mark.parametrize("ours", list(DIALECTS))
@pytest.mark.parametrize(
    ("theirs", "said", "terminator"),
    [
        ("openai.chat", (SAID % 0, FINISHED % 0), DONE),
        ("anthropic.messages", (*STARTED, STOPPED), b'{"type":"message_stop"}'),
    ],
)
def test_another_dialect_is_told_as_if_the_terminator_had_come(
    ours: str, theirs: str, said: tuple[bytes, ...], terminator: bytes
) -> None:
    making = Making(StreamId("st_" + "0" * 26), "m", 0.0, theirs, True, {})
    with_it, without = (
        translation(DIALECTS[ours], DIALECTS[theirs], ASKS[theirs], making) for _ in range(2)
    )
    for data in said:
        assert with_it.hear(Frame("", data)) == without.hear(Frame("", data))
    assert without.end_of_body() == with_it.hear(Frame("", terminator)) != []
    assert without.is_complete
