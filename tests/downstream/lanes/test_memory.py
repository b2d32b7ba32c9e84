"""What a connection remembers of its responses, and for how long."""

import json

import msgspec

from proxy.downstream.lanes.memory import Items, Memories, answered, asked_items, following
from proxy.stream import Event
from proxy.wire.json_text import Fields


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def items(*values: object) -> Items:
    return [raw(value) for value in values]


def fields(**values: object) -> Fields:
    return {name: raw(value) for name, value in values.items()}


def plain(found: Items) -> list[object]:
    return [json.loads(bytes(item)) for item in found]


def ended(output: object) -> Event:
    said = {"type": "response.completed", "response": {"id": "resp_1", "output": output}}
    return Event(9, "response.completed", json.dumps(said).encode())


# --- what there is to remember --------------------------------------------------------------------


def test_a_text_is_what_a_user_says_and_items_are_what_they_are() -> None:
    said = {"type": "message", "role": "user", "content": 'a "quoted" ä'}
    assert plain(asked_items(fields(input='a "quoted" ä'))) == [said]
    given = [{"type": "function_call_output", "call_id": "c", "output": "1.50", "x": 1.50}]
    (item,) = asked_items(fields(input=given))
    assert bytes(item) == json.dumps(given[0]).encode()
    for nothing in ({}, fields(input=None), fields(input=[]), fields(input=7)):
        assert not asked_items(nothing)


def test_an_answer_is_remembered_but_for_reasoning_that_cannot_be_sent_again() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    sealed = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "abc"}
    open_one: dict[str, object] = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "encrypted_content": None,
    }
    found = answered(ended([open_one, sealed, call]))
    assert found is not None
    assert found[0] == "resp_1"
    assert plain(found[1]) == [sealed, call]


def test_an_answer_that_does_not_say_what_it_was_is_not_remembered() -> None:
    for output in (None, "x", [1]):
        assert answered(ended(output)) is None
    assert answered(Event(1, "", b'{"type":"response.completed"}')) is None


def test_a_create_that_follows_says_all_of_it_again_and_names_nothing() -> None:
    said = fields(model="m", previous_response_id="resp_1", input="more", tools=[])
    made = following(said, items({"n": 1}, {"n": 2}))
    more = {"type": "message", "role": "user", "content": "more"}
    assert list(made) == ["model", "input", "tools"]
    assert json.loads(bytes(made["input"])) == [{"n": 1}, {"n": 2}, more]


# --- for how long ---------------------------------------------------------------------------------


def test_a_connection_remembers_its_own_responses_alone_and_until_it_ends() -> None:
    memories = Memories()
    ann, bob = memories.memory(), memories.memory()
    ann.keep("resp_1", items(1))
    ann.keep("resp_2", items(1, 2))
    assert plain(ann.recall("resp_1") or ()) == [1]
    assert plain(ann.recall("resp_2") or ()) == [1, 2]
    assert bob.recall("resp_1") is None
    assert ann.recall(None) is None
    ann.forget()
    assert ann.recall("resp_1") is None
    assert ann.recall("resp_2") is None


def test_what_was_not_used_for_longest_gives_way_when_it_is_too_much() -> None:
    memories = Memories(bytes_max=100)
    ann, bob = memories.memory(), memories.memory()
    ann.keep("old", items("x" * 38))
    bob.keep("used", items("x" * 38))
    assert ann.recall("old") is not None
    ann.keep("new", items("x" * 38))
    assert bob.recall("used") is None
    assert ann.recall("old") is not None
    ann.keep("huge", items("x" * 200))
    assert [ann.recall(name) for name in ("old", "new", "huge")] == [None, None, None]
    ann.keep("again", items("x" * 98))
    assert ann.recall("again") is not None
