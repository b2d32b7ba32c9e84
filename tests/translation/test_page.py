"""The page about translation, held to the code."""

from typing import Any, Literal, get_args, get_origin

import pytest
from anthropic.types import StopReason
from anthropic.types.beta import BetaStopReason
from openai.types.chat.chat_completion_chunk import Choice
from openai.types.responses.response import IncompleteDetails

from tests.translation.page import NAMES, PAGE, WORDS, filled, names_in, tables
from tests.wire.sdk_types import CHAT, MESSAGES, RESPONSES

SAID: dict[str, Any] = {
    CHAT: Choice.model_fields["finish_reason"].annotation,
    RESPONSES: IncompleteDetails.model_fields["reason"].annotation,
    MESSAGES: (StopReason, BetaStopReason),
}
"""Where the SDKs' types have the words with which an answer ends."""


def words_in(kind: Any) -> set[str]:
    """All strings that a type allows."""
    if get_origin(kind) is Literal:
        return {word for word in get_args(kind) if isinstance(word, str)}
    members = kind if isinstance(kind, tuple) else get_args(kind)
    return {word for member in members for word in words_in(member)}


def test_its_tables_say_what_the_code_does() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, "python -m tests.translation.page writes them anew"


def test_every_table_has_its_place() -> None:
    assert sorted(names_in(PAGE.read_text())) == sorted(tables())


@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_an_end_are_those_of_the_sdks_types(name: str) -> None:
    assert set(WORDS[name]) - {"completed"} == words_in(SAID[name])
