import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import MalformedRequest, ProviderGarbled, ProviderReported, ProviderTruncated
from proxy.stream import Frame, Usage
from proxy.wire.dialect import Translator
from proxy.wire.json_text import ABSENT
from proxy.wire.responses import OpenAIResponses
from proxy.wire.responses.ids import response_id, stream_of
from proxy.wire.responses.numbers import numbered
from tests.wire import recorded

RESPONSES = OpenAIResponses()
CREATED = b'{"type":"response.created","sequence_number":0,"response":{"id":"resp_1"}}'
COMPLETED = b'{"type":"response.completed","sequence_number":1,"response":{"id":"resp_1"}}'


def translator() -> Translator:
    return RESPONSES.translator(RESPONSES.read_ask(b'{"model":"m","input":"x"}'))


def hear(listener: Translator, *data: bytes) -> list[bytes]:
    return [own.data for one in data for own in listener.hear(Frame("", one))]


def asked(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


# --- an answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recorded.RESPONSES)
def test_every_recording_passes_byte_for_byte_and_is_whole_at_its_terminator(name: str) -> None:
    listener, frames = translator(), recorded.frames(name)
    for frame in frames[:-1]:
        assert listener.hear(frame) == (frame,)
        assert not listener.is_complete
    assert listener.hear(frames[-1]) == (frames[-1],)
    assert listener.is_complete
    assert listener.has_content


@pytest.mark.parametrize("name", recorded.RESPONSES)
def test_there_is_content_from_the_first_thing_that_is_said(name: str) -> None:
    listener = translator()
    for frame in recorded.frames(name):
        listener.hear(frame)
        if listener.has_content:
            break
    said = json.loads(frame.data)
    begins_a_call = said["type"].endswith("added") and said["item"]["type"].endswith("_call")
    assert said.get("delta") or begins_a_call


def test_usage_is_that_of_the_terminator() -> None:
    listener = translator()
    for frame in recorded.frames("reasoning.responses.sse"):
        assert listener.usage is None
        listener.hear(frame)
    assert listener.usage == Usage(
        input_tokens=25, output_tokens=120, cached_input_tokens=10, reasoning_tokens=100
    )


@pytest.mark.parametrize("usage", ["null", "{}", '"many"', '{"input_tokens":"x"}', "[]"])
def test_usage_that_is_none_spoils_no_answer(usage: str) -> None:
    listener = translator()
    end = b'{"type":"response.completed","sequence_number":0,"response":{"usage":%b}}'
    hear(listener, end % usage.encode())
    assert listener.is_complete


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"input_tokens": 5}, Usage(5, is_estimate=True)),
        ({"output_tokens": 7}, Usage(0, 7, is_estimate=True)),
        ({"input_tokens": -1, "output_tokens": 7}, None),
        ({"input_tokens": 5, "output_tokens": 10**12}, None),
        (
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": -1},
            },
            None,
        ),
    ],
)
def test_usage_that_is_not_all_there_is_not_taken_for_all(
    usage: dict[str, Any], counted: Usage | None
) -> None:
    listener = translator()
    end = {"type": "response.completed", "sequence_number": 0, "response": {"usage": usage}}
    hear(listener, json.dumps(end).encode())
    assert listener.is_complete
    assert listener.usage == counted


def test_an_answer_that_is_cut_by_its_bound_is_whole() -> None:
    listener = translator()
    for frame in recorded.frames("incomplete.responses.sse"):
        listener.hear(frame)
    assert listener.is_complete


def test_done_instead_of_the_terminator_is_an_answer_cut_short() -> None:
    listener = translator()
    hear(listener, CREATED)
    with pytest.raises(ProviderTruncated):
        hear(listener, b"[DONE]")


@pytest.mark.parametrize("name", recorded.FAILING)
def test_an_answer_that_fails_says_why_and_keeps_the_providers_bytes(name: str) -> None:
    listener, frames = translator(), recorded.frames(name)
    last = next(
        frame for frame in frames if json.loads(frame.data)["type"] in {"error", "response.failed"}
    )
    for frame in frames[: frames.index(last)]:
        listener.hear(frame)
    with pytest.raises(ProviderReported) as reported:
        listener.hear(last)
    assert reported.value.body == last.data
    problem = reported.value.problem()
    assert (problem.code, problem.status) in {
        ("server_error", 500),
        ("rate_limit_exceeded", 429),
        ("invalid_prompt", 400),
    }
    assert problem.message != "The provider reported an error."


@pytest.mark.parametrize("error", ["null", "{}", '"no"', "1", "[]"])
@pytest.mark.parametrize("kind", ["error", "response.failed"])
def test_an_odd_failure_is_a_failure(kind: str, error: str) -> None:
    for event in (
        f'{{"type":"{kind}","error":{error}}}',
        f'{{"type":"{kind}","response":{{"error":{error}}}}}',
    ):
        with pytest.raises(ProviderReported):
            hear(translator(), event.encode())


@pytest.mark.parametrize("data", [b"{", b"1", b'"x"', b'{"type":1}', b"\xff{}", b"[" * 100_000])
def test_what_is_no_event_is_garbled(data: bytes) -> None:
    with pytest.raises(ProviderGarbled):
        hear(translator(), data)


# --- its numbers --------------------------------------------------------------------------------


