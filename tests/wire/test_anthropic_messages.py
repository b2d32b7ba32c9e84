import json

import pytest

from proxy.errors import ProviderGarbled, ProviderReported, ProviderTruncated
from proxy.stream import DONE, Frame, Usage
from proxy.wire.dialect import Translator
from proxy.wire.messages import AnthropicMessages
from tests.wire import recorded

MESSAGES = AnthropicMessages()
START = b'{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":3}}}'
STOP = b'{"type":"message_stop"}'


def translator() -> Translator:
    return MESSAGES.translator(
        MESSAGES.read_ask(b'{"model":"m","messages":[],"max_tokens":1,"stream":true}')
    )


def hear(listener: Translator, *data: bytes) -> list[bytes]:
    return [own.data for one in data for own in listener.hear(Frame("", one))]


def delta(text: str) -> bytes:
    return b'{"type":"content_block_delta","index":0,"delta":%b}' % text.encode()


def block(text: str) -> bytes:
    return b'{"type":"content_block_start","index":0,"content_block":%b}' % text.encode()


@pytest.mark.parametrize("name", recorded.MESSAGES)
def test_every_recording_passes_byte_for_byte(name: str) -> None:
    listener = translator()
    frames = recorded.frames(name)
    assert [own for frame in frames for own in listener.hear(frame)] == frames
    assert listener.is_complete
    assert listener.has_content


@pytest.mark.parametrize("name", recorded.MESSAGES)
def test_without_its_last_event_no_recording_is_complete(name: str) -> None:
    listener = translator()
    for frame in recorded.frames(name)[:-1]:
        listener.hear(frame)
        assert not listener.is_complete


@pytest.mark.parametrize("name", recorded.MESSAGES)
def test_without_their_names_events_are_understood_and_stay_nameless(name: str) -> None:
    named, nameless = translator(), translator()
    for frame in recorded.frames(name):
        bare = Frame("", frame.data)
        assert list(nameless.hear(bare)) == [bare]
        named.hear(frame)
        assert nameless.has_content == named.has_content
        assert nameless.usage == named.usage
    assert nameless.is_complete


# --- the terminator ----------------------------------------------------------------------


def test_a_stop_after_a_start_completes() -> None:
    listener = translator()
    assert hear(listener, START, STOP) == [START, STOP]
    assert listener.is_complete


def test_a_stop_without_a_start_is_a_truncated_answer() -> None:
    with pytest.raises(ProviderTruncated):
        hear(translator(), b'{"type":"ping"}', STOP)


# --- content -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        block('{"type":"text","text":"x"}'),
        block('{"type":"thinking","thinking":""}'),
        block('{"type":"tool_use","id":"t","name":"n","input":{}}'),
        block('{"type":"redacted_thinking","data":"x"}'),
        block('{"type":"novelty"}'),
        block("{}"),
        delta('{"type":"text_delta","text":"x"}'),
        delta('{"type":"input_json_delta","partial_json":"{"}'),
        delta('{"type":"signature_delta","signature":"s"}'),
        delta('{"type":"citations_delta","citation":{"type":"char_location"}}'),
        delta('{"type":"novelty_delta","news":1}'),
    ],
)
def test_a_block_or_delta_that_says_something_is_content(said: bytes) -> None:
    listener = translator()
    hear(listener, START, b'{"type":"ping"}')
    assert not listener.has_content
    hear(listener, said)
    assert listener.has_content


@pytest.mark.parametrize(
    "silent",
    [
        b"{}",
        b'{"type":"novelty","text":"x"}',
        b'{"type":"content_block_start"}',
        b'{"type":"content_block_delta","delta":null}',
        block('{"type":"text","text":""}'),
        block('{"text":"","type":"text","citations":[]}'),
        delta('{"type":"text_delta","text":""}'),
        delta('{"type":"input_json_delta","partial_json":""}'),
        b'{"type":"content_block_stop","index":0}',
        b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}',
    ],
)
def test_what_says_nothing_is_no_content_and_passes(silent: bytes) -> None:
    listener = translator()
    assert hear(listener, silent) == [silent]
    assert not listener.has_content


