"""OpenAI's own way to come back to a response, by its SDKs."""

import json
from typing import Any

import pytest

from tests.clients.conftest import APP_KEY
from tests.clients.hearing import Heard, How, Question, question
from tests.clients.recording_server import recorded
from tests.clients.sdks import NAMES, Directly, Sdks
from tests.server import RECORDINGS, Served


def id_of(name: str) -> str:
    twin = json.loads((RECORDINGS / f"{name}.responses.json").read_bytes())
    return str(twin["id"])


def ask(sdks: Sdks, sdk: str, served: Served, *asked: Question) -> list[Heard]:
    return sdks[sdk]("responses", served.url, asked, key=APP_KEY)


def by_id(how: How, name: str, **fields: Any) -> Question:
    return Question(how, {"id": id_of(name), **fields})


def number_of(event: Any) -> int:
    """An event is a pair of type and fields in Python, and only the fields in Node."""
    fields = event[1] if isinstance(event, tuple) else event
    return int(fields["sequence_number"])


@pytest.mark.parametrize("sdk", NAMES)
def test_every_response_is_retrieved_and_replayed_as_it_was_made(
    sdk: str, sdks: Sdks, midstream: Served, directly: Directly
) -> None:
    names = recorded("responses")
    made = [question("responses", "stream", f"recorded.responses/{name}") for name in names]
    ask(sdks, sdk, midstream, *made)
    plain = [question("responses", "create", name) for name in names]
    whole = directly.ask("responses", sdk, plain)
    streamed = directly.ask(
        "responses", sdk, [question("responses", "stream", name) for name in names]
    )
    retrieved = ask(sdks, sdk, midstream, *(by_id("retrieve", name) for name in names))
    replayed = ask(sdks, sdk, midstream, *(by_id("resume", name) for name in names))
    for name, once, each, again, all_again in zip(
        names, whole, streamed, retrieved, replayed, strict=True
    ):
        assert again == once, name
        assert all_again == each, name


@pytest.mark.parametrize("sdk", NAMES)
def test_a_response_is_resumed_after_any_of_its_events(
    sdk: str, sdks: Sdks, midstream: Served, directly: Directly
) -> None:
    (direct,) = directly.ask("responses", sdk, [question("responses", "stream", "two_tools")])
    ask(sdks, sdk, midstream, question("responses", "stream", "recorded.responses/two_tools"))
    numbers = range(len(direct.events))
    resumed = ask(
        sdks,
        sdk,
        midstream,
        *(
            by_id("resume", "two_tools", starting_after=number, include_obfuscation=False)
            for number in numbers
        ),
    )
    for number, heard in zip(numbers, resumed, strict=True):
        assert heard.error is None
        assert heard.events == direct.events[number + 1 :], number


@pytest.mark.parametrize("sdk", NAMES)
def test_the_helper_that_comes_back_has_the_same_response_and_only_newer_events(
    sdk: str, sdks: Sdks, midstream: Served, directly: Directly
) -> None:
    (direct,) = directly.ask("responses", sdk, [question("responses", "helper", "reasoning")])
    ask(sdks, sdk, midstream, question("responses", "stream", "recorded.responses/reasoning"))
    (replayed,) = ask(sdks, sdk, midstream, by_id("replay", "reasoning", starting_after=5))
    assert replayed.error is None
    assert replayed.final == direct.final
    assert replayed.events
    assert {number_of(event) > 5 for event in replayed.events} == {True}


@pytest.mark.parametrize("sdk", NAMES)
def test_a_deleted_response_is_not_found(sdk: str, sdks: Sdks, midstream: Served) -> None:
    ask(sdks, sdk, midstream, question("responses", "stream", "recorded.responses/refusal"))
    hows: list[How] = ["retrieve", "resume", "cancel", "delete"]
    (deleted,) = ask(sdks, sdk, midstream, by_id("delete", "refusal"))
    assert deleted.error is None
    for heard in ask(sdks, sdk, midstream, *(by_id(how, "refusal") for how in hows)):
        assert heard.error is not None
        assert (heard.error.status, heard.error.code) == (404, "response_not_found")
        assert heard.error.name == "NotFoundError"
