import pytest

from proxy.errors import ProviderGarbled, ProviderReported, ProviderTruncated
from proxy.stream import DONE, Frame
from proxy.wire.chat import OpenAIChat
from proxy.wire.dialect import Translator
from tests.wire import recorded

CHAT = OpenAIChat()
ROLE = b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'
FINISH = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


def translator() -> Translator:
    """For a client that wants usage."""
    return CHAT.translator(CHAT.read_ask(b'{"model":"m","messages":[]}'))


def hear(listener: Translator, *data: bytes) -> list[bytes]:
    return [own.data for one in data for own in listener.hear(Frame("", one))]


def delta(text: str) -> bytes:
    return b'{"choices":[{"index":0,"delta":%b}]}' % text.encode()


@pytest.mark.parametrize("name", recorded.CHAT)
def test_every_recording_passes_byte_for_byte_to_one_who_asked_for_usage(name: str) -> None:
    listener = translator()
    frames = recorded.frames(name)
    assert [own for frame in frames for own in listener.hear(frame)] == frames
    assert listener.is_complete
    assert listener.has_content


@pytest.mark.parametrize("name", recorded.CHAT)
def test_without_its_last_event_no_recording_is_complete(name: str) -> None:
    listener = translator()
    for frame in recorded.frames(name)[:-1]:
        listener.hear(frame)
        assert not listener.is_complete


# --- the terminator ----------------------------------------------------------------------


def test_done_after_a_finish_reason_completes() -> None:
    listener = translator()
    assert hear(listener, ROLE, FINISH, DONE) == [ROLE, FINISH, DONE]
    assert listener.is_complete


def test_done_before_a_finish_reason_is_a_truncated_answer() -> None:
    listener = translator()
    hear(listener, ROLE, delta('{"content":"half"}'))
    with pytest.raises(ProviderTruncated):
        hear(listener, DONE)
    assert not listener.is_complete


def test_done_at_once_is_a_truncated_answer() -> None:
    with pytest.raises(ProviderTruncated):
        hear(translator(), DONE)


@pytest.mark.parametrize("reason", ["null", '""'])
def test_an_empty_finish_reason_is_none(reason: str) -> None:
    listener = translator()
    hear(listener, b'{"choices":[{"delta":{},"finish_reason":%b}]}' % reason.encode())
    with pytest.raises(ProviderTruncated):
        hear(listener, DONE)


def test_one_finish_reason_among_several_choices_is_enough() -> None:
    listener = translator()
    hear(listener, b'{"choices":[{"index":1,"delta":{},"finish_reason":"stop"},{"index":0}]}', DONE)
    assert listener.is_complete


def test_audio_needs_no_finish_reason() -> None:
    listener = translator()
    hear(listener, delta('{"audio":{"id":"a"}}'), delta('{"content":"x"}'), DONE)
    assert listener.is_complete


def test_white_space_around_done_is_not_passed_on() -> None:
    assert hear(translator(), FINISH, b"[DONE] ") == [FINISH, DONE]


# --- content -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        '{"content":"x"}',
        '{"content":" "}',
        '{"content":[{"type":"text","text":"x"}]}',
        '{"refusal":"no"}',
        '{"tool_calls":[{"index":0}]}',
        '{"function_call":{"name":"f"}}',
        '{"audio":{"id":"a"}}',
        '{"reasoning_content":"hm"}',
        '{"reasoning":"hm"}',
        '{"content":"\\ud83d"}',
    ],
)
def test_a_delta_that_says_something_is_content(said: str) -> None:
    listener = translator()
    hear(listener, ROLE)
    assert not listener.has_content
    hear(listener, delta(said))
    assert listener.has_content


@pytest.mark.parametrize(
    "silent",
    [
        b"{}",
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"delta":null}]}',
        delta("{}"),
        delta('{"role":"assistant"}'),
        delta('{"content":"","refusal":null,"tool_calls":[],"audio":{},"reasoning":""}'),
        b'{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}',
    ],
)
def test_what_says_nothing_is_no_content_and_passes(silent: bytes) -> None:
    listener = translator()
    assert hear(listener, silent) == [silent]
    assert not listener.has_content


def test_a_finish_reason_is_content() -> None:
    listener = translator()
    hear(listener, FINISH)
    assert listener.has_content


# --- what cannot be relayed --------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"x",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"[DONE]x",
        b"{}{}",
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":"\x00"}',
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\x"}',
        b'{"a":"\\ud83"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"choices":{}}',
        b'{"choices":[{"delta":"x"}]}',
    ],
)
def test_what_is_not_the_dialects_json_is_refused(garbage: bytes) -> None:
    with pytest.raises(ProviderGarbled):
        hear(translator(), ROLE, garbage)


def test_lone_surrogates_are_json_and_pass_as_they_are() -> None:
    halves = [delta('{"content":"\\ud83d"}'), delta('{"content":"\\uDE00","x":"\\\\ud83d"}')]
    assert hear(translator(), *halves) == halves
    after_a_backslash = delta('{"content":"\\\\ud83d\\ude00"}')
    assert hear(translator(), after_a_backslash) == [after_a_backslash]


# --- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        ('{"message":"slow","type":"requests","code":"rate_limit_exceeded"}', 429, None, "slow"),
        ('{"message":"slow","type":"rate_limit_error","code":null}', 429, "rate_limit_error", None),
        ('{"message":"m","type":"x","code":"insufficient_quota"}', 429, "insufficient_quota", "m"),
        ('{"message":"m","type":"invalid_request_error"}', 400, "invalid_request_error", "m"),
        ('{"message":"m","code":"context_length_exceeded"}', 400, "context_length_exceeded", "m"),
        ('{"message":"m","type":"server_error"}', 500, "server_error", "m"),
        ('{"message":"m","code":"server_is_overloaded"}', 503, "server_is_overloaded", "m"),
        ('{"message":"m","code":"mystery","type":"server_error"}', 500, "mystery", "m"),
        ('{"message":"m","code":429}', 429, "429", "m"),
        ('{"message":"m","code":"503"}', 503, "503", "m"),
        ('{"message":"m","code":200}', 502, "200", "m"),
        ('{"message":"m","code":5000}', 502, "5000", "m"),
        ('{"message":"m"}', 502, "provider_error", "m"),
        ('"all wrong"', 502, "provider_error", "all wrong"),
        ("true", 502, "provider_error", None),
        ("[1]", 502, "provider_error", None),
        ('{"message":{"a":1}}', 502, "provider_error", None),
    ],
)
def test_an_error_in_the_stream_is_reported_with_its_status_and_its_own_words(
    error: str, status: int, code: str | None, message: str | None
) -> None:
    data = b'{"error":%b}' % error.encode()
    with pytest.raises(ProviderReported) as raised:
        hear(translator(), ROLE, data)
    problem = raised.value.problem()
    assert problem.status == status
    assert problem.code == (code or "rate_limit_exceeded")
    assert message is None or problem.message == message
    assert problem.message
    assert problem.body == data


@pytest.mark.parametrize("error", ["null", "false", "0", '""', "{}", "[]"])
def test_an_error_that_the_sdk_would_not_see_is_none(error: str) -> None:
    data = b'{"choices":[],"error":%b}' % error.encode()
    assert hear(translator(), data) == [data]