# --- what cannot be relayed --------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        *[b"", b"x", b"[]", b"null", DONE, b"{}{}", b'{"a":NaN}', b'{"a":"\xff"}', b'{"type":1}'],
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type":"content_block_delta","delta":"x"}',
    ],
)
def test_what_is_not_the_dialects_json_is_refused(garbage: bytes) -> None:
    with pytest.raises(ProviderGarbled):
        hear(translator(), START, garbage)


def test_lone_surrogates_are_json_and_pass_as_they_are() -> None:
    half = delta('{"type":"text_delta","text":"\\ud83d"}')
    listener = translator()
    assert hear(listener, half) == [half]
    assert listener.has_content


# --- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("novel_error", 502),
    ],
)
def test_an_error_event_is_reported_with_the_status_of_its_type(kind: str, status: int) -> None:
    data = b'{"type":"error","error":{"type":"%b","message":"why"}}' % kind.encode()
    with pytest.raises(ProviderReported) as raised:
        translator().hear(Frame("error", data))
    error = raised.value
    said = (error.upstream_status, error.upstream_code, error.upstream_message)
    assert said == (status, kind, "why")
    assert error.body == data


def test_an_error_event_without_a_name_is_an_error_all_the_same() -> None:
    data = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    with pytest.raises(ProviderReported):
        hear(translator(), data)


def test_the_exact_code_of_an_error_is_kept() -> None:
    details = '"details":{"error_code":"ramp_limit_exceeded"}'
    data = f'{{"type":"error","error":{{"type":"rate_limit_error",{details}}}}}'
    with pytest.raises(ProviderReported) as raised:
        hear(translator(), data.encode())
    assert raised.value.problem().code == "ramp_limit_exceeded"


@pytest.mark.parametrize("rest", ["", ',"error":null', ',"error":"x"', ',"error":{"type":1}'])
def test_an_error_of_another_shape_is_an_error_still(rest: str) -> None:
    with pytest.raises(ProviderReported) as raised:
        hear(translator(), f'{{"type":"error"{rest}}}'.encode())
    assert raised.value.problem().code == "provider_error"
    assert raised.value.problem().message


def test_an_event_named_error_is_one_as_the_sdk_takes_it_for_one() -> None:
    with pytest.raises(ProviderReported):
        translator().hear(Frame("error", b'{"error":{"message":"x"}}'))


# --- usage -------------------------------------------------------------------------------


def test_input_is_what_was_sent_cached_and_read_from_cache() -> None:
    listener = translator()
    seen: list[Usage | None] = []
    for frame in recorded.frames("cache_crlf.messages.sse"):
        listener.hear(frame)
        if not seen or seen[-1] != listener.usage:
            seen.append(listener.usage)
    assert seen == [
        Usage(
            input_tokens=4 + 1500 + 9000,
            output_tokens=2,
            cached_input_tokens=9000,
            cache_write_tokens=1500,
            is_estimate=True,
        ),
        Usage(
            input_tokens=4 + 1500 + 9000,
            output_tokens=7,
            cached_input_tokens=9000,
            cache_write_tokens=1500,
        ),
        Usage(
            input_tokens=6 + 1500 + 9100,
            output_tokens=9,
            cached_input_tokens=9100,
            cache_write_tokens=1500,
        ),
    ]


def test_tokens_of_thinking_are_counted_too() -> None:
    listener = translator()
    for frame in recorded.frames("thinking.messages.sse"):
        listener.hear(frame)
    assert listener.usage == Usage(input_tokens=25, output_tokens=31, reasoning_tokens=22)


@pytest.mark.parametrize("usage", [None, 7, "x", [], {"input_tokens": "many"}, {}])
def test_counts_that_are_none_do_not_fail_an_answer(usage: object) -> None:
    listener = translator()
    hear(listener, START, json.dumps({"type": "message_delta", "usage": usage}).encode(), STOP)
    assert listener.usage == Usage(input_tokens=3, is_estimate=True)