def test_numbers_that_deviate_are_written_anew_and_no_other_byte() -> None:
    listener = translator()
    said = [
        b'{ "type":"response.created" , "sequence_number" : 1, "response":{"id":"resp_1"}}',
        b'{"x":{"sequence_number":7},"type":"a","s":"\\"sequence_number\\":7","sequence_number":7}',
        b'{"type":"b","sequence_number":"2.50"}',
        b'{"type":"c","n":1.50}',
        b"{ }",
        b'{"type":"d","sequence_number":null,"z":[]}',
        b'{"sequence_number":6,"type":"e"}',
    ]
    assert hear(listener, *said) == [
        b'{ "type":"response.created" , "sequence_number" : 0, "response":{"id":"resp_1"}}',
        b'{"x":{"sequence_number":7},"type":"a","s":"\\"sequence_number\\":7","sequence_number":1}',
        b'{"type":"b","sequence_number":2}',
        b'{"sequence_number":3,"type":"c","n":1.50}',
        b'{"sequence_number":4 }',
        b'{"type":"d","sequence_number":5,"z":[]}',
        b'{"sequence_number":6,"type":"e"}',
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sequence_number", "a", 'b"']) | st.text(), inner)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=3) | st.just("sequence_number"), json_values, max_size=4),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_whatever_an_event_holds_only_its_own_number_changes(
    event: dict[str, Any], number: int, is_spaced: bool
) -> None:
    data = json.dumps(event, indent=1 if is_spaced else None).replace("\n", " ").encode()
    said = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("sequence_number", ABSENT)
    assert json.loads(numbered(data, said, number)) == {**event, "sequence_number": number}


# --- its name -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recorded.RESPONSES)
def test_the_first_event_gives_the_answer_its_name(name: str) -> None:
    first = recorded.frames(name)[0]
    assert RESPONSES.answer_id(first) == json.loads(first.data)["response"]["id"]


@pytest.mark.parametrize(
    "response",
    [
        *[
            "{}",
            "null",
            "1",
            '{"id":null}',
            '{"id":7}',
            '{"id":""}',
            '{"id":"a b"}',
            '{"id":"x/y"}',
        ],
        json.dumps({"id": "x" * 129}),
    ],
)
def test_what_can_be_no_name_is_none(response: str) -> None:
    for data in (b'{"response":%b}' % response.encode(), b"[DONE]", b"{"):
        assert RESPONSES.answer_id(Frame("", data)) is None


def test_an_answer_without_a_name_is_named_after_its_stream_and_found_by_that() -> None:
    stream = recorded.BIRTH.id
    assert response_id(stream) == "resp_" + "0" * 26
    assert stream_of(response_id(stream)) == stream
    for other in (
        "resp_",
        stream,
        "resp_" + "A" * 26,
        "resp_" + "0" * 27,
        "x" + response_id(stream),
    ):
        assert stream_of(other) is None


# --- a request ----------------------------------------------------------------------------------


def test_a_request_is_read_as_far_as_a_relay_must() -> None:
    ask = RESPONSES.read_ask(
        asked(input=[], stream=True, background=True, previous_response_id="resp_1")
    )
    assert (ask.model, ask.is_streamed, ask.is_background) == ("m", True, True)
    assert ask.previous == "resp_1"
    bare = RESPONSES.read_ask(asked(input=None, background=None, previous_response_id=None))
    assert (bare.is_streamed, bare.is_background, bare.previous) == (False, False, None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"input": {}}, "input"),
        ({"input": 1}, "input"),
        ({"stream": "yes"}, "stream"),
        ({"background": 1}, "background"),
        ({"previous_response_id": 1}, "previous_response_id"),
        ({"previous_response_id": "a b"}, "previous_response_id"),
        ({"previous_response_id": ""}, "previous_response_id"),
    ],
)
def test_what_a_request_must_not_be_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        RESPONSES.read_ask(asked(**fields))
    assert refused.value.param == param


def test_a_provider_is_asked_in_the_foreground_and_streamed_with_all_else_as_it_was() -> None:
    body = b'{"background":true, "model":"m","store":false,"x":1.50,"stream":null}'
    sent = RESPONSES.upstream_body(RESPONSES.read_ask(body), "theirs")
    assert sent == b'{"model":"theirs","store":false,"x":1.50,"stream":true}'


IMAGE = "data:image/png;base64," + "A" * 100_000


@pytest.mark.parametrize(
    ("asked_input", "low", "high"),
    [
        ("x" * 1000, 1000, 1200),
        ([{"role": "user", "content": "x" * 1000}], 1000, 1300),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}], 4000, 4400),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": IMAGE, "detail": "low"}],
                }
            ],
            85,
            500,
        ),
        (
            [
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_file", "file_data": IMAGE}],
                }
            ],
            10_000,
            10_500,
        ),
        (
            [
                {
                    "type": "computer_call_output",
                    "output": {"type": "computer_screenshot", "image_url": IMAGE},
                }
            ],
            4000,
            4400,
        ),
        (7, 0, 300),
    ],
)
def test_pictures_and_files_are_held_for_what_they_are_and_text_for_its_bytes(
    asked_input: Any, low: int, high: int
) -> None:
    ask = msgspec.structs.replace(
        RESPONSES.read_ask(asked()),
        fields={
            "model": msgspec.Raw(b'"m"'),
            "input": msgspec.Raw(json.dumps(asked_input).encode()),
        },
    )
    assert low <= RESPONSES.bounded(ask, None).input_tokens <= high


@pytest.mark.parametrize(
    ("said", "at_most", "output"),
    [(None, None, 4096), (None, 50, 50), (70, None, 70), (70, 50, 50), (40, 50, 40)],
)
def test_an_answer_is_bounded_by_the_client_and_the_quota(
    said: int | None, at_most: int | None, output: int
) -> None:
    ask = RESPONSES.read_ask(asked(input="x", max_output_tokens=said))
    bounded = RESPONSES.bounded(ask, at_most)
    assert bounded.output_tokens == output
    assert bytes(bounded.ask.fields["max_output_tokens"]) == b"%d" % output
