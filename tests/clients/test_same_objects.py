"""What an SDK makes of an answer is the same through the proxy as from the provider itself."""

import pytest

from tests.clients.conftest import APP_KEY
from tests.clients.hearing import How, Kind, question
from tests.clients.recording_server import asking_for_usage, recorded
from tests.clients.sdks import PAIRS, RESPONSES, Directly, Sdks
from tests.server import RECORDINGS, Served

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
"""By the helper of responses, of an item of a type that it does not know."""


def tells_usage(name: str) -> bool:
    """Whether an OpenAI recording has the word in it."""
    return b'"usage"' in (RECORDINGS / f"{name}.chat.sse").read_bytes()


@pytest.mark.parametrize("how", ["stream", "helper"])
@pytest.mark.parametrize(("kind", "sdk"), [*PAIRS, *RESPONSES])
def test_streamed_objects_are_the_same_as_directly(
    kind: Kind, sdk: str, sdks: Sdks, how: How, midstream: Served, directly: Directly
) -> None:
    cases = [(name, asking_for_usage(kind)) for name in recorded(kind)]
    if kind == "openai":  # and not asking for it, where it is told
        cases += [(name, {}) for name in recorded(kind) if tells_usage(name)]
    plain = [question(kind, how, name, **fields) for name, fields in cases]
    asked = [question(kind, how, f"recorded.{kind}/{name}", **fields) for name, fields in cases]
    direct = directly.ask(kind, sdk, plain)
    through = sdks[sdk](kind, midstream.url, asked, key=APP_KEY)
    for case, expected, got in zip(cases, direct, through, strict=True):
        assert expected.events, case
        assert got == expected, case


@pytest.mark.parametrize(("kind", "sdk"), [*PAIRS, *RESPONSES])
def test_an_unstreamed_object_is_the_same_as_directly(
    kind: Kind, sdk: str, sdks: Sdks, midstream: Served, directly: Directly
) -> None:
    names = recorded(kind)
    direct = directly.ask(kind, sdk, [question(kind, "create", name) for name in names])
    asked = [question(kind, "create", f"recorded.{kind}/{name}") for name in names]
    through = sdks[sdk](kind, midstream.url, asked, key=APP_KEY)
    for name, expected, got in zip(names, direct, through, strict=True):
        assert expected.final is not None, name
        assert got == expected, name
