"""Every recording, in every other dialect: the same to the SDKs, or refused by name."""

from collections.abc import Iterator

import pytest

from proxy.errors import ProviderUntranslatable
from proxy.wire.sse import encode_batch
from tests.translation.accumulated import Clients
from tests.translation.answers import DIALECTS
from tests.translation.recordings import BESIDE, ENDS, REFUSED, said
from tests.translation.telling import ALL, told
from tests.wire import recorded


def cases() -> Iterator[tuple[str, str, str]]:
    """The name of a recording, its dialect, and another."""
    for path in sorted(recorded.FOLDER.glob("*.sse")):
        for end, theirs in ENDS.items():
            if path.name.endswith(end):
                for ours in DIALECTS:
                    if ours != theirs:
                        yield path.name.removesuffix(end), theirs, ours


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    all_of_them = Clients()
    yield all_of_them
    all_of_them.close()


@pytest.mark.parametrize(("name", "theirs", "ours"), list(cases()))
def test_a_recording_is_the_same_answer_in_another_dialect(
    clients: Clients, name: str, theirs: str, ours: str
) -> None:
    raw = recorded.raw(name + next(end for end, dialect in ENDS.items() if dialect == theirs))
    if what := REFUSED.get((name, theirs)):
        with pytest.raises(ProviderUntranslatable, match=what):
            told(theirs, ours, raw)
        return
    direct = clients.accumulate(theirs, raw)
    events = told(theirs, ours, raw)
    for seen in (
        clients.accumulate(ours, encode_batch(events)),
        clients.read(ours, ALL[ours].fold(events)),
    ):
        assert said(seen) == said(direct, BESIDE.get((name, theirs), ""))
        assert seen.usage == direct.usage
