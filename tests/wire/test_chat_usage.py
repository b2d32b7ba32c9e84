import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.stream import DONE, Frame, Usage
from proxy.wire.chat import OpenAIChat
from proxy.wire.dialect import Translator
from tests.wire import recorded

CHAT = OpenAIChat()


def translator(*, wants_usage: bool) -> Translator:
    options = b'"stream_options":{"include_usage":%b}' % (b"true" if wants_usage else b"false")
    return CHAT.translator(
        CHAT.read_ask(b'{"model":"m","messages":[],"stream":true,' + options + b"}")
    )


def hear(listener: Translator, *data: bytes) -> list[bytes]:
    return [own.data for one in data for own in listener.hear(Frame("", one))]


def test_usage_is_known_whoever_asked() -> None:
    for wants_usage in (True, False):
        listener = translator(wants_usage=wants_usage)
        for frame in recorded.frames("usage.chat.sse"):
            listener.hear(frame)
        assert listener.usage == Usage(input_tokens=2048, output_tokens=4, cached_input_tokens=1920)


def test_the_last_usage_counts_and_one_of_another_shape_does_not() -> None:
    listener = translator(wants_usage=True)
    for usage in ('{"prompt_tokens":1}', '{"prompt_tokens":2,"completion_tokens":null}', "null"):
        hear(listener, b'{"choices":[],"usage":%b}' % usage.encode())
    hear(listener, b'{"choices":[],"usage":{"prompt_tokens":"many"}}', b'{"usage":7}')
    assert listener.usage == Usage(input_tokens=2)


def test_what_went_into_the_cache_is_counted() -> None:
    listener = translator(wants_usage=True)
    details = b'{"cached_tokens":3,"cache_write_tokens":5}'
    usage = b'{"prompt_tokens":9,"prompt_tokens_details":%b}' % details
    hear(listener, b'{"choices":[],"usage":%b}' % usage)
    assert listener.usage == Usage(9, cached_input_tokens=3, cache_write_tokens=5)


@pytest.mark.parametrize("name", recorded.CHAT)
def test_one_who_did_not_ask_sees_the_same_but_usage(name: str) -> None:
    listener = translator(wants_usage=False)
    frames = recorded.frames(name)
    heard = [own for frame in frames for own in listener.hear(frame)]
    expected = []
    for frame in frames[:-1]:
        chunk = json.loads(frame.data)
        if chunk["choices"] == [] and chunk.get("usage"):
            continue
        if chunk.get("usage", "") is None:
            del chunk["usage"]
        expected.append(chunk)
    assert heard[-1].data == DONE
    assert [json.loads(frame.data) for frame in heard[:-1]] == expected


def test_usage_with_a_choice_stays_because_it_was_not_asked_for() -> None:
    data = b'{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
    assert hear(translator(wants_usage=False), data) == [data]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (b'{"choices":[],"usage":null}', b'{"choices":[]}'),
        (b'{"usage":null,"choices":[]}', b'{"choices":[]}'),
        (b'{ "usage" : null , "choices":[]}', b'{ "choices":[]}'),
        (b'{"choices":[] ,\t"usage" :null }', b'{"choices":[]  }'),
        (b'{"a":1,"usage":null,"b":2}', b'{"a":1,"b":2}'),
        (b'{"a":{"b":1,"usage":null},"usage":null}', b'{"a":{"b":1,"usage":null}}'),
        (b'{"usage":null,"a":{"b":1,"usage":null}}', b'{"a":{"b":1,"usage":null}}'),
        (b'{"a":",\\"usage\\":null","usage":null}', b'{"a":",\\"usage\\":null"}'),
        (b'{"a\\",\\"usage":null,"usage":null}', b'{"a\\",\\"usage":null}'),
        (b'{"a":"\\ud83d","usage":null}', b'{"a":"\\ud83d"}'),
    ],
)
def test_a_null_usage_is_taken_out_of_the_top_level_alone(given: bytes, left: bytes) -> None:
    assert hear(translator(wants_usage=False), given) == [left]


@pytest.mark.parametrize(
    "given",
    [
        b'{"choices":[]}',
        b'{"usage":null}',
        b'{"a":{"b":1,"usage":null}}',
        b'{"\\u0075sage":null,"choices":[]}',
        b'{"\\u0075sage":null,"a":{"b":1,"usage":null}}',
        b'{"usage":null,"a":1,"usage":null}',
        b'{"a":",\\"usage\\":null"}',
        b'{"usage":0,"choices":[]}',
    ],
)
def test_what_cannot_be_taken_out_surely_stays(given: bytes) -> None:
    assert hear(translator(wants_usage=False), given) == [given]


def test_looking_for_usage_to_take_out_has_an_end() -> None:
    decoys = b'{"b":1,"usage":null},' * 60_000
    given = b'{"\\u0075sage":null,"a":[' + decoys + b"0]}"
    begun = time.process_time()
    assert hear(translator(wants_usage=False), given) == [given]
    # Some milliseconds for each that is tried: all of them would take minutes.
    assert time.process_time() - begun < 10


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(',"usage":null'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["usage", 'a"usage', ',"usage":null', "b"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["usage", "a", "b", '"usage":null,']), json_values),
    st.booleans(),
)
def test_taking_usage_out_never_touches_anything_else(
    chunk: dict[str, object], is_spaced: bool
) -> None:
    separators = (", ", ": ") if is_spaced else (",", ":")
    data = json.dumps({**chunk, "choices": [{}]}, separators=separators).encode()
    heard = hear(translator(wants_usage=False), data)
    left = {key: value for key, value in chunk.items() if key != "usage" or value is not None}
    assert [json.loads(one) for one in heard] == [{**left, "choices": [{}]}]
